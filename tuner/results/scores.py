"""The result of a trainable's `evaluate` on the test data: scores, and perhaps a report."""

import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tuner.run_folder.trial_files import finite, write_atomic

REPORT = "report"

Evaluate = Callable[..., Mapping[str, Any]]


class Scored(NamedTuple):
    """Scores by name, None if not finite; and the report, empty if there is none."""

    scores: dict[str, float | None]
    report: dict[str, Any]


def find_evaluate(train: Callable[..., Any]) -> Evaluate | None:
    """Find the function `evaluate(params, state, device)` of the trainable's module."""
    found: Evaluate | None = getattr(inspect.getmodule(train), "evaluate", None)
    return found


def score(evaluate: Evaluate, params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device) -> Scored:
    """Call `evaluate`. Raises TypeError if it does not return a mapping of numbers."""
    found = dict(evaluate(params, state, device))
    report = found.pop(REPORT, {})
    return Scored({name: finite(value) for name, value in found.items()}, _plain(report))


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write a report to `report.json`, and its `text`, which is for people, to `report.txt`."""
    if report:
        shown = {name: value for name, value in report.items() if name != "text"}
        write_atomic(folder / "report.json", json.dumps(shown, indent=2) + "\n")
    if "text" in report:
        write_atomic(folder / "report.txt", str(report["text"]))


def _plain(value: Any) -> Any:
    """Replace values that JSON can't express by null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
