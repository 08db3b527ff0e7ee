"""Decides which checkpoints a sweep keeps; deletes nothing."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tuner.metric import Goal
from tuner.records import TrialState

Keep = Literal["best", "last", "all"] | int


@dataclass(frozen=True)
class SavedStep:
    """A checkpoint on disk.

    Attributes:
        value: the metric at its step.
    """

    number: int
    step: int
    value: float
    size_bytes: int


def removable_while_running(candidates: Collection[SavedStep], keep: Keep, goal: Goal) -> set[int]:
    """The steps that a running trial does not need: it needs its best, and its last two to resume from.

    Two, since the last one may turn out to be damaged.
    """
    if keep == "all" or not candidates:
        return set()
    steps = sorted(c.step for c in candidates)
    return set(steps[:-2]) - {_best(candidates, goal).step}


def removable_after(
    candidates: Collection[SavedStep],
    states: Mapping[int, TrialState],
    keep: Keep,
    max_bytes: float | None,
    goal: Goal,
) -> set[tuple[int, int]]:
    """The checkpoints of finished trials, as (number, step), that the sweep does not need.

    `states` holds the finished trials; checkpoints of others are left alone. The best checkpoint of the sweep is always
    kept.
    """
    finished = [c for c in candidates if c.number in states]
    if not finished:
        return set()
    best = _best(candidates, goal)
    given_up = (TrialState.PRUNED, TrialState.FAILED)
    lasting = finished if keep == "all" else [c for c in finished if states[c.number] not in given_up]
    kept = {(best.number, best.step)} | {(c.number, c.step) for c in _wanted(lasting, keep, goal)}
    if max_bytes is not None:
        kept = _within(max_bytes, [c for c in finished if (c.number, c.step) in kept], best, goal)
    return {(c.number, c.step) for c in finished} - kept


def _wanted(finished: Collection[SavedStep], keep: Keep, goal: Goal) -> Iterable[SavedStep]:
    if keep == "all":
        return finished
    trials: dict[int, list[SavedStep]] = {}
    for candidate in finished:
        trials.setdefault(candidate.number, []).append(candidate)
    if keep == "last":
        return [max(own, key=lambda c: c.step) for own in trials.values()]
    bests = sorted((_best(own, goal) for own in trials.values()), key=lambda c: _rank(c, goal))
    return bests[: 1 if keep == "best" else keep]


def _within(max_bytes: float, kept: Collection[SavedStep], best: SavedStep, goal: Goal) -> set[tuple[int, int]]:
    """The best ones that fit, and the best of all in any case."""
    total, fits = best.size_bytes, {(best.number, best.step)}
    for candidate in sorted(kept, key=lambda c: _rank(c, goal)):
        if (candidate.number, candidate.step) not in fits and total + candidate.size_bytes <= max_bytes:
            total += candidate.size_bytes
            fits.add((candidate.number, candidate.step))
    return fits


def _best(candidates: Collection[SavedStep], goal: Goal) -> SavedStep:
    return min(candidates, key=lambda c: _rank(c, goal))


def _rank(candidate: SavedStep, goal: Goal) -> tuple[tuple[bool, float], int, int]:
    """A sort key: the best first; of equals, the first trial's."""
    return goal.rank(candidate.value), candidate.number, candidate.step
