"""Processes that hang, in their trial or before they are ready for it."""

import time
from collections.abc import Iterable

from tuner.engine.driver.ray_trial import RayTrial
from tuner.study.running_trial import Running

# Without a report for this many times its median step, and at least this long, a trial counts as stalled.
STALL_FACTOR = 10.0
STALL_MIN_S = 600.0
# How long a process that is there may take to be ready for its trial: for its imports, or to clean up after the last.
PREPARE_LIMIT_S = 600.0
# A turn of the driver's loop that takes longer is not charged to the trials: it was stopped, or waited for a disk.
MAX_TURN_S = 1.0


def stall(running: Running, stall_timeout: float | None) -> str:
    """Why a trial counts as stalled, empty where it does not; its first step may take any time but for a timeout."""
    median_step_s = running.median_step_s()
    limit_s = stall_timeout
    if limit_s is None and median_step_s is not None:
        limit_s = max(STALL_MIN_S, STALL_FACTOR * median_step_s)
    silent_s = time.monotonic() - running.reported_at
    if limit_s is None or silent_s <= limit_s:
        return ""
    return f"no report for {silent_s:.0f} s after step {running.last_step} (stall_timeout {limit_s:.0f} s)"


def is_overdue(trial: RayTrial, is_preparing: bool) -> bool:
    """Whether its process has been preparing for too long; to be asked again and again."""
    now = time.monotonic()
    if not is_preparing:
        trial.preparing_since = None
    elif trial.preparing_since is None:
        trial.preparing_since = now
    return trial.preparing_since is not None and now - trial.preparing_since > PREPARE_LIMIT_S


def forgive(trials: Iterable[RayTrial], runnings: Iterable[Running], lost_s: float) -> None:
    """Do not count as silence that the driver has not listened for so long."""
    now = time.monotonic()
    for running in runnings:
        # What has come in this turn was heard after that.
        running.reported_at = min(now, running.reported_at + lost_s)
    for trial in trials:
        if trial.preparing_since is not None:
            trial.preparing_since = min(now, trial.preparing_since + lost_s)
