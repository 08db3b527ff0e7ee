"""One driver at a time for a run folder."""

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tuner.command import command_line
from tuner.errors import StorageError, StudyLockedError
from tuner.run_folder.file_locks import lock, unlock

LOCK_FILE = "driver.lock"
# The errors of a file system without locks.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class RunLock:
    """Locks a run folder for this process until it is released or the process dies, however it dies.

    Raises `StudyLockedError` if another process holds it, `StorageError` if the file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self._file = (folder / LOCK_FILE).open("a+")
        try:
            is_mine = self._acquire()
        except OSError as error:
            self._file.close()
            if error.errno not in _WITHOUT_LOCKS:
                raise
            raise StorageError(
                f"{folder} can't be locked ({error}), so two drivers could write to it at once: give an --output on "
                "a file system with locks (NFS has them in version 4, and in version 3 with its lock daemon; not if "
                "mounted with nolock or local_lock, which lock within one machine only)."
            ) from error
        if not is_mine:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise StudyLockedError(
                f"{folder} is being run by {holder}. Watch it with `{command_line('show', folder)}`, or end that "
                "process first."
            )
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def _acquire(self) -> bool:
        if not _try_lock(self._file, fcntl.LOCK_EX):
            # Try again: `is_locked` holds the lock for a moment.
            time.sleep(0.1)
            return _try_lock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Release the lock. May be called twice."""
        if not self._file.closed:
            unlock(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked(folder: Path) -> bool:
    """Whether a driver is running the sweep in this folder; False if the file system has no locks."""
    try:
        with (folder / LOCK_FILE).open() as file:
            is_free = _try_lock(file, fcntl.LOCK_SH)
            if is_free:
                unlock(file.fileno())
            return not is_free
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _WITHOUT_LOCKS:
            return False
        raise


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        lock(file.fileno(), kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
