"""Sweeps on two nodes that do not share the run folder, and still have each file where it belongs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.schedulers import HyperBandScheduler

from benchmarks.common import Silent
from tests import loops
from tests.clusters import start_cluster
from tests.sweeps import Told
from tuner import Results, Sweep
from tuner.run_folder.trial_files import trial_dir
from tuner.trial.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

LR = {"min": 0.01, "max": 0.6, "distribution": "log_uniform_values"}
LOSS = {"name": "loss", "goal": "minimize"}
# A shell whose processes see an empty folder where the driver has its run folders.
# And whose temporary folder has room for 256 MiB.
AWAY = [
    *("unshare", "--map-root-user", "--mount", "sh", "-c"),
    'mount -t tmpfs none "$1" && mount -t tmpfs -o size=256m none "$TMPDIR" && shift && exec "$@"',
    "sh",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "seen").touch()
    return folder


@pytest.fixture(scope="module", autouse=True)
def scratch(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster of two nodes; the temporary folder of the second one's processes, as they see it."""
    folder = tmp_path_factory.mktemp("scratch")
    env = {**os.environ, "TMPDIR": str(folder)}
    if subprocess.run([*AWAY, str(runs), "true"], env=env, capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    cluster = start_cluster(1)
    start = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
    away = subprocess.Popen(
        [*AWAY, str(runs), *start, f"--address={cluster.address}"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        deadline = time.monotonic() + 120
        while sum(node["Alive"] for node in ray.nodes()) < 2:
            assert away.poll() is None, "the second node did not start"
            assert time.monotonic() < deadline, "the second node did not join"
            time.sleep(0.2)
        yield Path(f"/proc/{away.pid}/root{folder}")
    finally:
        ray.shutdown()
        away.send_signal(signal.SIGTERM)
        away.wait(60)
        cluster.shutdown()


def sweep(train: Any, runs: Path, console: Any = None, **keys: Any) -> Results:
    keys = {"metric": LOSS, "seed": 0, "output": runs, "name": "s", "method": "random", **keys}
    return Sweep(train, **keys).run(console=console or Silent())


def check(results: Results, scratch: Path) -> None:
    """Every checkpoint is whole, reports are as the study's, both nodes have trained, nothing is left on the second."""
    places: set[float] = set()
    for trial in results.trials:
        reports = results.curve(trial.number)
        assert [report.step for report in reports] == sorted(trial.curve), trial
        places.update(report.metrics["away"] for report in reports)
    assert places == {0.0, 1.0}
    for path in results.folder.glob("trials/*/checkpoints/*"):
        state, _ = load_checkpoint(path)
        assert path.name == f"step-{state.step:04d}"
    assert not list(results.folder.rglob("*.tmp"))
    # At most what the process that was killed last has left: the next one there removes it.
    left = {path.relative_to(scratch).parts[1] for path in scratch.glob("tuner-*/files-*/**/*") if path.is_file()}
    assert len(left) <= 1


def test_files_of_trials_that_ran_elsewhere_are_in_the_run_folder(runs: Path, scratch: Path, tmp_path: Path) -> None:
    results = sweep(
        loops.travels,
        runs,
        parameters={
            # The larger ones do not fit into one message.
            "size": {"grid": [10, 10_000_000]},
            "x": LR,
            "step_s": 0.2,
            "marks": str(tmp_path),
            "seen": str(runs / "seen"),
        },
        failures={"retries": 1},
        checkpoints={"keep": "last"},
        run_cap=8,
    )
    assert results.counts() == {"completed": 8}
    check(results, scratch)
    died = {int(path.name) for path in tmp_path.iterdir()}
    assert died
    for trial in results.trials:
        assert list(trial.curve) == [1, 2, 3, 4, 5]
        folder = trial_dir(results.folder, trial.number)
        assert [path.name for path in folder.glob("checkpoints/*")] == ["step-0005"]
        state, _ = load_checkpoint(folder / "checkpoints" / "step-0005")
        assert state["weight"].shape == (trial.params["size"],)
        assert state["weight"].eq(5 * trial.number).all()
        steps = (folder / "notes.txt").read_text().split()
        # A process that dies takes the notes of its attempt with it, and no report.
        assert steps == (["3", "4", "5"] if trial.number in died else list("12345"))
        assert ("its process died with exit code 9" in results.error(trial.number)) == (trial.number in died)
    best = results.best
    assert best is not None
    assert (best.trial.number, best.step) == (3, 5)
    state, _ = load_checkpoint(results.folder / "best")
    assert state["weight"].eq(15).all()


@pytest.mark.parametrize(
    ("rule", "run_cap", "epochs"),
    [
        ({"type": "pbt", "interval": 3, "quantile": 0.5}, 2, 24),
        (HyperBandScheduler(max_t=9, reduction_factor=3), 9, 9),
    ],
)
def test_rules_that_save_and_restore_trials_do_so_across_nodes(
    runs: Path, scratch: Path, tmp_path: Path, rule: Any, run_cap: int, epochs: int
) -> None:
    results = sweep(
        loops.descent_away,
        runs,
        parameters={"lr": LR, "epochs": epochs, "step_s": 0.1, "seen": str(runs / "seen"), "up": str(tmp_path)},
        early_terminate=rule,
        run_cap=run_cap,
    )
    assert set(results.counts()) <= {"completed", "pruned"}
    check(results, scratch)
    best = results.best
    assert best is not None
    assert best.checkpoint is not None
    state, _ = load_checkpoint(results.folder / "best")
    assert state.step == best.step
    if run_cap == 2:
        assert any(trial.changes for trial in results.trials), "no trial took over another's state"
        return
    for trial in results.trials:
        assert list(trial.curve) == list(range(1, max(trial.curve) + 1))


def test_a_node_whose_disk_is_full_rests_and_its_trials_move(runs: Path, tmp_path: Path) -> None:
    told = Told()
    results = sweep(
        loops.fills_its_disk,
        runs,
        told,
        parameters={"lr": LR, "seen": str(runs / "seen"), "up": str(tmp_path)},
        run_cap=5,
    )
    assert results.counts() == {"completed": 5}
    for trial in results.trials:
        assert list(trial.curve) == [1, 2, 3]
    assert {report.metrics["away"] for trial in results.trials for report in results.curve(trial.number)} == {0.0}
    (rests,) = [event for event in told.events if "can't write to its disk" in event]
    assert "No space left on device" in rests
    assert rests.endswith("1 at a time from now on")
    assert sum("is tried again" in event for event in told.events) == 1
    assert not any("storage fails" in event for event in told.events)
