"""Detects processes that hang, in their trial or before they are ready for it."""

import time
from collections.abc import Iterable

from tuner.engine.driver.ray_trial import RayTrial
from tuner.study.running_trial import Running

# A trial without a report for this many times its median step, and at least this long, counts as stalled.
STALL_FACTOR = 10.0
STALL_MIN_S = 600.0
# How long a started process may take to be ready for its trial: for its imports, or cleaning up after the last one.
PREPARE_LIMIT_S = 600.0
# A longer turn of the driver's loop does not count against the trials: it was stopped, or waited for a disk.
MAX_TURN_S = 1.0


def stall(running: Running, stall_timeout: float | None) -> str:
    """Why a trial counts as stalled, or an empty text; only a timeout limits its first step."""
    median_step_s = running.median_step_s()
    limit_s = stall_timeout
    if limit_s is None and median_step_s is not None:
        limit_s = max(STALL_MIN_S, STALL_FACTOR * median_step_s)
    silent_s = time.monotonic() - running.reported_at
    if limit_s is None or silent_s <= limit_s:
        return ""
    return f"no report for {silent_s:.0f} s after step {running.last_step} (stall_timeout {limit_s:.0f} s)"


def is_overdue(trial: RayTrial, is_preparing: bool) -> bool:
    """Whether its process has been preparing for too long; call it repeatedly."""
    now = time.monotonic()
    if not is_preparing:
        trial.preparing_since = None
    elif trial.preparing_since is None:
        trial.preparing_since = now
    return trial.preparing_since is not None and now - trial.preparing_since > PREPARE_LIMIT_S


def forgive(trials: Iterable[RayTrial], runnings: Iterable[Running], lost_s: float) -> None:
    """Do not count the time in which the driver did not listen as silence."""
    now = time.monotonic()
    for running in runnings:
        # Reports of this turn were processed after that.
        running.reported_at = min(now, running.reported_at + lost_s)
    for trial in trials:
        if trial.preparing_since is not None:
            trial.preparing_since = min(now, trial.preparing_since + lost_s)
