import errno
import fcntl
import os
from pathlib import Path

import pytest

from tuner.errors import StorageError, StudyLockedError
from tuner.run_folder.lock import RunLock, is_locked


def test_a_folder_is_held_until_it_is_released(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(StudyLockedError, match=f"is being run by process {os.getpid()} on "):
            RunLock(tmp_path)
    assert not is_locked(tmp_path)
    RunLock(tmp_path).release()


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match=r"can't be locked \(.*No locks available\).* give an --output"):
        RunLock(tmp_path)
    assert not is_locked(tmp_path)
