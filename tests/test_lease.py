"""One driver at a time for a URI: by heartbeat, on a local file system through pyarrow."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tuner import lease
from tuner.errors import ObjectStoreError, StudyLockedError
from tuner.lease import Lease, is_held, read_holder
from tuner.lock import LOCK_FILE
from tuner.objectstore import ObjectStore
from tuner.uri import Uri


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
