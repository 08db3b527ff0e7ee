"""Runs a training loop."""

from collections.abc import Callable
from typing import Any

from tuner.errors import MetricError
from tuner.spec.fields import quoted
from tuner.trial.reported import FOREIGN_LOOPS
from tuner.trial.trial import Trial


def call(train: Callable[[Trial], Any], trial: Trial) -> None:
    """Run a training loop; one that hands its metrics back instead of reporting them is told how it is done."""
    returned = train(trial)
    if returned is not None and not trial.has_reported:
        told = f"the trainable returned {quoted(returned)} and has reported nothing: it is to call trial.report"
        raise MetricError(f"{told}. {FOREIGN_LOOPS}")
