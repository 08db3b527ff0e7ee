"""Locks that children do not keep: real forks."""

import fcntl
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.processes import end, go, line, start

# Takes the lock of a file, forks a child that lives on, and tells its id; what follows is up to the test.
PROCESS = """
import fcntl, os, sys, time
from tuner.run_folder.file_locks import lock, unlock
file = open(sys.argv[1], "a+")
lock(file.fileno(), fcntl.LOCK_EX)
child = os.fork()
if not child:
    file.close()
    time.sleep(600)
print(child, flush=True)
sys.stdin.readline()
unlock(file.fileno())
file.close()
print("free", flush=True)
sys.stdin.readline()
"""
# Data whose loading starts a process that lives on, as a data loader's workers do; tells them, and waits.
LOADER = """
import json, os, sys, time
from tuner.trial.shared_data import SharedData

def load():
    child = os.fork()
    if not child:
        time.sleep(600)
    return {"child": child}

shared = SharedData(sys.argv[1])
print(json.dumps(shared.get("key", load)), flush=True)
sys.stdin.readline()
"""


def is_free(path: Path) -> bool:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_child_that_lives_on_holds_no_lock(tmp_path: Path, is_killed: bool) -> None:
    path = tmp_path / "lock"
    process = start(PROCESS, str(path))
    child = int(line(process))
    try:
        assert not is_free(path)
        if is_killed:
            end(process)
        else:
            go(process)
            assert line(process) == "free"
        deadline = time.monotonic() + 60  # the child may not have come to that yet
        while not is_free(path):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        end(process)


def test_what_is_shared_can_be_had_while_a_process_that_its_loading_started_lives(tmp_path: Path) -> None:
    name = f"{tmp_path.name}-{os.getpid()}"
    first = start(LOADER, name)
    child = json.loads(line(first))["child"]
    try:
        second = start(LOADER, name)
        assert json.loads(line(second))["child"] == child
        end(second)
    finally:
        os.kill(child, signal.SIGKILL)
        end(first)
