"""A search space as a cube: what is asked for in it is what a trial will be."""

import random

import numpy as np
import pytest

from tuner.methods.cube import Cube
from tuner.methods.optuna_space import applicable, distributions, stored
from tuner.spec.space import SearchSpace

# Two branches with parameters of their own, one of them with a branch in it.
SPACE = SearchSpace.from_dict(
    {
        "model": {"values": ["bag", "gru", "transformer"]},
        "lr": {"min": 1e-4, "max": 1e-1, "distribution": "log_uniform_values"},
        "ngrams": {"values": [1, 2], "when": {"model": "bag"}},
        "width": {"values": [64, 128, 256], "when": {"model": ["bag", "gru"]}},
        "hidden": {"values": [0, 256], "when": {"model": "transformer"}},
        "dropout": {"min": 0.0, "max": 0.5, "when": {"model": "transformer", "hidden": 256}},
        "layers": {"values": [1, 2, 3, 4]},
    }
)


@pytest.mark.parametrize("are_neighbours", [False, True])
def test_settled_points_are_those_of_the_trials_that_come_of_them(are_neighbours: bool) -> None:
    rng, drawn = np.random.default_rng(0), random.Random(0)
    cube = Cube(distributions(SPACE))
    tried = [stored(SPACE, SPACE.sample(drawn)) for _ in range(100)]
    points = cube.sample(300, rng)
    if are_neighbours:
        points = cube.mutate(cube.points(tried * 3), rng)
    settled = cube.settle(points, tried)
    expected = cube.points([applicable(SPACE, cube.params(point)) for point in points])
    np.testing.assert_allclose(settled, expected, atol=1e-9)


def test_what_no_trial_has_told_of_is_taken_to_apply() -> None:
    cube = Cube(distributions(SPACE))
    points = cube.sample(20, np.random.default_rng(0))
    np.testing.assert_allclose(cube.settle(points, []), points, atol=1e-9)
