"""One driver at a time for a run folder at a URI: an object with a heartbeat, in place of a lock.

The storage's clock decides whether a holder has expired, so that no two machines' clocks are compared. A reader, who
is perhaps not allowed to write, uses its own clock.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tuner.command import command_line
from tuner.errors import ObjectStoreError, StudyLockedError
from tuner.object_storage.object_store import ObjectStore
from tuner.run_folder.lock import LOCK_FILE

HEARTBEAT_S = 5.0
# A driver that has not renewed its lease for this long counts as dead.
EXPIRES_S = 60.0
# If two drivers write at the same moment, the last one wins: both look again after this time.
_SETTLE_S = 1.0
_POLL_S = 1.0


@dataclass(frozen=True)
class Holder:
    """The driver of the sweep. `session` is new at each start of a driver, `started_s` is seconds after the boot."""

    session: str
    pid: int
    started_s: float
    host: str
    machine: str
    beat: int = 0
    is_released: bool = False

    def __post_init__(self) -> None:
        """Raise TypeError for values that no driver writes; anyone with access to the URI may have written them."""
        texts, numbers = (self.session, self.host, self.machine), (self.pid, self.started_s, self.beat)
        are_numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
        is_pid = isinstance(self.pid, int) and 0 < self.pid < 1 << 31
        if not (all(isinstance(text, str) for text in texts) and are_numbers and is_pid):
            raise TypeError(f"{self.pid!r} on {self.host!r} is not a process")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        return self.machine == _machine()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs, for a holder on this machine."""
        try:
            return abs(_started_s(self.pid) - self.started_s) < 1.0
        except psutil.NoSuchProcess:
            return False


def read_holder(store: ObjectStore) -> Holder | None:
    data = store.read(LOCK_FILE)
    try:
        return None if data is None else Holder(**json.loads(data))
    except (ValueError, TypeError):
        return None


def is_held(store: ObjectStore) -> bool:
    """Whether a driver seems to run, judged by a reader's clock."""
    holder = read_holder(store)
    if holder is None or holder.is_released:
        return False
    if holder.is_here:
        return holder.is_alive
    (entry,) = store.find(LOCK_FILE)
    return entry is not None and abs(time.time() - entry.changed_at_s) < EXPIRES_S


class Lease:
    """Holds a URI for this process until it is released, or has not been renewed for `EXPIRES_S`.

    Blocks until it is acquired: if another machine's driver renewed it a moment ago, until that one renews it again or
    counts as dead. Then a thread renews it. Raises `StudyLockedError` if another driver runs, `ObjectStoreError` if the
    URI can't be written to.

    Args:
        tell: called with a sentence if it has to wait.
        on_beat: called by the thread after each renewal.
        on_loss: called by the thread, once, when another driver has taken it.

    Attributes:
        before: the session that held it last, if any.
        lost_to: the driver that has taken it over, if any; this process must then leave the URI alone.
    """

    def __init__(
        self,
        store: ObjectStore,
        tell: Callable[[str], None],
        on_beat: Callable[[], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._store = store
        self._on_beat = on_beat
        self._on_loss = on_loss
        pid = os.getpid()
        self._mine = Holder(secrets.token_hex(8), pid, _started_s(pid), socket.gethostname(), _machine())
        found = read_holder(store)
        self.before = found.session if found else None
        self.lost_to: Holder | None = None
        if found is not None and not found.is_released:
            self._outlast(found, tell)
        self._write()
        time.sleep(_SETTLE_S)
        found = read_holder(store)
        if found is not None and found.session != self.session:
            raise self._refusal(found)
        self._renewed_at = _now()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    @property
    def session(self) -> str:
        return self._mine.session

    def check(self) -> None:
        """Raise `ObjectStoreError` unless this process certainly holds the URI."""
        if self.lost_to is not None:
            raise ObjectStoreError(f"{self._store.uri} has been taken over by {self.lost_to}")
        if _now() - self._renewed_at > EXPIRES_S:
            # This process was cut off or asleep for so long that another one may have taken over.
            self._renew()
            self.check()

    def release(self, *, leave_nothing: bool = False) -> None:
        """Stop renewing it and free it for others, if the storage can be reached.

        Args:
            leave_nothing: leave no trace, unless somebody has held it before.
        """
        self._stopped.set()
        self._thread.join()
        if self.lost_to is not None:
            return
        if leave_nothing and self.before is None:
            self._store.delete(LOCK_FILE)
        else:
            self._write(is_released=True)

    def _outlast(self, found: Holder, tell: Callable[[str], None]) -> None:
        if found.is_here:
            if found.is_alive:
                raise self._refusal(found)
            return
        left_s = EXPIRES_S - self._age_s()
        if left_s <= 0:
            return
        tell(f"waiting for up to {left_s:.0f} s: {found} drove this sweep a moment ago, and may be gone")
        until = time.monotonic() + left_s
        while time.monotonic() < until:
            time.sleep(_POLL_S)
            now = read_holder(self._store)
            if now is None or now.is_released:
                return
            if now != found:
                raise self._refusal(now)

    def _age_s(self) -> float:
        """Seconds since the other driver renewed it, by the storage's clock."""
        probe = f".{LOCK_FILE}-{self.session}"
        self._store.write(probe, b"")
        theirs, now = self._store.find(LOCK_FILE, probe)
        self._store.delete(probe)
        if theirs is None:
            return EXPIRES_S
        return now.changed_at_s - theirs.changed_at_s if now else 0.0

    def _refusal(self, holder: Holder) -> StudyLockedError:
        uri = self._store.uri
        return StudyLockedError(
            f"{uri} is being run by {holder}. Watch it with `{command_line('show', uri)}`, or end that process first; "
            f"if its machine is gone, the lock expires {EXPIRES_S:.0f} s after its last sign of life."
        )

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S) and self.lost_to is None:
            try:
                self._renew()
                if self.lost_to is None:
                    self._on_beat()
            except (ObjectStoreError, OSError, ValueError):
                continue  # the mirror reports it
        if self.lost_to is not None:
            self._on_loss()

    def _renew(self) -> None:
        found = read_holder(self._store)
        if found is not None and found.session != self.session:
            self.lost_to = found
            return
        self._write()
        self._renewed_at = _now()

    def _write(self, *, is_released: bool = False) -> None:
        entry = asdict(self._mine) | {"beat": round(_now()), "is_released": is_released}
        self._store.write(LOCK_FILE, json.dumps(entry).encode() + b"\n")


def _machine() -> str:
    """Identifies where a process id is valid: this host since its boot, and this container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}:{boot}:{Path('/proc/self/ns/pid').readlink()}"


def _started_s(pid: int) -> float:
    """When a process started, by a clock that can't be set."""
    booted = psutil.boot_time()
    return psutil.Process(pid).create_time() - booted


def _now() -> float:
    """The time of a clock that runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
