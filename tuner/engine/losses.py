"""What is told of a trial whose process failed, rather than its training loop."""

from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.exceptions import RayActorError

from tuner.engine.cluster import is_alive, node_of
from tuner.engine.messages import DIED_AT_START
from tuner.engine.ray_trial import RayTrial
from tuner.engine.reports import Ending, failure
from tuner.trial import FailureReason, TrialState


def ending_of(trial: RayTrial, exception: Exception) -> Ending:
    """What a failed call to a trial's process tells of the trial."""
    text = str(exception)
    if trial.killed_for:
        return Ending(TrialState.FAILED, FailureReason.TIMEOUT, trial.killed_for, text)
    if isinstance(exception, RayOutOfMemoryError) or isinstance(exception.__cause__, RayOutOfMemoryError):
        return Ending(TrialState.FAILED, FailureReason.OOM, "killed by Ray since memory ran out", text)
    if isinstance(exception, RayActorError):
        if exception.preempted or not is_alive(node_of(exception.actor_id)):
            return Ending(TrialState.FAILED, FailureReason.LOST, "its node was lost", text, lost_node=True)
        if "creation task" not in text:
            return Ending(TrialState.FAILED, FailureReason.LOST, "its process died", text)
        if DIED_AT_START in text:
            return Ending(TrialState.FAILED, FailureReason.LOST, DIED_AT_START, text)
        cause = [line.strip() for line in text.splitlines() if line.strip()][-1]
        return Ending(TrialState.FAILED, FailureReason.ERROR, f"its process could not start: {cause[:250]}", text)
    return failure(getattr(exception, "cause", None) or exception)
