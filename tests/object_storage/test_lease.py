"""One driver at a time for a URI: by heartbeat, on a local file system through pyarrow."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import with_time
from tuner.errors import ObjectStoreError, StudyLockedError
from tuner.object_storage import lease
from tuner.object_storage.lease import Lease, is_held, read_holder
from tuner.object_storage.object_store import ObjectStore
from tuner.run_folder.lock import LOCK_FILE
from tuner.run_folder.place import Uri


def nothing(*_: object) -> None:
    return


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(lease, "_SETTLE_S", 0.0)
    monkeypatch.setattr(lease, "_POLL_S", 0.02)
    return ObjectStore(Uri(f"file://{tmp_path}/run"))


def put_holder(store: ObjectStore, **changes: object) -> None:
    """One that this process holds and never renews, changed."""
    held = Lease(store, nothing, nothing, nothing)
    found = read_holder(store)
    held.release()
    assert found is not None
    store.write(LOCK_FILE, json.dumps(dataclasses.asdict(found) | changes).encode())


def until(is_true: Callable[[], object]) -> None:
    end = time.monotonic() + 10.0
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_second_driver_is_refused_until_the_first_releases_it(store: ObjectStore) -> None:
    first = Lease(store, nothing, nothing, nothing)
    assert (first.before, is_held(store)) == (None, True)
    with pytest.raises(StudyLockedError, match=f"is being run by process {os.getpid()} on "):
        Lease(store, nothing, nothing, nothing)
    first.release()
    assert not is_held(store)
    second = Lease(store, nothing, nothing, nothing)
    assert second.before == first.session != second.session
    second.release()


def test_a_process_of_this_machine_that_is_gone_holds_nothing(store: ObjectStore) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    put_holder(store, pid=gone.pid)
    assert not is_held(store)
    Lease(store, lambda text: pytest.fail(text), nothing, nothing).release()
    # Nor does another process that has been given its number.
    put_holder(store, started_s=1.0)
    Lease(store, lambda text: pytest.fail(text), nothing, nothing).release()


def test_a_clock_that_is_set_makes_nobody_dead(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lease(store, nothing, nothing, nothing)
    booted = psutil.boot_time()
    # What Linux tells the moment of its start by is the clock of today, less the time since.
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 86400.0)
    assert is_held(store)
    held.release()


def test_one_of_another_machine_is_waited_for_and_taken_for_dead(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRES_S", 0.5)
    put_holder(store, machine="elsewhere", host="elsewhere", pid=7)
    assert is_held(store)
    told: list[str] = []
    Lease(store, told.append, nothing, nothing).release()
    assert len(told) == 1
    assert "process 7 on elsewhere drove this sweep a moment ago" in told[0]
    put_holder(store, machine="elsewhere")
    time.sleep(0.6)
    assert not is_held(store)
    Lease(store, lambda text: pytest.fail(text), nothing, nothing).release()


def test_one_of_another_machine_that_is_heard_of_is_not_taken_for_dead(store: ObjectStore) -> None:
    put_holder(store, machine="elsewhere", host="elsewhere", pid=7)

    def tell(text: str) -> None:
        found = read_holder(store)
        assert found is not None
        store.write(LOCK_FILE, json.dumps(dataclasses.asdict(found) | {"beat": 1}).encode())

    with pytest.raises(StudyLockedError, match="process 7 on elsewhere"):
        Lease(store, tell, nothing, nothing)


def test_a_driver_hears_that_another_has_taken_it(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    beats, losses = [0], [0]

    def count(what: list[int]) -> Callable[[], None]:
        return lambda: what.append(what.pop() + 1)

    held = Lease(store, nothing, count(beats), count(losses))
    until(lambda: beats[0] > 2)
    held.check()
    found = read_holder(store)
    assert found is not None
    store.write(LOCK_FILE, json.dumps(dataclasses.asdict(found) | {"session": "other", "pid": 7}).encode())
    until(lambda: losses[0])
    with pytest.raises(ObjectStoreError, match="taken over by process 7"):
        held.check()
    held.release()
    now = read_holder(store)
    assert now is not None
    assert (now.session, now.is_released, losses) == ("other", False, [1])


def test_what_no_driver_has_written_is_no_holder(store: ObjectStore) -> None:
    put_holder(store)
    found = json.loads(store.read(LOCK_FILE) or b"")
    assert read_holder(store) is not None
    pids = ({"pid": pid} for pid in ("1", -1, True, 1.5, 1 << 40))
    for changes in (*pids, {"host": 1}, {"started_s": None}, {"x": 1}):
        store.write(LOCK_FILE, json.dumps(found | changes).encode())
        assert read_holder(store) is None, changes
        assert not is_held(store)
    for text in (b"", b"[]", b"null", b"\xff"):
        store.write(LOCK_FILE, text)
        assert read_holder(store) is None, text


def test_of_two_that_begin_at_once_the_second_to_write_has_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        found = read_holder(store)
        assert found is not None, "it looks again only after it has written"
        store.write(LOCK_FILE, json.dumps(dataclasses.asdict(found) | {"session": "other", "pid": 7}).encode())

    with_time(monkeypatch, lease, sleep=sleep)
    with pytest.raises(StudyLockedError, match="is being run by process 7 on "):
        Lease(store, nothing, nothing, nothing)


@pytest.mark.parametrize("is_deleted", [True, False])
def test_one_of_another_machine_that_ends_is_waited_for_no_longer(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    put_holder(store, machine="elsewhere", host="elsewhere", pid=7)
    slept: list[float] = []
    with_time(monkeypatch, lease, sleep=slept.append)

    def tell(text: str) -> None:
        found = read_holder(store)
        assert found is not None
        released = dataclasses.asdict(found) | {"is_released": True}
        store.delete(LOCK_FILE) if is_deleted else store.write(LOCK_FILE, json.dumps(released).encode())

    Lease(store, tell, nothing, nothing).release()
    assert slept == [lease._POLL_S, lease._SETTLE_S]


def test_no_clock_of_this_machine_tells_how_long_ago_another_was_heard_of(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRES_S", 0.6)
    put_holder(store, machine="elsewhere", host="elsewhere", pid=7)
    real = time.time
    with_time(monkeypatch, lease, time=lambda: real() + 86400.0)
    told: list[str] = []
    Lease(store, told.append, nothing, nothing).release()
    assert len(told) == 1, "by the clock of this machine it would have expired a day ago"


class Watched(ObjectStore):
    """Counts what is written."""

    written = 0

    def write(self, name: str, data: bytes) -> None:
        self.written += 1
        super().write(name, data)


def test_one_that_was_not_renewed_for_long_is_looked_at_before_it_is_used(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a night's sleep of the machine: the thread has not run.
    monkeypatch.setattr(lease, "HEARTBEAT_S", 3600.0)
    real, slept_s = lease._now, [0.0]
    monkeypatch.setattr(lease, "_now", lambda: real() + slept_s[0])
    watched = Watched(store.uri)
    held = Lease(watched, nothing, nothing, nothing)
    begun = watched.written
    for slept_s[0], renewals in ((lease.EXPIRES_S / 2, 0), (lease.EXPIRES_S + 1, 1), (1.5 * lease.EXPIRES_S, 1)):
        held.check()
        assert watched.written - begun == renewals
    found = read_holder(store)
    assert found is not None
    store.write(LOCK_FILE, json.dumps(dataclasses.asdict(found) | {"session": "other", "pid": 7}).encode())
    held.check()
    slept_s[0] = 3 * lease.EXPIRES_S
    with pytest.raises(ObjectStoreError, match="taken over by process 7"):
        held.check()
    held.release()


def test_a_machine_is_a_host_since_its_start_and_a_container(store: ObjectStore) -> None:
    mine = lease._machine()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert mine == f"{socket.gethostname()}:{boot}:{Path('/proc/self/ns/pid').readlink()}"
    put_holder(store)
    found = read_holder(store)
    assert found is not None
    assert found.is_here
    for part in mine.split(":"):
        assert not dataclasses.replace(found, machine=mine.replace(part, "other")).is_here
    # Goes on while the machine sleeps, as the clocks that measure only what was awake do not.
    assert lease._now() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60.0)


def test_of_two_that_ask_at_once_the_second_to_write_has_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Lease(store, nothing, nothing, nothing)
    theirs = store.read(LOCK_FILE)
    assert theirs is not None
    other.release()

    def settle(seconds: float) -> None:
        store.write(LOCK_FILE, theirs)

    with monkeypatch.context() as patch:
        patch.setattr(lease.time, "sleep", settle)
        with pytest.raises(StudyLockedError, match="is being run by process"):
            Lease(store, nothing, nothing, nothing)
    assert store.read(LOCK_FILE) == theirs


def test_one_that_leaves_nothing_takes_its_lock_away_and_nobody_elses(store: ObjectStore) -> None:
    Lease(store, nothing, nothing, nothing).release(leave_nothing=True)
    assert store.entries() == {}
    Lease(store, nothing, nothing, nothing).release()
    second = Lease(store, nothing, nothing, nothing)
    second.release(leave_nothing=True)
    holder = read_holder(store)
    assert holder is not None
    assert holder.is_released
