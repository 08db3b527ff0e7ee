"""What a trial is to the study and to its readers: its states, its reports, its record.

Plain values that cross layers; knows nothing of Ray, Optuna or files.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.metric import Goal


class TrialState(enum.Enum):
    """The state of a trial, as the study, the terminal and the records of a sweep have it.

    PENDING is asked for and waits, RUNNING trains, PREEMPTED lost its node and has not reported since. The others are
    final. What Optuna, Ray Tune and TensorBoard call a state follows from it, and not the other way round.
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
        """Whether a trial in this state may change to another; a running one becomes PENDING with its driver's end."""
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
        digest: of that checkpoint's files: it tells them from those that another attempt has saved at the same step.
        note: what the user is to be told of it, if anything; not kept.
        advice: what the user is to be told of the training loop's code, once in a sweep; not kept.
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
    """A trial as the study tells it.

    Attributes:
        number: 0-based, in the order of asking.
        params: the configuration; where a rule has changed it on the way, the last one.
        changes: (step, configuration after that step), first the one that was asked for at step 0; empty where
            nothing was changed.
        curve: the first metric by step.
        values: what the study was told at the end, one value for each metric; empty before that.
        message: one line about how it ended, where there is something to say.
        duration_s: time spent in its training loop.
        gpu_s: the same by the GPUs that it held meanwhile.
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
        """The configuration that a step was trained with."""
        return next((params for after, params in reversed(self.changes) if after < step), self.params)

    def best_step(self, goal: Goal) -> int | None:
        """The step of the best value of the curve (the earliest of equals), None without a finite one."""
        best = best_of([(self.number, self.curve)], goal)
        return best.step if best else None


@dataclass(frozen=True)
class BestStep:
    """The best step that any trial has reached, whatever became of the trial later.

    Attributes:
        number: the trial's.
        value: the first metric at that step.
    """

    number: int
    step: int
    value: float

    def rank(self, goal: Goal) -> tuple[tuple[bool, float], int, int]:
        """Sorts the best first; of equals the first trial's first."""
        return goal.rank(self.value), self.number, self.step


def best_of(curves: Iterable[tuple[int, Mapping[int, float]]], goal: Goal) -> BestStep | None:
    """The best step of trials, given as numbers and curves; None without a finite value."""
    found = (BestStep(number, step, curve[step]) for number, curve in curves for step in curve)
    finite = (best for best in found if math.isfinite(best.value))
    return min(finite, key=lambda best: best.rank(goal), default=None)
