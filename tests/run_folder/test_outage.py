import errno
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

import tuner.run_folder.outage
from tests.recorded import ran
from tuner.cli.main import main
from tuner.errors import StorageError
from tuner.run_folder.outage import FIRST_PAUSE_S, LASTED_S, LIMIT_S, MAX_PAUSE_S, Outage, outage, storing


def test_a_folder_that_can_be_written_has_no_outage_and_keeps_no_trace(tmp_path: Path) -> None:
    assert outage(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_has_one(tmp_path: Path) -> None:
    found = outage(tmp_path / "gone")
    assert found is not None
    assert found.errno == errno.ENOENT


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OperationalError("INSERT", {}, Exception("locked"))]
)
def test_errors_of_disks_and_databases_become_one(error: Exception) -> None:
    with pytest.raises(StorageError) as caught, storing(OperationalError):
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), storing():
        raise KeyError("x")


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def make(folder: Path) -> tuple[Outage, Time, list[str]]:
    time, told = Time(), list[str]()
    return Outage(folder, told.append, clock=lambda: time.now, sleep=time.sleep), time, told


def test_it_waits_until_the_folder_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    outage_, time, told = make(folder)
    sleep = time.sleep

    def sleep_and_mend(seconds: float) -> None:
        sleep(seconds)
        if len(time.pauses) == 8:
            folder.mkdir()

    outage_._sleep = sleep_and_mend
    outage_.wait(StorageError("it is gone"))
    assert time.pauses == [min(FIRST_PAUSE_S * 2**k, MAX_PAUSE_S) for k in range(8)]
    assert told[0].startswith("storage fails: it is gone; running trials")
    assert told[1:] == ["trying again to write"]


def test_attempts_that_fail_at_once_are_spaced_and_come_to_an_end(tmp_path: Path) -> None:
    outage_, time, told = make(tmp_path)
    began = time.now
    with pytest.raises(StorageError, match=f"when it can be written again: tuner resume {tmp_path}"):
        while True:
            outage_.wait(StorageError("too large for what is left"))
    assert LIMIT_S < time.now - began < LIMIT_S + 2 * MAX_PAUSE_S
    assert sum("storage fails" in text for text in told) == 1


def test_a_failure_long_after_another_is_a_new_one(tmp_path: Path) -> None:
    outage_, time, told = make(tmp_path)
    for _ in range(30):
        outage_.wait(StorageError("again"))
        time.now += LASTED_S + 1
    assert set(time.pauses) == {FIRST_PAUSE_S}
    assert sum("storage fails" in text for text in told) == 30


def test_storage_that_stays_away_ends_a_command_with_exit_code_1_and_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ran(tmp_path / "it", [({"optimizer": "adam", "lr": 0.1}, [0.5, 0.6, 0.7])])
    (folder / "tensorboard").rmdir()
    (folder / "tensorboard").write_text("in the way of a folder")
    monkeypatch.setattr(tuner.run_folder.outage, "LIMIT_S", 0.5)
    monkeypatch.setattr(sys, "argv", ["tuner", "resume", str(folder), "--run-cap", "+1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert f"{folder} could not be written for" in told
    assert told.rstrip().endswith(f"when it can be written again: tuner resume {folder}")
