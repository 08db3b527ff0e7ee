"""Sweeps whose trials have several workers, through the real Ray Train, all on one cluster."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import ray.train
import torch

import tuner
from tests import loops
from tests.commands import Command
from tests.sweeps import LR, Told, sweep
from tuner import Results
from tuner.errors import SpecError
from tuner.records import FailureReason, TrialState
from tuner.trial.checkpoint import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]

TWO = {"workers": 2, "cpu": 0.5}
needs_ray_train_2 = pytest.mark.skipif(not hasattr(ray.train, "CheckpointUploadMode"), reason="needs Ray 2.51 or newer")
FREE_WITHIN_S = 5.0


@pytest.fixture(autouse=True)
def _all_is_free_again() -> Iterator[None]:
    """Whatever became of a sweep, what its workers held is free soon after it."""
    yield
    wait_until_free()


def wait_until_free() -> None:
    ended = time.monotonic()
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() - ended < FREE_WITHIN_S, ray.available_resources()
        time.sleep(0.1)


def test_workers_train_together_and_outlive_their_trials(tmp_path: Path) -> None:
    results = sweep(
        loops.data_parallel,
        tmp_path,
        parameters={"lr": LR, "epochs": 8, "lingers_s": 0.5},
        early_terminate={"type": "asha", "min_iter": 1, "max_iter": 9, "eta": 3},
        run_cap=12,
        resources=TWO,
    )
    assert sum(results.counts().values()) == 12
    assert set(results.counts()) == {"completed", "pruned"}
    pids = set()
    for trial in results.trials:
        curve = results.curve(trial.number)
        for step, report in enumerate(curve, 1):
            seen = report.metrics
            assert report.step == step
            assert (seen["world"], seen["rank"], seen["mean_rank"]) == (2, 0, 0.5)
            # Each worker has trained on its half, and both hold the same weights.
            assert seen["examples"] == 16
            assert seen["weight"] == pytest.approx(seen["mean_weight"])
            pids.add(seen["pid"])
        if len(curve) > 4:
            assert len({report.metrics["first"] for report in curve}) > 1, "the loader's order never changes"
    assert len(pids) == 2, "one group a slot"
    best = results.best
    assert best is not None
    assert best.checkpoint is not None
    state, _ = load_checkpoint(best.checkpoint)
    torch.nn.Linear(1, 1).load_state_dict(state["model"])
    assert state.step == best.step
    saved = Counter(path.parent.parent.name for path in results.folder.glob("trials/*/checkpoints/step-*"))
    assert saved == {f"{best.trial.number:04d}": 1}


def test_a_worker_that_fails_ends_its_trial_and_not_the_sweep(tmp_path: Path) -> None:
    # Those that die or hang are in faults/test_processes.
    hows = ["well", "error", "nan"]
    told = Told()
    results = sweep(
        loops.data_parallel,
        tmp_path,
        told,
        parameters={"lr": 0.1, "how": {"values": hows}},
        method="grid",
        resources=TWO,
        parallel=1,
    )
    ended = {trial.params["how"]: trial for trial in results.trials}
    assert {how: (trial.state, trial.reason) for how, trial in ended.items()} == {
        "well": (TrialState.COMPLETED, None),
        "error": (TrialState.FAILED, FailureReason.ERROR),
        "nan": (TrialState.FAILED, FailureReason.NAN),
    }
    for how, trial in ended.items():
        assert max(trial.curve) == {"well": 5, "nan": 3}.get(how, 2), how


def test_a_ray_that_is_too_old_for_a_ray_train_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ray.train, "CheckpointUploadMode", raising=False)
    with pytest.raises(SpecError, match=r"^from_ray_train needs Ray 2\.51 or newer, and this is Ray 2"):
        tuner.from_ray_train(lambda: None)


@needs_ray_train_2
@pytest.mark.parametrize("workers", [1, 2])
def test_a_ray_train_loop_runs_unchanged(tmp_path: Path, workers: int) -> None:
    from tests import ray_loops

    results = sweep(
        ray_loops.train,
        tmp_path,
        parameters={"lr": 0.1, "dies": {"values": [False, True]}, "marks": str(tmp_path), "again": {"values": [1, 2]}},
        method="grid",
        resources={"workers": workers, "cpu": 1.0 / workers},
        parallel=1,
        failures={"retries": 1},
    )
    assert results.spec.trainable == "tests.ray_loops:train"
    assert results.counts() == {"completed": 4}
    for trial in results.trials:
        curve = results.curve(trial.number)
        assert [report.metrics["epoch"] for report in curve] == [1, 2, 3, 4, 5]
        assert {report.metrics["world"] for report in curve} == {workers}
        assert {name for report in curve for name in report.metrics} == {"loss", "epoch", "world", "pid"}
    dying = next(trial.number for trial in results.trials if trial.params["dies"])
    assert "died with exit code 3" in results.error(dying)
    pids = [results.curve(number)[-1].metrics["pid"] for number in range(4)]
    assert len(set(pids)) == 2, "a new process or group after the one that died, and no other"
    best = results.best
    assert best is not None
    assert best.checkpoint is not None
    saved = results.folder / "best" / "files"
    assert len(list(saved.glob("*.distcp"))) == workers, "each worker's part"
    assert ray_loops.load(torch.nn.Linear(1, 1), saved, alone=True) == best.step
    assert not list(results.folder.rglob("*.tmp"))


@needs_ray_train_2
def test_a_ray_train_loop_gets_processes_of_its_own_where_it_asks(tmp_path: Path) -> None:
    from tests import ray_loops

    results = sweep(
        ray_loops.train_afresh,
        tmp_path,
        parameters={"lr": LR, "dies": False, "marks": str(tmp_path)},
        run_cap=2,
        resources=TWO,
        parallel=1,
    )
    ends = [results.curve(number)[-1].metrics for number in range(2)]
    assert [end["world"] for end in ends] == [2, 2]
    assert len({end["pid"] for end in ends}) == 2


SWEEP = """
name: killed
trainable: tests.loops:data_parallel
metric: {name: loss}
early_terminate: none
parameters: {lr: {min: 0.01, max: 0.6}, epochs: 9, step_s: 0.2}
resources: {workers: 2, cpu: 0.5}
parallel: 1
run_cap: 6
seed: 1
"""


def test_a_driver_that_is_killed_or_interrupted_leaves_nothing_reserved_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "killed.yaml").write_text(SWEEP)
    address = ("--address", ray.get_runtime_context().gcs_address)

    def wait_for_steps(process: Command, more: int) -> Path:
        """Until that many more reports are recorded than there were at first; the run folder."""
        reports = tmp_path / "runs"
        before = None
        while process.returncode is None:
            count = sum(path.read_bytes().count(b"\n") for path in reports.glob("*/trials/*/metrics.jsonl"))
            before = count if before is None else before
            if count >= before + more:
                break
            time.sleep(0.05)
        return next(reports.iterdir())

    process = Command("run", str(tmp_path / "killed.yaml"), "--output", str(tmp_path / "runs"), *address)
    folder = wait_for_steps(process, 12)
    process.kill()
    wait_until_free()

    kept = [trial for trial in Results(folder).trials if trial.state.is_final]
    assert kept

    process = Command("resume", str(folder), *address)
    wait_for_steps(process, 12)
    process.signal(signal.SIGINT)
    code, output = process.finish(60)
    assert code == 130, output
    wait_until_free()

    trials = Results(folder).trials
    assert trials[: len(kept)] == kept
    for trial in trials:
        assert trial.state in (TrialState.COMPLETED, TrialState.PENDING)
        steps = [report.step for report in Results(folder).curve(trial.number)]
        assert steps == sorted(trial.curve) == list(range(1, len(steps) + 1))
    assert sum(len(trial.curve) for trial in trials) >= 24
