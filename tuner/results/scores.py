"""What a trainable's `evaluate` tells of the test data: scores, and perhaps a report. Knows nothing of sweeps."""

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
    """Scores by name, null where one is no finite number; and the report, empty where there is none."""

    scores: dict[str, float | None]
    report: dict[str, Any]


def find_evaluate(train: Callable[..., Any]) -> Evaluate | None:
    """The function `evaluate(params, state, device)` of the trainable's module."""
    found: Evaluate | None = getattr(inspect.getmodule(train), "evaluate", None)
    return found


def score(evaluate: Evaluate, params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device) -> Scored:
    """Call it. Raises TypeError where what it returns is no mapping of numbers."""
    found = dict(evaluate(params, state, device))
    report = found.pop(REPORT, {})
    return Scored({name: finite(value) for name, value in found.items()}, _plain(report))


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Keep a report as `report.json`, and what it has for people, its `text`, as `report.txt`."""
    if report:
        shown = {name: value for name, value in report.items() if name != "text"}
        write_atomic(folder / "report.json", json.dumps(shown, indent=2) + "\n")
    if "text" in report:
        write_atomic(folder / "report.txt", str(report["text"]))


def _plain(value: Any) -> Any:
    """Null for what JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
