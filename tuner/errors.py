"""The exceptions of this package. Each is a `TunerError` and the builtin that a caller would expect.

`StopTrial` and its subclasses are not errors: they end a training loop.

Example:
    >>> try:
    ...     tuner.Sweep("mytask:train", parameters={"lr": {"min": 1, "max": 0}}, metric={"name": "loss"})
    ... except tuner.errors.SpecError as error:
    ...     len(error.problems)
    2
    >>> issubclass(tuner.errors.SpecError, tuner.errors.TunerError)
    True
"""

from collections.abc import Sequence


class TunerError(Exception):
    """What all errors of this package are, beside a builtin: `except tuner.errors.TunerError` takes any of them.

    Example:
        >>> try:
        ...     tuner.Results.read("runs/none")
        ... except tuner.errors.TunerError as error:
        ...     type(error).__name__
        'StudyNotFoundError'
    """


class SpecError(TunerError, ValueError):
    """A sweep description with mistakes in it. `problems` holds all of them, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class MetricError(TunerError, ValueError):
    """A report that can't be used: its metric is missing, or a value is not a number."""


class MissingMetricError(MetricError):
    """A report without the sweep's metric: no trial of the sweep can do better."""


class StepError(TunerError, ValueError):
    """A report whose step does not follow the one before it."""


class CheckpointError(TunerError, ValueError):
    """A state that can't be saved so that `torch.load(..., weights_only=True)` reads it back."""


class StorageError(TunerError, OSError):
    """A run folder or a study's database that can't be written for now: full, read-only, or gone."""


class NodeStorageError(StorageError):
    """Local files of this machine that can't be written; the run folder may be elsewhere."""


class ResourceError(TunerError, RuntimeError):
    """A sweep that asks for more than the cluster has."""


class StudyLockedError(TunerError, RuntimeError):
    """Another process is running the same sweep."""


class StudyNotFoundError(TunerError, FileNotFoundError):
    """A folder that holds no sweep."""


class OccupiedError(TunerError, RuntimeError):
    """A place that holds files of something else, which are left as they are."""


class ExportError(TunerError, RuntimeError):
    """A model that can't be exported, or whose exported form gives other outputs."""


class SimulationError(TunerError, ValueError):
    """A sweep that recorded too little to simulate searches on."""


class ControlError(TunerError, RuntimeError):
    """A sweep that can't do what was asked now: it is not running, or it is ending already."""


class ClusterError(TunerError, ConnectionError):
    """A Ray cluster, or a job on it, that can't be reached or used."""


class ObjectStoreError(TunerError, OSError):
    """A URI that can't be read or written, now or at all."""


class NoReaderError(TunerError, BrokenPipeError):
    """Nobody reads the output any more: `tuner show | head`, or a closed terminal."""


class StopTrial(BaseException):
    """Raised by `Trial.report` to unwind a training loop that is to end at this step.

    Derives from `BaseException`, so that an `except Exception` in a training loop does not swallow it;
    `finally` blocks and context managers run as usual.
    """


class NotFinite(StopTrial):
    """The metric is NaN or infinite: the trial ends as FAILED(nan)."""


class Plateau(StopTrial):
    """The metric's patience ran out: the trial ends as COMPLETED."""


REFUSALS = (
    SpecError,
    ResourceError,
    StudyLockedError,
    StudyNotFoundError,
    ControlError,
    ClusterError,
    ObjectStoreError,
    OccupiedError,
    SimulationError,
)
"""Mistakes that the user must fix before anything can run: a command exits with 2."""
