"""Reads the arguments of `trial.report`: steps, numbers, and the old order of arguments."""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from tuner.errors import MetricError, MissingMetricError, StepError
from tuner.metric import Metric
from tuner.spec.fields import did_you_mean, quoted

P = ParamSpec("P")
R = TypeVar("R")

FOREIGN_LOOPS = "A loop of `config` that calls ray.train.report runs as it is by `train = tuner.from_ray_train(loop)`."

# TensorBoard has 64 bits for a step.
MAX_STEP = 2**63 - 1

OLD_ORDER = (
    "trial.report(step, metrics) is the old order, which still works: write trial.report(metrics, step=step), "
    "or leave out step= to count reports from 1"
)
_OLD_NAMES = ("step", "metrics", "state", "files")


def understands_old_order(advise: Callable[[Any], None]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a method `report(metrics, *, step, state, files)` also take `report(step, metrics, state, files)`.

    Args:
        advise: called with the method's object if the old order was used.
    """

    def decorate(report: Callable[P, R]) -> Callable[P, R]:
        @wraps(report)
        def understood(*args: P.args, **named: P.kwargs) -> R:
            trial, *given = args
            if len(given) < 2 and not (given and "metrics" in named):
                return report(*args, **named)
            if isinstance(given[0], Mapping) or len(given) > len(_OLD_NAMES):
                raise TypeError(
                    "trial.report takes only the metrics by position: "
                    "trial.report(metrics, step=..., state=..., files=...)"
                )
            old = dict(zip(_OLD_NAMES, given, strict=False))
            if twice := old.keys() & named.keys():
                raise TypeError(f"trial.report: {', '.join(sorted(twice))} is given twice, by position and by name")
            advise(trial)
            return cast(Callable[..., R], report)(trial, **old, **named)

        return understood

    return decorate


def step_after(last: int, given: Any) -> int:
    """The step reported after `last`: the next one if none is given; raises `StepError`."""
    if given is None:
        return last + 1
    step = _whole_number(given)
    if step is not None and last < step <= MAX_STEP:
        return step
    if step == 0 and last == 0:
        raise StepError(
            "trial.report: steps begin at 1; got step=0. Leave out step= and the reports are counted from 1, "
            "or report step=step + 1."
        )
    raise StepError(
        f"trial.report: step must be a whole number above {last}, the step reported last; got {quoted(given)}. "
        "Leave out step= and the reports are counted, after trial.restore() from state.step + 1."
    )


def _whole_number(given: Any) -> int | None:
    if isinstance(given, bool):
        return None
    try:
        return operator.index(given)
    except (TypeError, ValueError, RuntimeError):
        return None


def as_floats(metrics: Mapping[str, Any], wanted: tuple[Metric, ...]) -> dict[str, float]:
    """The reported values as floats; raises `MetricError` if one is not a number, or a wanted metric is missing."""
    if not isinstance(metrics, Mapping):
        raise MetricError(
            f"trial.report: metrics must map names to numbers, such as {{'loss': 0.5}}; got {quoted(metrics)}."
        )
    values: dict[str, float] = {}
    for name, value in metrics.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise MetricError(f"trial.report: the name of a metric must be a text on one line; got {quoted(name)}.")
        number = as_float(value)
        if number is None:
            shape = getattr(value, "shape", None)
            given = f"{type(value).__name__} of shape {tuple(shape)}" if shape is not None else quoted(value)
            raise MetricError(f"trial.report: metric {name!r} must be a number or a one-element tensor; got {given}.")
        values[name] = number
    missing = [metric.name for metric in wanted if metric.name not in values]
    if missing:
        near = did_you_mean(missing[0], values)
        told = ", ".join(map(repr, values)) or "nothing"
        raise MissingMetricError(
            f"trial.report: the sweep's metric {', '.join(map(repr, missing))} is not among the reported ones{near}. "
            "Report it each time; if it is measured only at some steps, report only at those steps. Or change "
            f"`metric` in the sweep file. Reported: {told}."
        )
    return values


def as_float(value: Any) -> float | None:
    """A number, or the one element of a tensor or array; None for anything else."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def folders_of(files: PathLike[str] | str | Sequence[PathLike[str] | str] | None) -> list[Path]:
    """The folders of files that are to be kept with a checkpoint."""
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | PathLike) else [Path(folder) for folder in files]
