"""What people hand over that means something to others than them, through the real Ray Tune."""

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
