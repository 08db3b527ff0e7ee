"""`SweepSpec`, the checked description of a sweep, from a file or a mapping and back.

All mistakes of a description are told at once. Knows nothing of how a sweep is run.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tuner.context import Metric, Patience
from tuner.errors import SpecError
from tuner.fields import Field, present, read, shown
from tuner.keys import (
    BUDGET,
    CHECKPOINTS,
    EARLY_TERMINATE,
    FAILURES,
    METHODS,
    METRIC,
    RESOURCES,
    RULE_TYPE,
    SCALARS,
    SWEEP,
)
from tuner.parameters import SearchSpace
from tuner.rules import cross_problems
from tuner.schema import json_schema
from tuner.sections import Budget, Checkpoints, Failures, Resources
from tuner.trainable import import_trainable
from tuner.trial import Goal

__all__ = [
    "EARLY_TERMINATE",
    "METHODS",
    "Budget",
    "Checkpoints",
    "Failures",
    "Resources",
    "SweepSpec",
    "import_trainable",
    "json_schema",
]


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A sweep, whole and checked when built; raises `SpecError` with all problems at once.

    Attributes:
        trainable: "module:function"; it is not imported here.
        early_terminate: the file's mapping with its defaults filled in.
        seed: None where the sweep is to pick one.
        stall_timeout: seconds without a report; None where the sweep is to decide.
    """

    trainable: str
    metrics: tuple[Metric, ...]
    parameters: SearchSpace
    name: str = "sweep"
    method: str = "bayes"
    early_terminate: dict[str, Any] | None = None
    run_cap: int | None = None
    parallel: int | Literal["auto"] = "auto"
    budget: Budget = field(default_factory=Budget)
    resources: Resources = field(default_factory=Resources)
    seed: int | None = None
    start_with: tuple[dict[str, Any], ...] = ()
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    failures: Failures = field(default_factory=Failures)
    stall_timeout: float | None = None

    def __post_init__(self) -> None:
        values = present(vars(self))
        _, problems = read("", {key: values[key] for key in SCALARS if key in values}, SCALARS)
        filled, found = _read_early_terminate(self.early_terminate)
        object.__setattr__(self, "early_terminate", filled)
        problems = problems + found or cross_problems(vars(self))
        if problems:
            raise SpecError(problems)

    @classmethod
    def from_dict(cls, data: Any, *, name_default: str = "sweep") -> "SweepSpec":
        """The sweep that the mapping of a sweep file describes."""
        values, problems = read("", data, SWEEP)
        for key, reader in _READERS.items():
            if key in values:
                value, found = reader(values.pop(key))
                problems += found
                if not found:
                    values[_ATTRIBUTES.get(key, key)] = value
        if values.get("name", "") is None:
            values["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", name_default) or "sweep"
        if isinstance(data, Mapping):
            problems += cross_problems(values)
        if problems:
            raise SpecError(problems)
        return cls(**values)

    @classmethod
    def from_yaml(cls, path: Path | str) -> "SweepSpec":
        """The sweep that a file in YAML 1.2 describes; it is named as the file where it gives no name."""
        path = Path(path)
        return cls.from_dict(_load_yaml(path), name_default=path.stem)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads back as an equal sweep; what is not given is left out."""
        metrics = [_metric_to_dict(metric) for metric in self.metrics]
        data = {
            **vars(self),
            "metric": metrics[0] if len(metrics) == 1 else metrics,
            "parameters": self.parameters.to_dict(),
            "start_with": [dict(params) for params in self.start_with],
            **{key: present(asdict(getattr(self, key))) for key in _SECTION_TYPES},
        }
        return {key: data[key] for key in SWEEP if data[key] is not None and data[key] not in ({}, [])}


def _read_metrics(node: Any) -> tuple[tuple[Metric, ...], list[str]]:
    if not isinstance(node, list | tuple):
        metric, problems = _read_metric("metric", node)
        return (metric,) if metric else (), problems
    read_ones = [_read_metric(f"metric[{index}]", one) for index, one in enumerate(node)]
    problems = [problem for _, found in read_ones for problem in found]
    return tuple(metric for metric, _ in read_ones if metric), problems


def _read_metric(where: str, node: Any) -> tuple[Metric | None, list[str]]:
    values, problems = read(where, node, METRIC)
    patience, min_delta = values.get("patience"), values.get("min_delta")
    if min_delta is not None and "patience" in values and patience is None:
        problems.append(f"{where}.min_delta belongs to patience, which is missing: add patience, or remove min_delta.")
    if problems:
        return None, problems
    steps = None if patience is None else Patience(patience, min_delta or 0.0)
    return Metric(values["name"], Goal(values["goal"]), values["target"], steps), []


def _metric_to_dict(metric: Metric) -> dict[str, Any]:
    node = {"name": metric.name, "goal": metric.goal.value, "target": metric.target}
    if metric.patience:
        node |= {"patience": metric.patience.steps, "min_delta": metric.patience.min_delta}
    return present(node)


def _read_parameters(node: Any) -> tuple[SearchSpace | None, list[str]]:
    try:
        return SearchSpace.from_dict(node), []
    except SpecError as error:
        return None, list(error.problems)


def _read_early_terminate(node: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, list[str]]:
    where = "early_terminate"
    if node is None:
        return None, []
    kind = node.get("type")
    table = EARLY_TERMINATE.get(kind, {}) if isinstance(kind, str) else {}
    if not table:
        # Without its type nothing can be said of the other keys.
        return None, read(where, {key: node[key] for key in node if key == "type"}, {"type": RULE_TYPE})[1]
    values, problems = read(where, node, {"type": RULE_TYPE, **table})
    first, last = values.get("min_iter"), values.get("max_iter")
    if first is not None and last is not None and last < first:
        problems.append(f"{where}.max_iter {last} is below min_iter {first}: raise max_iter, or lower min_iter.")
    return present(values), problems


def _read_start_with(node: Any) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    problems = [
        f"start_with[{index}] must be a mapping from parameters to values; got {shown(params)}."
        for index, params in enumerate(node)
        if not isinstance(params, Mapping)
    ]
    return () if problems else tuple(dict(params) for params in node), problems


def _section_reader(key: str, kind: type, table: Mapping[str, Field]) -> Callable[[Any], tuple[Any, list[str]]]:
    def reader(node: Any) -> tuple[Any, list[str]]:
        values, problems = read(key, node, table)
        return None if problems else kind(**values), problems

    return reader


_SECTION_TYPES = {
    "budget": (Budget, BUDGET),
    "resources": (Resources, RESOURCES),
    "checkpoints": (Checkpoints, CHECKPOINTS),
    "failures": (Failures, FAILURES),
}
_READERS: dict[str, Callable[[Any], tuple[Any, list[str]]]] = {
    "metric": _read_metrics,
    "parameters": _read_parameters,
    "early_terminate": _read_early_terminate,
    "start_with": _read_start_with,
    **{key: _section_reader(key, kind, table) for key, (kind, table) in _SECTION_TYPES.items()},
}
# Where an attribute has another name than its key.
_ATTRIBUTES = {"metric": "metrics"}


def _load_yaml(path: Path) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"{path}: there is no such file; give the path of a sweep file."
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{path}: the file can't be read as UTF-8 text: {error}."
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = str(error.problem or error.context).splitlines()[0]
        problem = f"{path}{place}: this is not valid YAML: {reason}."
    except YAMLError as error:
        problem = f"{path}: this is not valid YAML: {str(error).splitlines()[0]}."
    raise SpecError([problem])
