"""The log in the run folder."""

import re
from pathlib import Path

import pytest

from tuner.errors import StudyNotFoundError
from tuner.run_folder.lock import RunLock
from tuner.run_folder.log import RunLog
from tuner.run_folder.run import Run


def test_events_are_appended_with_the_time_of_day(tmp_path: Path) -> None:
    for text in ("one", "two \udcff"):
        log = RunLog(tmp_path)
        log.start("sweep", "bayes")
        log.event(text, is_detail=True)
        log.close()
    lines = "".join(Run(tmp_path).log(follow=True)).splitlines()
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
    pieces = Run(tmp_path).log(follow=True)
    log.event("one")
    assert "one" in next(pieces)
    log.event("two")
    assert "two" in next(pieces)
    log.event("three")
    lock.release()
    assert "three" in "".join(pieces)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match=r"holds no log\.txt"):
        next(Run(tmp_path).log(follow=True))
