"""Folders on this machine for the files of one process; those of processes that have died are removed by the next.

Knows nothing of ray.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path


class Scratch:
    """A folder that is held by this process until `close`, or until the process dies, however it dies.

    Args:
        name: several processes may hold the folder of a name together.
        parent: of all such folders; one in the temporary folder of this machine if left out.
    """

    def __init__(self, name: str, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir()) / f"tuner-{os.getuid()}"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = parent / name
        self._descriptor = _hold(self.path)
        for other in parent.iterdir():
            if other != self.path:
                _remove_if_left(other)

    def close(self) -> None:
        """Let go of the folder; the last to hold it removes it. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            _remove_if_left(self.path)


def _hold(path: Path) -> int:
    while True:
        path.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # Another process may have removed it before it was held.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _remove_if_left(path: Path) -> None:
    """Remove a folder that no process holds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass  # its process lives
    finally:
        os.close(descriptor)
