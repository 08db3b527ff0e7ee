"""`Best`, what a sweep has found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.records import TrialRecord
from tuner.run_folder.place import Place


@dataclass(frozen=True)
class Best:
    """The best step of a sweep, over the whole curves of all trials: `results.best`.

    Attributes:
        trial: the record of the trial; its `number` is the folder's.
        step: of that trial, from 1.
        value: of the sweep's first metric at that step.
        params: the configuration that the step was trained with.
        metrics: all that was reported at that step.
        checkpoint: its folder, a `Uri` where the run is at one; None where no state was saved at that step.

    Example:
        >>> best = results.best
        >>> best.trial.number, best.step, best.value
        (1, 3, 0.9)
    """

    trial: TrialRecord
    step: int
    value: float
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    checkpoint: Place | None
