"""Successive halving that follows the recent trials and trusts a rung as far as it foretells, as a Ray Tune scheduler.

Against Ray's `AsyncHyperBandScheduler` (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020):

- A trial is compared with the last trials at its rung. A quantile of all history lets every near-copy of a good
  configuration pass, and a method that learns asks for many of them.
- The first trials at a rung find nothing there to be compared with. They go on if they stood well enough for both
  rungs at the one below, and do not take a whole training from the search because they were first.
- The share that goes on is 1/eta where the order at a rung is seen to be that at the next one, more the less it is,
  and all where it is the reverse (cf. Bohdal et al., PASHA, 2023, which grows the last rung by such agreement). One
  trial in twenty goes on whatever its value, so that not only those are seen which the rung has favoured.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

# With so many a trial is compared, itself among them.
_RECENT = 30
# By so many that reached the next rung it is judged how far a rung foretells the order there; that it does so fairly
# well is believed at first, with the weight of `_PRIOR` trials.
_JUDGED = 60
_PRIOR = 9
_PRIOR_AGREEMENT = 0.5
_LET_THROUGH = 20


class RecentHalving(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are untyped
    """Args:
    time_attr: name of the step in a result.
    steps: of the rungs, increasing.
    eta: of the trials that reach a rung, one in `eta` goes on where it foretells the order at the next one.
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

    def agreement(self, index: int) -> float:
        """How far a rung foretells who will be good at the next: 1 wholly, 0 not at all, below 0 the reverse.

        That is seen by where the best third at the next rung stood among those that went on there: a sixth of the way
        from the best on average if the order is the same, half of it if it tells nothing.
        """
        below, above = self._rungs[index], self._rungs[index + 1]
        both = [trial_id for trial_id in above if trial_id in below][-_JUDGED:]
        if not both:
            return _PRIOR_AGREEMENT
        values = np.array([(below[trial_id], above[trial_id]) for trial_id in both])
        best = np.argsort(-values[:, 1])[: math.ceil(len(both) / 3)]
        # Of equal values each stands in their middle.
        ahead = (values[:, 0] > values[best, :1]).mean(axis=1) + 0.5 * (values[:, 0] == values[best, :1]).mean(axis=1)
        seen = float((0.5 - ahead.mean()) / (1 / 2 - 1 / 6))
        return (len(both) * seen + _PRIOR * _PRIOR_AGREEMENT) / (len(both) + _PRIOR)

    def _share(self, index: int) -> float:
        """Of the trials at a rung that goes on."""
        trust = 0.5 + self.agreement(index) if index + 1 < len(self._rungs) else 1.0
        return float(self._eta ** -min(max(trust, 0.0), 1.0))

    def _may_pass(self, index: int, trial_id: str) -> bool:
        if index == 0 or len(self._rungs[index]) > self._eta:
            measures = index + 1 < len(self._rungs)
            is_let_through = measures and zlib.crc32(f"{trial_id}/{index}".encode()) % _LET_THROUGH == 0
            return is_let_through or self._is_among_best(index, trial_id, self._share(index))
        share = self._share(index - 1) * self._share(index)
        return len(self._rungs[index - 1]) >= 1 / share and self._is_among_best(index - 1, trial_id, share)

    def _is_among_best(self, index: int, trial_id: str, share: float) -> bool:
        """Whether the trial is among this share of its rung's recent results."""
        rung = self._rungs[index]
        recent = [*rung.values()][-_RECENT:]
        # A trial that has skipped a rung's step, as one that goes on from a checkpoint may, is not held back by it.
        return trial_id not in rung or rung[trial_id] >= float(np.quantile(recent, 1 - share))
