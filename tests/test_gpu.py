"""What only a GPU can show; run by scripts/test --gpu."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.common import Silent
from tests import loops
from tests.sweeps import Told
from tests.trainables.trials import run_trial
from trainables import image_classification
from tuner import Sweep
from tuner.export import write_model
from tuner.metric import Goal, Metric
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.devices import MAX_CONTEXT_BYTES, Cuda, is_out_of_memory
from tuner.trial.trial import Trial

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


@pytest.mark.parametrize(
    "extra",
    [
        {"model": "resnet18", "precision": "bfloat16", "ema_decay": 0.9, "augment": "crop+flip+randaugment"},
        {"model": "classic", "compiled": True, "mixup": 0.2, "cutmix": 1.0, "accumulate": 2},
    ],
)
def test_what_makes_training_on_a_gpu_faster_or_better_trains(tmp_path: Path, extra: dict[str, Any]) -> None:
    reports: list[Report] = []
    trial = Trial(
        {"dataset": "digits", "epochs": 8, "lr": 0.003, **extra},
        number=0,
        seed=0,
        dir=tmp_path,
        metrics=(Metric("val_accuracy", Goal.MAXIMIZE),),
        deliver=lambda report, stop: reports.append(report),
    )
    image_classification.train(trial)
    assert reports[-1].metrics["val_accuracy"] > 0.8


def test_workers_share_a_gpu(tmp_path: Path) -> None:
    results = Sweep(
        loops.data_parallel,
        parameters={"lr": 0.1},
        method="grid",
        metric={"name": "loss"},
        resources={"workers": 2, "cpu": 1, "gpu": 0.5},
        output=tmp_path,
    ).run(console=Silent())
    assert results.counts() == {"completed": 1}, results.error(0)
    for report in results.curve(0):
        seen = report.metrics
        assert (seen["world"], seen["mean_is_cuda"]) == (2, 1.0)
        assert seen["weight"] == pytest.approx(seen["mean_weight"])


def test_a_teacher_is_asked_on_the_gpu(tmp_path: Path) -> None:
    params = {"epochs": 6}
    run_trial(image_classification.train, tmp_path / "teacher", params, device="cuda")
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "teacher", 6))
    told = {"trainable": "trainables.image_classification:train"}
    write_model(image_classification.export(params, state), told, tmp_path / "out", onnx=False)
    taught = {"epochs": 4, "train_size": 300, "channels": 8, "teacher": str(tmp_path / "out"), "teacher_weight": 1.0}
    reports = run_trial(image_classification.train, tmp_path / "student", taught, device="cuda")
    assert reports[-1].metrics["val_accuracy"] > 0.8


def test_trials_share_a_gpu_and_leave_it_empty(tmp_path: Path) -> None:
    results = Sweep(
        loops.on_gpu,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        early_terminate="none",
        resources={"cpu": 1, "gpu": 0.25},
        run_cap=8,
        output=tmp_path,
    ).run(console=Silent())
    assert results.counts() == {"completed": 8}
    rows = [results.curve(number)[0].metrics for number in range(8)]
    assert all(row["at_start"] == 0 and row["allocated"] > 0 for row in rows)


def test_the_peak_of_a_process_holds_its_cache_and_its_context() -> None:
    cuda, size = Cuda(torch.device("cuda", 0)), 64 << 20
    cuda.enter()
    cuda.clear()
    before = cuda.memory().used  # cuBLAS, once used, keeps a workspace for good
    blocks = [torch.ones(size, dtype=torch.uint8, device="cuda") for _ in range(2)]
    blocks.clear()
    one = torch.ones(size, dtype=torch.uint8, device="cuda")
    memory = cuda.memory()
    assert memory.used == before + size
    assert before + 2 * size <= torch.cuda.max_memory_reserved() < memory.peak
    assert memory.peak <= torch.cuda.max_memory_reserved() + MAX_CONTEXT_BYTES
    assert memory.peak + memory.others <= memory.total
    del one
    cuda.clear()
    after = cuda.memory()
    assert after.used <= memory.used - size
    assert after.peak <= memory.peak - size


def test_out_of_memory_is_known_by_what_pytorch_raises() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(1 << 50, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)


def test_a_trial_that_runs_out_of_memory_on_a_share_goes_on_with_a_whole_gpu(tmp_path: Path) -> None:
    told = Told()
    results = Sweep(
        loops.exceeds_gpu_once,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        early_terminate="none",
        resources={"cpu": 1, "gpu": 0.5},
        run_cap=2,
        output=tmp_path,
    ).run(console=told)
    assert results.counts() == {"completed": 2}
    assert sum("on 0.5 of a GPU and gets a whole one" in event for event in told.events) == 2
    for number in range(2):
        rows = results.curve(number)
        assert [row.step for row in rows] == [1, 2, 3]
        assert rows[0].metrics["pid"] != rows[1].metrics["pid"] == rows[2].metrics["pid"]


def test_auto_measures_the_first_trial_and_shares_the_gpu(tmp_path: Path) -> None:
    told = Told()
    results = Sweep(
        loops.on_gpu,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        early_terminate="none",
        resources={"cpu": 1, "gpu": "auto"},
        run_cap=4,
        output=tmp_path,
    ).run(console=told)
    assert results.counts() == {"completed": 4}
    chosen = [event for event in told.events if "from now on each trial has" in event]
    assert len(chosen) == 1
    # A tensor of 4 MB and a context leave room for several on any GPU that nobody else has filled.
    assert "has 1 of a GPU" not in chosen[0]
