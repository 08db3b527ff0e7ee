"""The simulated clock and what a search has found by it; that methods run by it is in `benchmarks/test_curves`."""

import math

from tuner.simulation.simulator import best_after
from tuner.simulation.task import blocks


def test_blocks_cover_the_steps_and_end_where_rungs_do() -> None:
    assert [step for block in blocks(51) for step in block] == list(range(1, 52))
    assert [block[-1] for block in blocks(51)] == [1, 3, 9, 27, 51]


def test_the_best_after_a_share_of_the_budget() -> None:
    incumbents = [(5, 0.5), (50, 0.9), (100, 1.1)]
    assert [best_after(incumbents, spent) for spent in (5, 49.9, 50, 1000)] == [0.5, 0.5, 0.9, 1.1]
    assert math.isnan(best_after(incumbents, 4))
