"""Successive halving whose cutoffs follow the recent trials, as a Ray Tune scheduler.

Against Ray's `AsyncHyperBandScheduler` (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020):

- A trial is compared with the last `window` results of its rung. A quantile of all history lets every near-copy of a
  good configuration pass, and a method that learns asks for many.
- The first trials to reach a rung have nothing there to be compared with. They go on if they stood well enough for
  both rungs at the one below.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler


class RecentHalving(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are untyped
    """Args:
    steps: of the rungs, increasing.
    eta: of the trials that reach a rung, one in `eta` goes on.
    max_iter: the step at which a trial has run its full length.
    """

    def __init__(
        self, metric: str, mode: str, time_attr: str, steps: list[int], eta: float, max_iter: float, window: int = 30
    ) -> None:
        super().__init__()
        self._metric, self._sign = metric, 1.0 if mode == "max" else -1.0
        self._time_attr = time_attr
        self._steps, self._eta, self._max_iter, self._window = steps, eta, max_iter, window
        # Of each rung, trial ids to values, larger is better, in the order of arrival.
        self._rungs: list[dict[str, float]] = [{} for _ in steps]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        if self._time_attr not in result or self._metric not in result:
            return str(TrialScheduler.CONTINUE)
        step, value = result[self._time_attr], self._sign * result[self._metric]
        if step >= self._max_iter:
            return str(TrialScheduler.STOP)
        for index in reversed(range(len(self._steps))):
            if step >= self._steps[index]:
                if trial.trial_id not in self._rungs[index] and math.isfinite(value):
                    self._rungs[index][trial.trial_id] = value
                    if not self._goes_on(index, trial.trial_id):
                        return str(TrialScheduler.STOP)
                break
        return str(TrialScheduler.CONTINUE)

    def _goes_on(self, index: int, trial_id: str) -> bool:
        if len(self._rungs[index]) > self._eta or index == 0:
            return self._is_among(index, trial_id, 1 / self._eta)
        return self._is_among(index - 1, trial_id, self._eta**-2, at_least=self._eta**2)

    def _is_among(self, index: int, trial_id: str, share: float, at_least: float = 0) -> bool:
        """Whether the trial is among this share of its rung's recent results."""
        rung = self._rungs[index]
        if trial_id not in rung:
            return True
        recent = list(rung.values())[-self._window :]
        if len(recent) < at_least:
            return False
        return rung[trial_id] >= float(np.quantile(recent, 1 - share))
