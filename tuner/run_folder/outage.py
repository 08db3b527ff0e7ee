"""Storage that fails for a while, such as a full disk or a missing share: recognizes it, and waits for it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.command import command_line
from tuner.errors import StorageError, StudyNotFoundError
from tuner.run_folder.credentials import hide_secrets

# Whoever waits for storage gives up after this time.
LIMIT_S = 600.0
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 30.0
# A failure this long after the last retry has another cause.
LASTED_S = 60.0
_PROBE_BYTES = 1 << 16


def outage(folder: Path) -> OSError | None:
    """Why a folder can't be written to now, or None if it can. Blocks for a write to the disk."""
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
    """Append all data or nothing: no half line may precede what is written once a disk has room again."""
    before, rest = os.fstat(descriptor).st_size, memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.ftruncate(descriptor, before)
        raise


@contextmanager
def storing(*others: type[Exception]) -> Iterator[None]:
    """Turn errors of the file system, and `others` that mean the same, into `StorageError`. Also a decorator."""
    failures: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except (StorageError, StudyNotFoundError):
        raise
    except failures as error:
        # A database's errors have one sentence for everything, and the cause below it.
        reason = error if isinstance(error, OSError) else error.__cause__ or error
        raise StorageError(hide_secrets(str(reason).splitlines()[0])[:300]) from error


class Outage:
    """Spaces the retries of something whose storage fails.

    Args:
        folder: the folder that can't be written to.
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
        """Whether the present attempt follows a failure."""
        return self._began_at is not None and self._clock() - self._tried_at < LASTED_S

    def wait(self, error: Exception) -> None:
        """Block until another attempt makes sense; raise `StorageError` if that takes more than `LIMIT_S`."""
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
