"""Successive halving that follows recent trials and trusts a rung as much as it predicts, as a Ray Tune scheduler.

Differences to Ray's `AsyncHyperBandScheduler` (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020):

- A trial is compared with the last trials at its rung. A quantile of all history lets every near-copy of a good
  configuration pass, and a method that learns asks for many of them.
- The first trials at a rung have nothing to compare with. They continue only if they were good enough for both rungs at
  the one below, so that being first does not earn a whole training.
- The share that continues is 1/eta if the order at a rung agrees with the order at the next one, more if it agrees
  less, and everything if it is reversed (cf. Bohdal et al., PASHA, 2023, which grows the last rung by such agreement).
  One trial in twenty continues whatever its value, so that the rung's favourites are not the only evidence.
- A trial of which a learning method still expects as much as when it chose it continues: otherwise the method would
  never learn whether configurations that begin poorly end well. So does the known good configuration that a sweep
  begins with: the result is never worse than it, and its curve shows if it ends better than it begins.
- With several metrics, trials are compared by their Pareto fronts.
- If the length of a trial is unknown, none is stopped at a step that no other has passed: it may be the last one.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuner.metric import Goal, Metric
from tuner.stopping.fronts import standing
from tuner.stopping.names import metric_key

# How many trials a trial is compared with, including itself.
_RECENT = 30
# How many trials that reached the next rung decide how well a rung predicts the order there; the prior, that it does so
# fairly well, has the weight of `_PRIOR` trials.
_JUDGED = 60
_PRIOR = 9
_PRIOR_AGREEMENT = 0.5
_LET_THROUGH = 20
# The share of a rung's expected trials that must be seen before one continues from the next rung.
_LOOKED_AT = 0.1


class RecentHalving(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are untyped
    """Args:
    time_attr: name of the step in a result.
    steps: of the rungs, increasing.
    eta: one in `eta` trials at a rung continues, if the rung predicts the order at the next one.
    max_iter: the step at which a trial has run its full length; None if unknown.

    Attributes:
        run_cap: the maximum number of trials; None if unknown.
        may_continue: whether a trial, by its id, continues whatever its rank.
    """

    run_cap: int | None = None

    def __init__(
        self, metrics: Sequence[Metric], time_attr: str, steps: Sequence[int], eta: float, max_iter: int | None
    ) -> None:
        super().__init__()
        self.may_continue: Callable[[str], bool] = lambda trial_id: False
        self._keys = [metric_key(metric.name) for metric in metrics]
        self._signs = np.array([1.0 if metric.goal is Goal.MAXIMIZE else -1.0 for metric in metrics])
        self._time_attr, self._eta, self._max_iter = time_attr, eta, max_iter
        # The end is a rung too, the one that the last rung before it predicts.
        self._steps = sorted({*steps, max_iter or math.inf})
        # The longest trial so far.
        self._longest = 0
        # For each rung: trial ids to values `[metrics]`, larger is better, in the order of arrival.
        self._rungs: list[dict[str, np.ndarray]] = [{} for _ in self._steps]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        step = result[self._time_attr]
        values = self._signs * [result[key] for key in self._keys]
        goes_on = self._max_iter is None or step < self._max_iter
        may_be_last = self._max_iter is None and step >= self._longest
        self.watch(step)
        index = sum(step >= rung for rung in self._steps) - 1
        if index >= 0 and np.isfinite(values).all() and trial.trial_id not in self._rungs[index]:
            self._rungs[index][trial.trial_id] = values
            may_pass = goes_on and (may_be_last or self._may_pass(index, trial.trial_id))
            goes_on = may_pass or (goes_on and self.may_continue(trial.trial_id))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        self.watch(result.get(self._time_attr, 0))

    def watch(self, step: int) -> None:
        """Note that a trial has reached this step, a rung or not."""
        self._longest = max(self._longest, step)

    def agreement(self, index: int) -> float:
        """How well a rung predicts the best trials at the next: 1 perfectly, 0 not at all, below 0 the reverse.

        Measured by where the best third at the next rung ranked among those that continued there: on average a sixth of
        the way from the best if the order is the same, half of it if the rung says nothing.
        """
        below, above = self._rungs[index], self._rungs[index + 1]
        both = [trial_id for trial_id in above if trial_id in below][-_JUDGED:]
        if not both:
            return _PRIOR_AGREEMENT
        first, then = (standing(np.array([rung[trial_id] for trial_id in both])) for rung in (below, above))
        best = np.argsort(-then)[: math.ceil(len(both) / 3), None]
        # Equal values all get their middle rank.
        ahead = (first > first[best]).mean(axis=1) + 0.5 * (first == first[best]).mean(axis=1)
        seen = float((0.5 - ahead.mean()) / (1 / 2 - 1 / 6))
        return (len(both) * seen + _PRIOR * _PRIOR_AGREEMENT) / (len(both) + _PRIOR)

    def _share(self, index: int) -> float:
        """The share of the trials at a rung that continues."""
        return float(self._eta ** -min(max(0.5 + self.agreement(index), 0.0), 1.0))

    def _may_pass(self, index: int, trial_id: str) -> bool:
        # Trials that report in strides may skip a rung's step.
        is_lowest = index == 0 or not self._rungs[index - 1]
        if is_lowest or len(self._rungs[index]) > self._eta:
            is_let_through = zlib.crc32(f"{trial_id}/{index}".encode()) % _LET_THROUGH == 0
            return is_let_through or self._is_among_best(index, trial_id, self._share(index))
        share = self._share(index - 1) * self._share(index)
        enough = 1 / share
        if self.run_cap is not None:
            # The best of n comes after the first m with probability 1 - m / n: in most sweeps, however short, one
            # trial should reach its end.
            enough = min(enough, _LOOKED_AT * self.run_cap * self._eta ** (1 - index))
        return len(self._rungs[index - 1]) >= enough and self._is_among_best(index - 1, trial_id, share)

    def _is_among_best(self, index: int, trial_id: str, share: float) -> bool:
        """Whether the trial is among this share of its rung's recent results."""
        rung = self._rungs[index]
        # A trial that skipped a rung's step, as after resuming from a checkpoint, is not held back by it.
        if trial_id not in rung:
            return True
        recent = [other for other in [*rung][-_RECENT:] if other != trial_id]
        worth = standing(np.array([rung[trial_id], *(rung[other] for other in recent)]))
        return bool(worth[0] >= np.quantile(worth, 1 - share))
