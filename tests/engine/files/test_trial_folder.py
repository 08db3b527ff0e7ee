"""The run folder as trials see it: one contract, whether the driver's folder is theirs or files travel."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import report
from tuner.engine.files import trial_folder as folder_module
from tuner.engine.files.trial_folder import (
    LEFT_OUT_FILE,
    FileKeeper,
    RemoteFolder,
    RunFolder,
    SharedFolder,
    is_shared,
    put_marker,
)
from tuner.errors import StopTrial, StorageError
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.trial_files import TrialFiles, trial_dir
from tuner.trial.checkpoint import load_checkpoint, save_checkpoint

PROGRESS = {"time_s": 1.0, "best": 0.5, "best_step": 1}


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture(params=["shared", "remote"])
def folder(request: pytest.FixtureRequest, driver: Path, tmp_path: Path, monkeypatch: Any) -> RunFolder:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    token = put_marker(driver)
    if request.param == "shared":
        return SharedFolder(driver)
    for module in ("transfer", "trial_folder"):
        monkeypatch.setattr(f"tuner.engine.files.{module}.MESSAGE_BYTES", 1000)
    return remote(driver, token)


def remote(driver: Path, token: str) -> RemoteFolder:
    keeper = FileKeeper(str(driver), token)
    return RemoteFolder(driver, lambda method, *args: getattr(keeper, method)(*args))


def run(folder: RunFolder, driver: Path, loop: Callable[..., None], checkpoint: Path | None = None) -> list[Report]:
    """A trial 3 whose loop gets its folder, its checkpoint and `save(step)`."""
    TrialFiles(trial_dir(driver, 3)).write_params({"x": 1})
    delivered: list[Report] = []
    local, restored = folder.open(3, checkpoint)

    def take(given: Report, stop: StopTrial | None) -> None:
        if given.has_checkpoint:
            state, _ = load_checkpoint(checkpoint_path(trial_dir(driver, 3), given.step))
            assert state.step == given.step, "the report came before its checkpoint"
        delivered.append(given)

    deliver = folder.delivering(3, take)

    def save(step: int) -> None:
        save_checkpoint(local, step, {"weight": torch.full((1000,), float(step))}, PROGRESS)
        deliver(report(step, has_checkpoint=True), None)

    with folder.closing(3):
        loop(local, restored, save)
    return delivered


def leftovers(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "tmp").rglob("[!.]*") if path.is_file()]


def test_a_checkpoint_is_there_before_its_report_and_comes_back_for_another(
    folder: RunFolder, driver: Path, tmp_path: Path
) -> None:
    def first(local: Path, restored: Path | None, save: Callable[[int], None]) -> None:
        assert restored is None
        save(1)
        save(2)

    assert [given.step for given in run(folder, driver, first)] == [1, 2]
    assert [load_checkpoint(folder.find_checkpoint(3, step))[0].step for step in (1, 2)] == [1, 2]
    with pytest.raises(FileNotFoundError, match="step-0007 is not there any more"):
        folder.find_checkpoint(3, 7)

    def second(local: Path, restored: Path | None, save: Callable[[int], None]) -> None:
        assert restored is not None
        state, _ = load_checkpoint(restored)
        assert state.step == 2
        assert state["weight"].eq(2.0).all()

    run(folder, driver, second, trial_dir(driver, 3) / "checkpoints" / "step-0002")
    assert leftovers(tmp_path) == []
    assert not list(driver.rglob("*.tmp"))


def test_files_of_the_trials_own_are_there_at_its_end_however_it_ends_and_for_its_next_attempt(
    folder: RunFolder, driver: Path, tmp_path: Path
) -> None:
    def first(local: Path, *_: Any) -> None:
        (local / "notes.txt").write_text("one")
        (local / "plots").mkdir()
        (local / "plots" / "empty.png").touch()
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        run(folder, driver, first)
    assert (trial_dir(driver, 3) / "notes.txt").read_text() == "one"
    assert (trial_dir(driver, 3) / "plots" / "empty.png").read_bytes() == b""

    def second(local: Path, *_: Any) -> None:
        with (local / "notes.txt").open("a") as file:
            file.write(" two")

    run(folder, driver, second)
    assert (trial_dir(driver, 3) / "notes.txt").read_text() == "one two"
    assert (trial_dir(driver, 3) / "params.json").exists()
    assert leftovers(tmp_path) == []


def test_what_another_worker_of_the_trial_holds_is_there_until_it_is_taken(
    folder: RunFolder, driver: Path, tmp_path: Path
) -> None:
    TrialFiles(trial_dir(driver, 3))
    shards = {".shard-1-1.tmp": b"one" * 1000, ".shard-1-2.tmp": b"two"}
    for name, content in shards.items():
        given = tmp_path / name.strip(".")
        (given / "deep").mkdir(parents=True)
        (given / "deep" / ".hidden").write_bytes(content)
        folder.put_shard(3, name, given)
        folder.put_shard(3, name, given)  # of an attempt that has ended before it was taken
    with pytest.raises(StopTrial), folder.shards(3, list(shards)) as folders:
        assert [(path / "deep" / ".hidden").read_bytes() for path in folders] == list(shards.values())
        raise StopTrial
    assert list(trial_dir(driver, 3).iterdir()) == []
    assert leftovers(tmp_path) == []
    (tmp_path / "shard-1-1.tmp" / "link").symlink_to(tmp_path / "shard-1-2.tmp")
    folder.put_shard(3, ".shard-2-1.tmp", tmp_path / "shard-1-1.tmp")
    with folder.shards(3, [".shard-2-1.tmp"]) as (linked,):
        assert (linked / "link" / "deep" / ".hidden").read_bytes() == b"two"
    # Of processes that were killed before they were taken, or while they were sent.
    folder.put_shard(3, ".shard-2-1.tmp", tmp_path / "shard-1-1.tmp")
    (trial_dir(driver, 3) / "..shard-2-2.tmp.0a1b2c3d.tmp").mkdir()
    TrialFiles(trial_dir(driver, 3)).tidy()
    assert list(trial_dir(driver, 3).iterdir()) == []


def test_a_workers_file_that_can_not_be_read_is_no_failure_of_the_storage(driver: Path, tmp_path: Path) -> None:
    put_marker(driver)
    TrialFiles(trial_dir(driver, 3))
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(OSError, match="nowhere") as caught:
        SharedFolder(driver).put_shard(3, ".shard-1-1.tmp", tmp_path / "given")
    assert not isinstance(caught.value, StorageError)


def test_only_what_has_changed_travels_and_never_the_drivers_own_files(driver: Path, tmp_path: Path) -> None:
    keeper = FileKeeper(str(driver), put_marker(driver))
    written: list[str] = []

    def call(method: str, *args: Any) -> Any:
        if method == "write":
            written.extend(part.name for part, _ in args[3])
        return getattr(keeper, method)(*args)

    def first(local: Path, *_: Any) -> None:
        assert list(local.iterdir()) == []
        (local / "a").write_text("a")
        (local / "params.json").write_text("mine")

    def second(local: Path, *_: Any) -> None:
        (local / "b").write_text("b")

    folder = RemoteFolder(driver, call)
    run(folder, driver, first)
    run(folder, driver, second)
    assert written == ["a", "b"]
    assert "mine" not in (trial_dir(driver, 3) / "params.json").read_text()


def test_files_beyond_the_limit_are_left_out_and_named(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_FILES_BYTES", 100)

    def loop(local: Path, *_: Any) -> None:
        (local / "large.bin").write_bytes(b"x" * 101)
        (local / "small.bin").write_bytes(b"x" * 99)

    run(remote(driver, put_marker(driver)), driver, loop)
    assert (trial_dir(driver, 3) / "small.bin").exists()
    assert not (trial_dir(driver, 3) / "large.bin").exists()
    assert "large.bin (101 bytes)" in (trial_dir(driver, 3) / LEFT_OUT_FILE).read_text()


def test_a_folder_counts_as_shared_only_with_the_drivers_own_token(driver: Path, tmp_path: Path) -> None:
    token = put_marker(driver)
    assert is_shared(driver, token)
    assert not is_shared(tmp_path / "elsewhere", token)
    # A folder of the same name that was copied here, or that an earlier driver has left.
    assert put_marker(driver) != token
    assert not is_shared(driver, token)
    with pytest.raises(RuntimeError, match="can't write to"):
        FileKeeper(str(driver), token)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_only_be_read_is_not_shared(driver: Path) -> None:
    token = put_marker(driver)
    (driver / "trials").chmod(0o500)
    assert not is_shared(driver, token)


def test_a_checkpoint_that_is_gone_is_told(driver: Path) -> None:
    with pytest.raises(FileNotFoundError, match="step-0007 is not there any more"):
        remote(driver, put_marker(driver)).open(3, trial_dir(driver, 3) / "checkpoints" / "step-0007")
