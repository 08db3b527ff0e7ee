"""The simulated clock and what a search has found by it; that methods run by it is in `benchmarks/test_curves`."""

import math
from collections.abc import Mapping
from typing import Any

from tests.simulation.tasks import Slopes
from tuner.simulation.simulator import best_after, simulate
from tuner.simulation.task import blocks


def test_blocks_cover_the_steps_and_end_where_rungs_do() -> None:
    assert [step for block in blocks(51) for step in block] == list(range(1, 52))
    assert [block[-1] for block in blocks(51)] == [1, 3, 9, 27, 51]


def test_the_best_after_a_share_of_the_budget() -> None:
    incumbents = [(5, 0.5), (50, 0.9), (100, 1.1)]
    assert [best_after(incumbents, spent) for spent in (5, 49.9, 50, 1000)] == [0.5, 0.5, 0.9, 1.1]
    assert math.isnan(best_after(incumbents, 4))


class Pausing:
    """Runs each of two configurations for a step at a time, in turn."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self._asked = 0

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        self._asked += 1
        number = (self._asked - 1) % 2
        return number, {"x": 0.25 + number / 2}

    def report(self, number: int, step: int, value: float, is_last: bool) -> bool:
        self.steps.append((number, step))
        return False

    def close(self) -> None: ...


def test_a_trial_that_is_asked_for_again_goes_on_where_it_stood() -> None:
    method = Pausing()
    run = simulate(Slopes(), method, workers=1, budget=6)
    assert method.steps == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    assert run.lengths == [3, 3]
