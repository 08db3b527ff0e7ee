"""When a trial counts as stalled, by its pace or a timeout, and what becomes of a process that is never ready."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests import loops
from tests.sweeps import LR, sweep
from tuner.engine.driver import stalls
from tuner.engine.driver.stalls import STALL_MIN_S, forgive, stall
from tuner.study.running_trial import Running


@pytest.mark.parametrize(
    ("step_times_s", "timeout_s", "limit_s"),
    [
        # The first step may take any time.
        ([], None, None),
        ([], 30.0, 30.0),
        ([1.0, 2.0, 3.0], None, STALL_MIN_S),
        ([50.0, 100.0, 900.0], None, 1000.0),
        ([100.0], 30.0, 30.0),
    ],
)
def test_a_trial_is_stalled_after_ten_of_its_median_steps_or_the_timeout(
    step_times_s: list[float], timeout_s: float | None, limit_s: float | None
) -> None:
    nothing: Any = None
    running = Running(0, {}, nothing, nothing)
    running.step_times_s.extend(step_times_s)
    for silent_s in (0.0, 20.0, 500.0, 700.0, 2000.0):
        running.reported_at = time.monotonic() - silent_s
        assert bool(stall(running, timeout_s)) == (limit_s is not None and silent_s > limit_s)
    running.reported_at = time.monotonic() - 2000.0
    if limit_s is not None:
        assert stall(running, timeout_s) == f"no report for 2000 s after step 0 (stall_timeout {limit_s:.0f} s)"


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_a_process_that_is_never_ready_for_its_next_trial_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a process takes to start.
    monkeypatch.setattr(stalls, "PREPARE_LIMIT_S", 12.0)
    results = sweep(loops.haunts, tmp_path, parameters={"lr": LR}, run_cap=3, parallel=1)
    assert results.counts() == {"completed": 3}
    first, *others = [results.curve(number)[0].metrics["pid"] for number in range(3)]
    assert len({first, *others}) == 2
    assert first not in others


def test_what_the_driver_has_not_heard_while_it_was_held_up_is_no_silence() -> None:
    nothing: Any = None
    running = Running(0, {}, nothing, nothing)
    running.reported_at = time.monotonic() - 100.0
    forgive([], [running], 95.0)
    assert stall(running, 50.0) == ""
    forgive([], [running], 1000.0)
    assert running.reported_at <= time.monotonic(), "a step that takes less than no time"
    running.reported_at = time.monotonic() - 100.0
    forgive([], [running], 20.0)
    assert "no report for 80 s" in stall(running, 50.0)
