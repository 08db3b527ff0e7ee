"""A trial's states, reports and record: plain values that every layer uses.

Does not depend on Ray, Optuna or files.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.metric import Goal


class TrialState(enum.Enum):
    """The state of a trial in the study, the terminal and a sweep's records.

    A PENDING trial waits to start, a RUNNING one trains, a PREEMPTED one lost its node and has not reported since. The
    others are final. The states of Optuna, Ray Tune and TensorBoard follow from this one, never the other way round.
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"
    PREEMPTED = "preempted"

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    def can_become(self, state: "TrialState") -> bool:
        """Whether a trial in this state may change to another; a running one becomes PENDING when its driver ends."""
        return state in _NEXT.get(self, ())


_FINAL = frozenset({TrialState.COMPLETED, TrialState.PRUNED, TrialState.FAILED, TrialState.STOPPED})
_NEXT = {
    TrialState.PENDING: {TrialState.RUNNING},
    TrialState.RUNNING: {TrialState.RUNNING, TrialState.PREEMPTED, TrialState.PENDING, *_FINAL},
    TrialState.PREEMPTED: {TrialState.RUNNING, TrialState.PREEMPTED, TrialState.PENDING, *_FINAL},
}


class FailureReason(enum.Enum):
    """Why a trial is FAILED."""

    ERROR = "error"
    NAN = "nan"
    OOM = "oom"
    TIMEOUT = "timeout"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a trial.

    Attributes:
        step: 1-based and increasing within a trial.
        metrics: values by name, as reported; may hold NaN or infinity.
        time_s: seconds the trial has been training, restored time included.
        timestamp: seconds since the epoch.
        has_checkpoint: whether a checkpoint of this step was written.
        digest: of that checkpoint's files; distinguishes them from another attempt's files of the same step.
        note: a message to the user about this report, if any; not kept.
        advice: a message to the user about the training loop's code, shown once in a sweep; not kept.
    """

    step: int
    metrics: Mapping[str, float]
    time_s: float
    timestamp: float
    has_checkpoint: bool = False
    digest: str = ""
    note: str = ""
    advice: str = ""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study records it.

    Attributes:
        number: 0-based, in the order of asking.
        params: the configuration; the last one, if a rule changed it during training.
        changes: (step, configuration after that step), beginning with the first one at step 0; empty if nothing
            changed.
        curve: the first metric by step.
        values: the final values, one for each metric; empty before the end.
        message: one line about how it ended, if there is something to say.
        duration_s: time spent in its training loop.
        gpu_s: the same multiplied by the number of GPUs it held.
        ended_at_s: wall time of the sweep at its end.
    """

    number: int
    state: TrialState
    params: Mapping[str, Any]
    curve: Mapping[int, float] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    changes: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    reason: FailureReason | None = None
    message: str = ""
    duration_s: float = 0.0
    gpu_s: float = 0.0
    ended_at_s: float = 0.0

    def params_at(self, step: int) -> Mapping[str, Any]:
        """The configuration used to train a step."""
        return next((params for after, params in reversed(self.changes) if after < step), self.params)

    def best_step(self, goal: Goal) -> int | None:
        """The step of the curve's best value (the earliest of equals), or None without a finite value."""
        best = best_of([(self.number, self.curve)], goal)
        return best.step if best else None


@dataclass(frozen=True)
class BestStep:
    """The best step of any trial, however that trial ended.

    Attributes:
        number: the trial's.
        value: the first metric at that step.
    """

    number: int
    step: int
    value: float

    def rank(self, goal: Goal) -> tuple[tuple[bool, float], int, int]:
        """A sort key: the best first; of equals, the first trial's."""
        return goal.rank(self.value), self.number, self.step


def best_of(curves: Iterable[tuple[int, Mapping[int, float]]], goal: Goal) -> BestStep | None:
    """The best step of trials, given as numbers and curves; None without a finite value."""
    found = (BestStep(number, step, curve[step]) for number, curve in curves for step in curve)
    finite = (best for best in found if math.isfinite(best.value))
    return min(finite, key=lambda best: best.rank(goal), default=None)
