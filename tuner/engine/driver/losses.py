"""The ending of a trial whose process failed, rather than its training loop."""

from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError
from ray.exceptions import RayActorError

from tuner.engine.cluster import is_alive
from tuner.engine.driver.ray_trial import RayTrial
from tuner.engine.process.deaths import death_of
from tuner.engine.process.last_words import Death
from tuner.engine.process.report_queue import Ending, failure
from tuner.engine.ray_compat.runtime import node_of
from tuner.engine.ray_compat.sentences import FAILED_AT_START
from tuner.engine.workers.messages import DIED_AT_START
from tuner.records import FailureReason, TrialState


def ending_of(trial: RayTrial, exception: Exception) -> Ending:
    """Derive a trial's ending from a failed call to its process. Blocks for a look at its node."""
    text = str(exception)
    if trial.killed_for:
        return Ending(TrialState.FAILED, FailureReason.TIMEOUT, trial.killed_for, text)
    if trial.is_replaced:
        return Ending(TrialState.FAILED, FailureReason.LOST, "its process was never ready for it", text)
    is_oom = isinstance(exception, RayOutOfMemoryError) or isinstance(exception.__cause__, RayOutOfMemoryError)
    if isinstance(exception, RayActorError) and not is_oom:
        node = node_of(exception.actor_id)
        if exception.preempted or not is_alive(node):
            return Ending(TrialState.FAILED, FailureReason.LOST, "its node was lost", text, lost_node=True)
        if FAILED_AT_START in text:
            return _not_started(text)
        return _died(death_of(exception.actor_id, node), FailureReason.LOST, text)
    if is_oom:
        actor = getattr(exception, "actor_id", None)
        return _died(death_of(actor, node_of(actor)), FailureReason.OOM, text, "killed by Ray since memory ran out")
    return failure(getattr(exception, "cause", None) or exception)


def _not_started(text: str) -> Ending:
    if DIED_AT_START in text:
        return Ending(TrialState.FAILED, FailureReason.LOST, DIED_AT_START, text)
    cause = [line.strip() for line in text.splitlines() if line.strip()][-1]
    return Ending(TrialState.FAILED, FailureReason.ERROR, f"its process could not start: {cause[:250]}", text)


def _died(death: Death, reason: FailureReason, text: str, message: str = "") -> Ending:
    error = "\n\n".join(filter(None, [death.told(), death.printed, text]))
    return Ending(
        TrialState.FAILED,
        reason,
        message or death.told(),
        error,
        ended_itself=death.is_by_itself and not message,
        left=death.reports,
    )
