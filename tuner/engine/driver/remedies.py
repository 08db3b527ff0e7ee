"""Decides what to do about a trial whose attempt has failed. Does not depend on Ray."""

import enum
from collections.abc import Callable

from tuner.engine.process.report_queue import Ending
from tuner.records import FailureReason, TrialState
from tuner.study.running_trial import Running

# How many processes a trial may lose before its first report without failing.
MAX_LOSSES = 3
# How many nodes it may lose without a newer checkpoint: a trial that takes down its node must not take down all.
MAX_LOST_NODES = 10


class Remedy(enum.Enum):
    """REFUSE the sweep, WAIT for its storage, LEAVE the trial to be resumed, RETRY it, or FAIL it.

    Two more do not count as a retry: MOVE it to another node, or run it again on a WHOLE_GPU.
    """

    REFUSE = "refuse"
    WAIT = "wait"
    MOVE = "move"
    WHOLE_GPU = "whole_gpu"
    LEAVE = "leave"
    RETRY = "retry"
    FAIL = "fail"


def remedy_for(
    ending: Ending,
    running: Running,
    *,
    retries: int,
    has_reports: bool,
    is_winding_down: bool,
    has_whole_gpu: Callable[[], bool],
    rests_node: Callable[[], bool],
) -> Remedy:
    """Decide by how an attempt ended, and count it in `running`.

    Args:
        retries: how often a failed trial is retried.
        has_reports: whether any trial of the sweep has ever reported its metric.
        is_winding_down: whether the sweep is leaving its trials to be resumed.
        rests_node: rests the trial's node if that node can't write and others are left; returns whether it did.
        has_whole_gpu: returns whether a trial could have a whole GPU.
    """
    if ending.lacks_metric and not has_reports:
        # No trial ever had the sweep's metric: the sweep is refused, and this trial is left to be resumed.
        return Remedy.REFUSE
    # Not this trial's failure: the sweep waits for its storage, and resumes all running trials.
    is_outage = ending.lacks_storage or ending.lacks_node_storage
    if ending.lacks_node_storage and is_winding_down:
        return Remedy.LEAVE
    if is_outage and rests_node():
        return Remedy.MOVE
    if is_outage:
        return Remedy.WAIT
    if ending.lacks_gpu_memory and 0 < running.gpus < 1 and has_whole_gpu():
        return Remedy.WHOLE_GPU
    # Whoever ends the driver, such as a batch system, also ends the trials' processes: they resume with the sweep.
    if is_winding_down and ending.reason is FailureReason.LOST:
        return Remedy.LEAVE
    return Remedy.RETRY if _may_retry(ending, running, retries, is_winding_down) else Remedy.FAIL


def _may_retry(ending: Ending, running: Running, retries: int, is_winding_down: bool) -> bool:
    if is_winding_down or ending.reason is FailureReason.NAN:
        return False
    attempts = running.attempts
    if ending.lost_node:
        running.become(TrialState.PREEMPTED)
        attempts.count_lost_node(running.restore_step)
        if attempts.lost_nodes <= MAX_LOST_NODES:
            return True
    has_begun = running.last_step > running.restore_step
    is_lost = ending.reason is FailureReason.LOST and not ending.ended_itself
    if is_lost and not has_begun and attempts.losses < MAX_LOSSES:
        # Its process died before this trial could do anything: assumed not to be its fault the first times.
        attempts.losses += 1
        return True
    attempts.retries += 1
    return attempts.retries <= retries
