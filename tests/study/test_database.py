"""Databases that studies are kept in, with real files of SQLite."""

import threading
from pathlib import Path

import pytest

from tuner.errors import SpecError
from tuner.study.database import open_database


def test_sweeps_that_begin_at_the_same_moment_make_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    at_once = threading.Barrier(6)
    failed: list[Exception] = []

    def begin() -> None:
        at_once.wait()
        try:
            open_database(url, create=True)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_what_is_no_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}", "nonsense", "nosuchdb://host/x"):
        with pytest.raises(SpecError, match="can't be opened as a database"):
            open_database(url, create=True)
