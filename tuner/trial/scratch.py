"""Local folders for the files of one process; the next process removes those of dead ones.

They are in a folder that only this user can write to, so their content is trusted.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from tuner.errors import OccupiedError
from tuner.run_folder.file_locks import lock, unlock
from tuner.run_folder.marker import MARKER_FILE, new_marker, read_marker, write_marker

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def temporary_folder() -> Path:
    """This user's private folder for files of any size.

    Raises `PermissionError` if another user has put something in its place.
    """
    return _private(Path(tempfile.gettempdir()) / f"tuner-{os.geteuid()}", "TMPDIR")


def runtime_folder() -> Path:
    """This user's private folder for small files by which processes find each other, in XDG_RUNTIME_DIR if set.

    It may vanish with the login session while processes stay. Raises `PermissionError` as `temporary_folder` does.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and _is_private(Path(given)):
        return _private(Path(given) / "tuner", "XDG_RUNTIME_DIR")
    return temporary_folder()


class Scratch:
    """A folder that this process holds until `close`, or until it dies, however it dies.

    Args:
        name: several processes may hold the folder of the same name.
        parent: the private parent folder; by default in this machine's temporary folder.
    """

    def __init__(self, name: str, parent: Path | None = None) -> None:
        parent = parent or temporary_folder()
        self.path = parent / name
        self._descriptor = _hold(self.path)
        for other in parent.iterdir():
            if other != self.path:
                _remove_if_left(other)

    def close(self) -> None:
        """Release the folder; the last holder removes it. May be called twice."""
        if self._descriptor >= 0:
            unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            _remove_if_left(self.path)


def _private(path: Path, variable: str) -> Path:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not _is_private(path):
        raise PermissionError(
            f"{path} is not a folder that you alone can use: it is a link, another user's, or open to others. "
            f"Remove it if it is yours, or set {variable} to a folder of your own, for all processes on this machine."
        )
    return path


def _is_private(path: Path) -> bool:
    """Whether it is a folder of this user, not a link, that nobody else can read or write."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _hold(path: Path) -> int:
    while True:
        path.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        lock(descriptor, fcntl.LOCK_SH)
        # Another process may have removed it before we held it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                _mark(path, descriptor)
                return descriptor
        unlock(descriptor)
        os.close(descriptor)


def _mark(path: Path, descriptor: int) -> None:
    """Mark a new folder as ours. Raises `OccupiedError` if it holds other files."""
    if read_marker(path) is not None:
        return
    if any(not entry.name.startswith(MARKER_FILE) for entry in path.iterdir()):
        os.close(descriptor)
        raise OccupiedError(
            f"{path} holds files that tuner did not write: move them away, or set TMPDIR to another folder."
        )
    write_marker(path, new_marker("scratch", path.name))


def _remove_if_left(path: Path) -> None:
    """Remove one of our folders if no process holds it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if read_marker(path) is not None:
            shutil.rmtree(path, ignore_errors=True)
        elif not any(path.iterdir()):
            path.rmdir()
    except BlockingIOError:
        pass  # its process lives
    finally:
        os.close(descriptor)
