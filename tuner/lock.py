"""One driver at a time for a run folder."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tuner.errors import StudyLockedError


class RunLock:
    """Holds a run folder for this process until it is released or the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "driver.lock"
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise StudyLockedError(
                f"{folder} is being run by {holder}. Watch it with `tuner show {folder}`, or end that process first."
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked(folder: Path) -> bool:
    """Whether a driver is running the sweep in this folder."""
    try:
        with RunLock(folder):
            return False
    except StudyLockedError:
        return True
