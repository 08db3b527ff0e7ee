"""Rules that end a sweep by its progress, each with its reason."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.metric import Metric
from tuner.spec.sections import Budget

# A sweep whose first trials all fail with the same message is not worth continuing.
ALIKE = 3


@dataclass(frozen=True)
class Progress:
    """The progress of a sweep.

    Attributes:
        elapsed_s: wall time, including earlier runs of the sweep.
        gpu_s: time spent in trials multiplied by the GPUs each held, over all slots.
        num_good: trials that show that the trainable works: they did not fail, or only through their reported values.
        num_failed: trials that failed in this run.
        mistakes: the messages of those that failed otherwise than through their reported values, in order.
    """

    elapsed_s: float
    gpu_s: float
    num_good: int
    num_failed: int
    mistakes: Sequence[str]
    best: float | None


@dataclass(frozen=True)
class Verdict:
    """The sweep is over: `ended_by` is the rule's name, `message` a sentence for people."""

    ended_by: str
    message: str
    is_failure: bool = False


def judge(progress: Progress, budget: Budget, metric: Metric) -> Verdict | None:
    """Decide whether the sweep has to end now, including its running trials."""
    best, target = progress.best, metric.target
    if best is not None and target is not None and (best == target or metric.goal.better(best, target)):
        return Verdict("target", f"{metric.name} {best:g} has reached the target {target:g}")
    if budget.hours is not None and progress.elapsed_s >= budget.hours * 3600:
        return Verdict("hours", f"the budget of {budget.hours:g} hours is spent")
    if budget.gpu_hours is not None and progress.gpu_s >= budget.gpu_hours * 3600:
        return Verdict("gpu_hours", f"the budget of {budget.gpu_hours:g} GPU hours is spent")
    return _judge_failures(progress, budget)


def _judge_failures(progress: Progress, budget: Budget) -> Verdict | None:
    mistakes = progress.mistakes
    # Messages that differ in a batch size or an address count as the same failure.
    kinds = {re.sub(r"\d+", "#", mistake) for mistake in mistakes}
    if len(mistakes) >= ALIKE and not progress.num_good and len(kinds) == 1:
        return Verdict("alike", f"the first {len(mistakes)} trials all failed alike: {mistakes[0]}", True)
    if budget.failed is not None and progress.num_failed >= budget.failed:
        return Verdict("failed", f"{progress.num_failed} trials have failed, as many as budget.failed allows", True)
    return None
