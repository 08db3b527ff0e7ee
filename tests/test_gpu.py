"""What only a GPU can show; run by scripts/test --gpu."""

from pathlib import Path

import pytest
import torch

from benchmarks.common import Silent
from tests import loops
from trainables import image_classification
from tuner import Sweep
from tuner.context import Metric, Trial
from tuner.trial import Goal, Report

pytestmark = pytest.mark.gpu


def test_image_classification_trains_on_the_gpu(tmp_path: Path) -> None:
    reports: list[Report] = []
    trial = Trial(
        {"dataset": "digits", "epochs": 5},
        number=0,
        seed=0,
        dir=tmp_path,
        metrics=(Metric("val_accuracy", Goal.MAXIMIZE),),
        deliver=lambda report, stop: reports.append(report),
    )
    assert trial.device.type == "cuda"
    image_classification.train(trial)
    assert reports[-1].metrics["val_accuracy"] > 0.9
    assert torch.cuda.max_memory_allocated() > 0


def test_trials_share_a_gpu_and_leave_it_empty(tmp_path: Path) -> None:
    results = Sweep(
        loops.on_gpu,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        resources={"cpu": 1, "gpu": 0.25},
        run_cap=8,
        output=tmp_path,
    ).run(console=Silent())
    assert results.counts() == {"completed": 8}
    rows = [results.curve(number)[0].metrics for number in range(8)]
    assert all(row["at_start"] == 0 and row["allocated"] > 0 for row in rows)
