"""Successive halving whose cutoffs follow the recent trials, as a Ray Tune scheduler.

Against Ray's `AsyncHyperBandScheduler` (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020):

- A trial is compared with the last trials at its rung. A quantile of all history lets every near-copy of a good
  configuration pass, and a method that learns asks for many of them.
- The first trials at a rung find nothing there to be compared with. They go on if they stood well enough for both
  rungs at the one below, and do not take a whole training from the search because they were first.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

# With so many a trial is compared, itself among them.
_RECENT = 30


class RecentHalving(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are untyped
    """Args:
    time_attr: name of the step in a result.
    steps: of the rungs, increasing.
    eta: of the trials that reach a rung, one in `eta` goes on.
    max_iter: the step at which a trial has run its full length.
    """

    def __init__(self, metric: str, mode: str, time_attr: str, steps: Sequence[int], eta: float, max_iter: int) -> None:
        super().__init__()
        self._metric, self._sign = metric, 1.0 if mode == "max" else -1.0
        self._time_attr, self._steps, self._eta, self._max_iter = time_attr, steps, eta, max_iter
        # Of each rung, trial ids to values, larger is better, in the order of arrival.
        self._rungs: list[dict[str, float]] = [{} for _ in steps]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        step, value = result[self._time_attr], self._sign * result[self._metric]
        goes_on = step < self._max_iter
        index = sum(step >= rung for rung in self._steps) - 1
        if index >= 0 and math.isfinite(value) and trial.trial_id not in self._rungs[index]:
            self._rungs[index][trial.trial_id] = value
            goes_on = goes_on and self._may_pass(index, trial.trial_id)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _may_pass(self, index: int, trial_id: str) -> bool:
        if index == 0 or len(self._rungs[index]) > self._eta:
            return self._is_among_best(index, trial_id, 1 / self._eta)
        share = self._eta**-2
        return len(self._rungs[index - 1]) >= 1 / share and self._is_among_best(index - 1, trial_id, share)

    def _is_among_best(self, index: int, trial_id: str, share: float) -> bool:
        """Whether the trial is among this share of its rung's recent results."""
        rung = self._rungs[index]
        recent = [*rung.values()][-_RECENT:]
        # A trial that has skipped a rung's step, as one that goes on from a checkpoint may, is not held back by it.
        return trial_id not in rung or rung[trial_id] >= float(np.quantile(recent, 1 - share))
