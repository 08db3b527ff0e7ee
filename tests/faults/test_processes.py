"""Processes of trials that are killed, hang, or take all memory: the sweep ends as if nothing had happened."""

import errno
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from tests.faults import loops
from tests.faults.scenes import check, kill, meanwhile, num_reports, pid_of, wait_for, wait_for_reports
from tests.sweeps import Told, check_whole, sweep
from tuner.records import FailureReason, TrialState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]

FREE_WITHIN_S = 5.0


@pytest.fixture(autouse=True)
def _all_is_free_again() -> Iterator[None]:
    yield
    ended = time.monotonic()
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() - ended < FREE_WITHIN_S, ray.available_resources()
        time.sleep(0.1)


def walk(tmp_path: Path, **params: object) -> dict[str, object]:
    return {"epochs": 6, "step_s": 0.2, "marks": str(tmp_path), **params}


def walks(act: Callable[[], None], tmp_path: Path, **keys: object) -> list[str]:
    """A sweep that `act` happens to, and that ends as if it had not; what was told of trials that were tried again."""
    told = Told()
    with meanwhile(act):
        results = sweep(loops.walk, tmp_path, told, parameters=walk(tmp_path, x={"min": 0.0, "max": 1.0}), **keys)
    check(results, tmp_path, told.events)
    return [event for event in told.events if "is tried again" in event]


def test_processes_killed_at_random_moments(tmp_path: Path) -> None:
    rng = random.Random(1)

    def act() -> None:
        for _ in range(4):
            wait_for_reports(tmp_path, rng.randrange(2, 6))
            time.sleep(rng.uniform(0.0, 0.2))
            kill(pid_of(max(tmp_path.glob("000*-*"), key=lambda mark: mark.stat().st_mtime_ns)))

    assert walks(act, tmp_path, run_cap=6, failures={"retries": 10})


def test_a_process_that_hangs_is_named_and_replaced(tmp_path: Path) -> None:
    stopped = []

    def act() -> None:
        wait_for_reports(tmp_path, 2)
        stopped.append(hang(tmp_path / "0000-0"))

    again = walks(act, tmp_path, run_cap=3, failures={"retries": 1}, stall_timeout=8.0)
    assert any(event.startswith("trial 0000 is tried again") and "no report for" in event for event in again)
    check_gone(stopped[0])


def test_a_worker_of_two_that_is_killed_and_one_that_hangs_are_named_and_replaced(tmp_path: Path) -> None:
    rng, stopped = random.Random(2), []

    def act() -> None:
        wait_for_reports(tmp_path, rng.randrange(2, 6))
        time.sleep(rng.uniform(0.0, 0.2))
        kill(pid_of(tmp_path / f"0000-{rng.randrange(2)}"))
        wait_for(lambda: num_reports(tmp_path, 1) > 0, "the next trial")
        stopped.append(hang(tmp_path / "0001-1"))

    two = {"resources": {"workers": 2, "cpu": 0.5}, "parallel": 1}
    again = walks(act, tmp_path, run_cap=3, failures={"retries": 1}, stall_timeout=15.0, **two)
    assert len(again) == 2, again
    assert "trial 0000" in again[0]
    assert "died" in again[0]
    assert "trial 0001" in again[1]
    assert "no report for" in again[1]
    check_gone(stopped[0])


def hang(mark: Path) -> int:
    """Have the process that left this mark hang; its id."""
    pid = pid_of(mark)
    os.kill(pid, signal.SIGSTOP)
    return pid


def check_gone(pid: int) -> None:
    deadline = time.monotonic() + FREE_WITHIN_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the process that hangs is still there"
        time.sleep(0.1)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A control group of the kernel whose processes together may take 64 MiB."""
    root = Path("/sys/fs/cgroup")
    is_v2 = (root / "cgroup.controllers").exists()
    folder = (root if is_v2 else root / "memory") / f"tuner-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(64 << 20))
    except OSError as error:
        pytest.skip(f"this machine lets nobody limit memory here: {error}")
    yield folder
    wait_for(lambda: is_removed(folder), "the last process of a control group to be gone")


def is_removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def test_a_trial_that_takes_all_memory_is_ended_by_the_kernel_and_told(tmp_path: Path, cgroup: Path) -> None:
    told = Told()
    results = sweep(
        loops.walk,
        tmp_path,
        told,
        parameters=walk(tmp_path, how={"values": ["", "leaks"]}, at=3, cgroup=str(cgroup)),
        method="grid",
        parallel=1,
        failures={"retries": 0},
    )
    check_whole(results)
    well, leaks = results.trials
    assert (well.state, leaks.state, leaks.reason) == (TrialState.COMPLETED, TrialState.FAILED, FailureReason.LOST)
    assert max(leaks.curve) == 2
    assert "its process died" in leaks.message
    assert results.error(1)
