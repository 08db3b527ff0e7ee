"""Counts for a sweep as a whole: how its trials ended, its best step, and the input of the rules that end it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from tuner.metric import Goal
from tuner.records import BestStep, FailureReason, TrialState, best_of


class Tally:
    """Counts the outcomes of a sweep's trials.

    Attributes:
        counts: of the finished trials, by state.
        best: the best step of all trials, including running ones.
        has_reports: whether any trial of the sweep has ever reported its metric.
        ended: the finished trials and their states.
        cut_short: trials that were stopped in this run; they may have saved another checkpoint since.
        num_failed: trials that failed in this run. Earlier runs don't count: the user has seen those.
        num_diverged: trials of any run whose metric was not finite.
        mistakes: the messages of trials that failed otherwise in this run.
    """

    def __init__(self, goal: Goal) -> None:
        self.counts: Counter[TrialState] = Counter()
        self.best: BestStep | None = None
        self.has_reports = False
        self.ended: dict[int, TrialState] = {}
        self.cut_short: list[int] = []
        self.num_failed = self.num_diverged = self.num_ended_now = 0
        self.mistakes: list[str] = []
        self._goal = goal

    def state_of(self, number: int) -> TrialState:
        return self.ended.get(number, TrialState.RUNNING)

    def reported(self, number: int, step: int, value: float) -> None:
        """Take a step into account: it becomes the best if it is better than all before."""
        if math.isfinite(value):
            found = BestStep(number, step, value)
            if self.best is None or found.rank(self._goal) < self.best.rank(self._goal):
                self.best = found

    def find_best(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Find the best step again, after the best one was undone."""
        self.best = best_of(curves, self._goal)

    def taken_up(self, number: int, state: TrialState, reason: FailureReason | None) -> None:
        """Count a trial that an earlier run of the sweep finished."""
        self.counts[state] += 1
        self.ended[number] = state
        self.num_diverged += reason is FailureReason.NAN

    def finished(self, number: int, state: TrialState, reason: FailureReason | None, message: str) -> None:
        """Count a trial that has just been finished."""
        self.taken_up(number, state, reason)
        self.num_ended_now += 1
        if state is TrialState.FAILED:
            self.num_failed += 1
            if reason is not FailureReason.NAN:
                self.mistakes.append(message)
        if state is not TrialState.COMPLETED:
            self.cut_short.append(number)
