"""The log in the run folder."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.errors import StudyNotFoundError
from tuner.run_folder.lock import RunLock, is_locked
from tuner.run_folder.log import RunLog, read_log


def read(folder: Path) -> Iterator[str]:
    return read_log(folder, place=folder, look=lambda: is_locked(folder), follow=True)


def test_events_are_appended_with_the_time_of_day(tmp_path: Path) -> None:
    for text in ("one", "two \udcff"):
        log = RunLog(tmp_path)
        log.start("sweep", "bayes")
        log.event(text, is_detail=True)
        log.close()
    lines = "".join(read(tmp_path)).splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "sweep  bayes",
        "one",
        "sweep  bayes",
        "two \\xff",
    ]


def test_a_full_disk_does_not_end_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    log = RunLog(tmp_path)
    log.event("lost")
    log.close()


def test_following_goes_on_while_a_driver_runs(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    lock = RunLock(tmp_path)
    pieces = read(tmp_path)
    log.event("one")
    assert "one" in next(pieces)
    log.event("two")
    assert "two" in next(pieces)
    log.event("three")
    lock.release()
    assert "three" in "".join(pieces)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match=r"holds no log\.txt"):
        next(read(tmp_path))
