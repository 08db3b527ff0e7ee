"""What people hand over that means something to others than them, through the real Ray Tune."""

import functools
from pathlib import Path

import pytest

from tests import loops
from tests.sweeps import LR, sweep

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]


def test_metrics_that_bear_ray_tunes_names_are_metrics_and_nothing_else(tmp_path: Path) -> None:
    results = sweep(
        loops.reports_rays_names,
        tmp_path,
        parameters={"lr": LR, "done": {"values": ["a", "b"]}, "config": {"value": {"a": 1}}},
        metric={"name": "done"},
        method="random",
        early_terminate={"type": "median", "min_iter": 1, "min_samples": 2},
        run_cap=8,
    )
    assert set(results.counts()) <= {"completed", "pruned"}
    assert max(max(trial.curve) for trial in results.trials) == 4
    for trial in results.trials:
        reported = results.curve(trial.number)[-1]
        assert reported.metrics["should_checkpoint"] == reported.metrics["training_iteration"] == -1.0 * reported.step
        assert trial.curve[reported.step] == reported.metrics["done"]
    assert results.best is not None
    assert results.best.value == min(min(trial.curve.values()) for trial in results.trials)


def test_partials_and_objects_run_and_a_loop_of_a_configuration_is_told_what_it_is_given(tmp_path: Path) -> None:
    for number, train in enumerate((functools.partial(loops.scaled, scale=2.0), loops.Scaled(2.0).fit, loops.cached)):
        results = sweep(train, tmp_path / str(number), parameters={"lr": LR}, run_cap=1)
        assert results.counts() == {"completed": 1}
    for train, told in ((loops.wants_config, "write trial.params['lr']"), (loops.hands_back, "returned {'loss': 1.0}")):
        results = sweep(train, tmp_path, parameters={"lr": LR}, run_cap=1, name=train.__name__)
        assert told in results.trials[0].message
        assert "tuner.from_ray_train(loop)" in results.trials[0].message
