"""Processes of trials that are killed, hang, or take all memory: the sweep ends as if nothing had happened."""

import errno
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from tests.faults import loops
from tests.faults.scenes import check, kill, meanwhile, pid_of, wait_for, wait_for_reports
from tests.sweeps import Told, check_whole, sweep
from tuner.trial import FailureReason, TrialState

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


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_killed_at_random_moments(tmp_path: Path, workers: int) -> None:
    rng, killed, told = random.Random(workers), [], Told()

    def act() -> None:
        for _ in range(4 if workers == 1 else 2):
            wait_for_reports(tmp_path, rng.randrange(2, 6))
            time.sleep(rng.uniform(0.0, 0.2))
            newest = max(tmp_path.glob("000*-*"), key=lambda mark: mark.stat().st_mtime_ns)
            killed.append(pid_of(newest.with_name(f"{newest.name[:4]}-{rng.randrange(workers)}")))
            kill(killed[-1])

    with meanwhile(act):
        results = sweep(
            loops.walk,
            tmp_path,
            told,
            parameters=walk(tmp_path, x={"min": 0.0, "max": 1.0}),
            run_cap=6,
            resources={"workers": workers, "cpu": 1.0 / workers},
            parallel=2 // workers,
            failures={"retries": 10},
        )
    check(results, tmp_path, told.events)
    assert any("is tried again" in event for event in told.events)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_hangs_is_named_and_replaced(tmp_path: Path, workers: int) -> None:
    stopped, told = [], Told()

    def act() -> None:
        wait_for_reports(tmp_path, 2)
        stopped.append(pid_of(tmp_path / f"0000-{workers - 1}"))
        os.kill(stopped[0], signal.SIGSTOP)

    with meanwhile(act):
        results = sweep(
            loops.walk,
            tmp_path,
            told,
            parameters=walk(tmp_path, x={"min": 0.0, "max": 1.0}),
            run_cap=3,
            resources={"workers": workers, "cpu": 1.0 / workers},
            parallel=2 // workers,
            failures={"retries": 1},
            stall_timeout=15.0 if workers > 1 else 8.0,
        )
    check(results, tmp_path, told.events)
    assert any(event.startswith("trial 0000 is tried again") and "no report for" in event for event in told.events)
    deadline = time.monotonic() + FREE_WITHIN_S
    while psutil.pid_exists(stopped[0]) and psutil.Process(stopped[0]).status() != psutil.STATUS_ZOMBIE:
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
