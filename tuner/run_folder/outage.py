"""Storage that fails for a while, a full disk or a share that is gone: told from other errors, and waited for.

Knows nothing of sweeps.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.command import command_line
from tuner.errors import StorageError, StudyNotFoundError
from tuner.run_folder.credentials import hide_secrets

# Storage that is away longer than this ends what waits for it.
LIMIT_S = 600.0
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
# What fails this long after it was tried again has not failed for the same reason.
LASTED_S = 60.0
_PROBE_BYTES = 1 << 16


def outage(folder: Path) -> OSError | None:
    """Why nothing can be written to a folder now; None where it can be. Blocks for a write to the disk."""
    probe = folder / f".probe-{os.getpid()}.tmp"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None


def sync(path: Path) -> None:
    """Block until a file, or the names in a folder, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_whole(descriptor: int, data: bytes) -> None:
    """All of it or nothing: half a line must not stand in front of what is written once a disk has room again."""
    before, rest = os.fstat(descriptor).st_size, memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.ftruncate(descriptor, before)
        raise


@contextmanager
def storing(*others: type[Exception]) -> Iterator[None]:
    """What the file system raises inside, and others that mean the same, as `StorageError`. Also a decorator."""
    failures: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except (StorageError, StudyNotFoundError):
        raise
    except failures as error:
        # What lies on a database has one sentence for all that goes wrong there, and the reason below it.
        reason = error if isinstance(error, OSError) else error.__cause__ or error
        raise StorageError(hide_secrets(str(reason).splitlines()[0])[:300]) from error


class Outage:
    """Spaces the attempts to go on with something whose storage fails.

    Args:
        folder: to be written to again.
        tell: called with a sentence when an outage begins and when it seems to be over.
    """

    def __init__(
        self,
        folder: Path,
        tell: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder, self._tell = folder, tell
        self._clock, self._sleep = clock, sleep
        self._began_at: float | None = None
        self._tried_at = clock()
        self._pause_s = FIRST_PAUSE_S

    @property
    def is_on(self) -> bool:
        """Whether the present attempt is one after a failure."""
        return self._began_at is not None and self._clock() - self._tried_at < LASTED_S

    def wait(self, error: Exception) -> None:
        """Block until another attempt makes sense; raises `StorageError` where that takes more than `LIMIT_S`."""
        if not self.is_on:
            self._began_at, self._pause_s = self._clock(), FIRST_PAUSE_S
            self._tell(
                f"storage fails: {error}; running trials are left as they are, and resumed once it can be "
                f"written again, within {LIMIT_S / 60:.0f} minutes"
            )
        assert self._began_at is not None
        while True:
            if self._clock() - self._began_at > LIMIT_S:
                raise StorageError(
                    f"{self._folder} could not be written for {LIMIT_S / 60:.0f} minutes: {error}. What was recorded "
                    f"is kept; when it can be written again: {command_line('resume', self._folder)}"
                ) from error
            self._sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
            if outage(self._folder) is None:
                break
        self._tried_at = self._clock()
        self._tell("trying again to write")
