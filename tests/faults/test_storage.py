"""Storage that is damaged, full, or gone for a while."""

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner.run_folder.outage
from tests.faults import loops
from tests.faults.scenes import check, meanwhile, wait_for, wait_for_reports
from tests.sweeps import Told, sweep
from tuner import Sweep
from tuner.errors import StorageError
from tuner.results.listing import list_runs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]

AWAY_S = 30.0
X = {"min": 0.0, "max": 1.0}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path: Path) -> None:
    told = Told()
    results = sweep(
        loops.walk,
        tmp_path,
        told,
        parameters={
            "epochs": 7,
            "step_s": 0.0,
            "size": 10_000,
            "marks": str(tmp_path),
            "how": {"values": ["flipped", "cut", "empty", "gone"]},
        },
        method="grid",
        failures={"retries": 1},
    )
    check(results, tmp_path, told.events)
    damaged = [event for event in told.events if "has damaged checkpoints (step 4: " in event]
    assert len(damaged) == 4, told.events
    assert all(event.endswith("that of step 3 is used") for event in damaged)


def test_a_full_disk_is_waited_for(tmp_path: Path, small_disk: Path) -> None:
    told = Told()

    def act() -> None:
        wait_for_reports(small_disk, 10)
        fill(small_disk / "ballast")
        wait_for(lambda: any("storage fails" in event for event in told.events), "the disk to be missed")
        time.sleep(2.0)
        (small_disk / "ballast").unlink()

    with meanwhile(act):
        results = sweep(
            loops.walk,
            small_disk,
            told,
            parameters={"epochs": 40, "step_s": 0.1, "marks": str(tmp_path), "size": 1 << 20, "x": X},
            run_cap=4,
        )
    check(results, tmp_path, told.events)
    assert any("No space left on device" in event for event in told.events)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def test_a_disk_that_stays_full_ends_the_sweep_with_a_sentence_and_all_kept(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner.run_folder.outage, "LIMIT_S", 3.0)
    parameters = {"epochs": 40, "step_s": 0.05, "marks": str(tmp_path), "size": 1 << 20, "x": X}
    keys = {"metric": {"name": "loss"}, "run_cap": 4, "seed": 0, "output": small_disk, "parameters": parameters}
    keys |= {"early_terminate": "none"}

    def act() -> None:
        wait_for_reports(small_disk, 10)
        fill(small_disk / "ballast")

    with meanwhile(act), pytest.raises(StorageError, match="when it can be written again: tuner resume"):
        Sweep(loops.walk, **keys).run(console=Told())
    (small_disk / "ballast").unlink()
    (folder,) = list_runs(small_disk)
    check(Sweep(loops.walk, **keys).resume(folder, console=Told()), tmp_path)


def test_a_run_folder_that_is_gone_for_a_while_is_waited_for(tmp_path: Path) -> None:
    told, output, elsewhere = Told(), tmp_path / "runs", tmp_path / "away"

    def act() -> None:
        wait_for_reports(output, 10)
        output.rename(elsewhere)
        time.sleep(AWAY_S)
        elsewhere.rename(output)

    with meanwhile(act):
        results = sweep(
            loops.walk,
            output,
            told,
            parameters={"epochs": 20, "step_s": 0.2, "marks": str(tmp_path), "x": X},
            run_cap=4,
        )
    check(results, tmp_path, told.events)
    assert any("storage fails" in event for event in told.events)


def test_a_database_that_is_gone_for_a_while_is_waited_for(tmp_path: Path) -> None:
    told, database = Told(), tmp_path / "study.db"

    def act() -> None:
        wait_for_reports(tmp_path, 10)
        with sqlite3.connect(database, timeout=60) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(AWAY_S)

    with meanwhile(act):
        results = sweep(
            loops.walk,
            tmp_path,
            told,
            parameters={"epochs": 20, "step_s": 0.2, "marks": str(tmp_path), "x": X},
            run_cap=4,
            storage=f"sqlite:///{database}",
        )
    check(results, tmp_path, told.events)
    assert any("storage fails" in event for event in told.events)


def test_a_half_written_line_and_a_lock_of_a_killed_driver_are_no_obstacle(tmp_path: Path) -> None:
    keys = {
        "metric": {"name": "loss"},
        "seed": 0,
        "output": tmp_path,
        "parameters": {"epochs": 5, "step_s": 0.0, "marks": str(tmp_path), "x": X},
        "early_terminate": "none",
        "run_cap": 1,
    }
    results = Sweep(loops.walk, **keys).run(console=Told())
    with (results.folder / "study.journal").open("ab") as file:
        file.write(b'{"op_code": 6, "worker')
    (results.folder / "driver.lock").write_text("process 1 on nowhere")
    check(Sweep(loops.walk, **keys).resume(results.folder, run_cap="+1", console=Told()), tmp_path)
    assert len(list(results.folder.glob("trials/*"))) == 2
