from typing import Any

import pytest

from tuner.metric import Goal
from tuner.records import TrialState
from tuner.study.retention import Keep, SavedStep, removable_after, removable_while_running

DONE, PRUNED, FAILED = TrialState.COMPLETED, TrialState.PRUNED, TrialState.FAILED


def candidates(values: dict[tuple[int, int], float]) -> list[SavedStep]:
    return [SavedStep(number, step, value, 100) for (number, step), value in values.items()]


@pytest.mark.parametrize(
    ("goal", "keep", "kept"),
    [
        (Goal.MAXIMIZE, "best", {2, 3, 4}),
        (Goal.MINIMIZE, "best", {1, 3, 4}),
        (Goal.MAXIMIZE, "last", {2, 3, 4}),
        (Goal.MAXIMIZE, 3, {2, 3, 4}),
        (Goal.MAXIMIZE, "all", {1, 2, 3, 4}),
    ],
)
def test_a_running_trial_keeps_its_last_two_and_its_best(goal: Goal, keep: Keep, kept: set[int]) -> None:
    own = candidates({(0, 1): 0.1, (0, 2): 0.9, (0, 3): 0.5, (0, 4): 0.6})
    assert {1, 2, 3, 4} - removable_while_running(own, keep, goal) == kept


ALL = {(0, 1): 0.5, (0, 2): 0.4, (1, 1): 0.9, (2, 3): 0.7, (2, 5): 0.6, (3, 1): 0.95, (4, 1): 0.1}
STATES = {0: DONE, 1: PRUNED, 2: DONE, 3: FAILED, 5: TrialState.STOPPED}


@pytest.mark.parametrize(
    ("values", "keep", "max_bytes", "kept"),
    [
        (ALL, "best", None, {(3, 1), (2, 3), (4, 1)}),
        (ALL, 2, None, {(3, 1), (2, 3), (0, 1), (4, 1)}),
        (ALL, "last", None, {(3, 1), (0, 2), (2, 5), (4, 1)}),
        (ALL, "all", None, set(ALL)),
        (ALL, "all", 300, {(3, 1), (1, 1), (2, 3), (4, 1)}),
        (ALL, "all", 1, {(3, 1), (4, 1)}),
        ({(4, 1): 0.1}, "best", None, {(4, 1)}),
        ({(1, 1): 0.2, (4, 1): 0.1}, "best", None, {(1, 1), (4, 1)}),
        ({(1, 1): 0.2, (4, 1): 0.3}, "best", None, {(4, 1)}),
        ({(0, 1): float("nan"), (0, 2): 0.1}, "best", None, {(0, 2)}),
        # Those that were pruned or have failed keep nothing but the best of all; those that were stopped do.
        ({(0, 1): 0.9, (1, 1): 0.1, (3, 1): 0.2, (5, 1): 0.3}, "last", None, {(0, 1), (5, 1)}),
        ({(0, 1): 0.9, (1, 1): 0.4, (3, 1): 0.5, (5, 1): 0.3}, 2, None, {(0, 1), (5, 1)}),
        # Of equal values the first trial's first.
        ({(0, 2): 0.5, (0, 3): 0.5, (0, 1): 0.4, (2, 1): 0.5}, "best", None, {(0, 2)}),
        ({(2, 1): 0.5, (0, 3): 0.5}, "best", None, {(0, 3)}),
    ],
)
def test_what_the_whole_sweep_keeps(
    values: dict[tuple[int, int], float], keep: Keep, max_bytes: Any, kept: set[tuple[int, int]]
) -> None:
    needless = removable_after(candidates(values), STATES, keep, max_bytes, Goal.MAXIMIZE)
    assert set(values) - needless == kept
