"""`SweepSpec`, the checked description of a sweep, from a file or a mapping and back.

All mistakes of a description are reported at once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tuner.errors import SpecError
from tuner.metric import Goal, Metric, Patience
from tuner.spec.cross_checks import cross_problems
from tuner.spec.fields import Field, misspelt_keys, nearest_choice, present, quoted, read, without_numpy
from tuner.spec.keys import (
    BUDGET,
    CHECKPOINTS,
    EARLY_TERMINATE,
    FAILURES,
    MAX_NAME,
    METHODS,
    METRIC,
    NONE,
    RESOURCES,
    RULE_TYPE,
    SCALARS,
    SWEEP,
)
from tuner.spec.sections import Budget, Checkpoints, Failures, Resources
from tuner.spec.space import SearchSpace, SpaceDraft
from tuner.spec.yaml_text import load_yaml

# Stands for a rule that is not given: the default depends on the method.
_LEFT_OUT: dict[str, Any] = {"type": "left out"}


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A sweep, checked when built; raises `SpecError` with all problems at once.

    Attributes:
        trainable: "module:function"; not imported here.
        early_terminate: the file's mapping with its defaults filled in; None if no trial is stopped early.
        seed: None if the sweep picks one.
        stall_timeout: seconds without a report; None if the sweep decides.
        warm: None, like True, runs one trial after another in a process.
    """

    trainable: str
    metrics: tuple[Metric, ...]
    parameters: SearchSpace
    name: str = "sweep"
    method: str = "bayes"
    early_terminate: dict[str, Any] | None = field(default_factory=lambda: dict(_LEFT_OUT))
    run_cap: int | None = None
    parallel: int | Literal["auto"] = "auto"
    budget: Budget = field(default_factory=Budget)
    resources: Resources = field(default_factory=Resources)
    seed: int | None = None
    start_with: tuple[dict[str, Any], ...] = ()
    start_from: tuple[str, ...] = ()
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    failures: Failures = field(default_factory=Failures)
    stall_timeout: float | None = None
    warm: bool | None = None

    def __post_init__(self) -> None:
        given = present(vars(self))
        values, problems = read("", {key: given[key] for key in SCALARS if key in given}, SCALARS)
        given_rule: Any = NONE if self.early_terminate is None else self.early_terminate
        if given_rule == _LEFT_OUT:
            is_search = any(parameter.is_sampled for parameter in self.parameters.parameters)
            # It learns from stopped trials.
            given_rule = "auto" if is_search and self.method == "bayes" else NONE
        rule, start_with = _read_early_terminate(given_rule), _read_start_with(self.start_with)
        start_from = _read_start_from(self.start_from)
        object.__setattr__(self, "early_terminate", rule.value)
        leaves = {
            **_leaves_of_scalars(values, vars(self)),
            **_leaves_of_metrics([vars(metric) for metric in self.metrics]),
            "parameters": SpaceDraft.of(self.parameters),
            **rule.leaves,
            **start_with.leaves,
            **{f"{key}_{leaf}": x for key in _SECTION_TYPES for leaf, x in vars(getattr(self, key)).items()},
        }
        problems += [*rule.problems, *start_with.problems, *start_from.problems, *cross_problems(leaves)]
        if problems:
            raise SpecError(problems)

    @classmethod
    def from_dict(cls, data: Any, *, name_default: str = "sweep") -> "SweepSpec":
        """Read the sweep that a sweep file's mapping describes."""
        data = without_numpy(data)
        values, problems = read("", data, SWEEP)
        if not isinstance(data, Mapping):
            raise SpecError(problems)
        leaves = _leaves_of_scalars(values, data)
        misplaced = misspelt_keys(data, SWEEP)
        if "metric" not in {*data, *misplaced}:
            leaves["metric_target"] = []
        if "early_terminate" not in data:
            values.pop("early_terminate", None)  # the method's default
        for key, reader in _READERS.items():
            if key in values:
                found = reader(values.pop(key))
                problems += found.problems
                leaves |= found.leaves
                values[_ATTRIBUTES.get(key, key)] = found.value
        for path in misplaced:
            leaves.pop(path.replace(".", "_"), None)
        if values.get("name", "") is None:
            values["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", name_default)[:MAX_NAME] or "sweep"
        if problems:
            raise SpecError([*problems, *cross_problems(leaves)])
        return cls(**values)  # applies the rules

    @classmethod
    def from_yaml(cls, path: Path | str) -> "SweepSpec":
        """Read the sweep that a YAML 1.2 file describes; without a `name` it gets the file's."""
        path = Path(path)
        return cls.from_dict(load_yaml(path), name_default=path.stem)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` reads back as an equal sweep, without keys that are not given."""
        metrics = [_metric_to_dict(metric) for metric in self.metrics]
        data = {
            **vars(self),
            "metric": metrics[0] if len(metrics) == 1 else metrics,
            "parameters": self.parameters.to_dict(),
            "early_terminate": self.early_terminate or NONE,
            "start_with": [dict(params) for params in self.start_with],
            "start_from": list(self.start_from),
            **{key: present(asdict(getattr(self, key))) for key in _SECTION_TYPES},
        }
        return {key: data[key] for key in SWEEP if data[key] is not None and data[key] not in ({}, [])}


class _Read(NamedTuple):
    """A section: its value (valid only without problems), its problems, and the leaves for the rules."""

    value: Any
    problems: list[str]
    leaves: dict[str, Any]


def _leaves_of_scalars(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    leaves = {key: values[key] for key in SCALARS if key in values}
    if "method" in values:
        return {**leaves, "is_grid": values["method"] == "grid"}
    # Even if the method is misspelt, this can be checked.
    is_other = nearest_choice(given.get("method", ""), METHODS) not in ("", "grid")
    return {**leaves, "is_grid": False} if is_other else leaves


def _read_metrics(node: Any) -> _Read:
    is_list = isinstance(node, list | tuple)
    nodes = list(node) if is_list else [node]
    read_ones = [_read_metric(f"metric[{index}]" if is_list else "metric", one) for index, one in enumerate(nodes)]
    problems = [problem for _, _, found in read_ones for problem in found]
    value = tuple(metric for metric, _, _ in read_ones)
    return _Read(value, problems, _leaves_of_metrics([values for _, values, _ in read_ones]))


def _leaves_of_metrics(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    targets = [metric["target"] for metric in metrics if "target" in metric]
    return {"metrics": metrics} | ({"metric_target": targets} if len(targets) == len(metrics) else {})


def _read_metric(where: str, node: Any) -> tuple[Metric | None, dict[str, Any], list[str]]:
    values, problems = read(where, node, METRIC)
    if not isinstance(node, Mapping):
        values["target"] = None
    patience, min_delta = values.get("patience"), values.get("min_delta")
    if min_delta is not None and "patience" in values and patience is None:
        problems.append(f"{where}.min_delta belongs to patience, which is missing: add patience, or remove min_delta.")
    if problems:
        return None, values, problems
    steps = None if patience is None else Patience(patience, min_delta or 0.0)
    return Metric(values["name"], Goal(values["goal"]), values["target"], steps), values, []


def _metric_to_dict(metric: Metric) -> dict[str, Any]:
    node = {"name": metric.name, "goal": metric.goal.value, "target": metric.target}
    if metric.patience:
        node |= {"patience": metric.patience.steps, "min_delta": metric.patience.min_delta}
    return present(node)


def _read_parameters(node: Any) -> _Read:
    draft, problems = SpaceDraft.read(node)
    # If it names no parameters, nothing can be checked.
    return _Read(draft.space, problems, {"parameters": draft} if isinstance(node, Mapping) and node else {})


def _read_early_terminate(node: Any) -> _Read:
    where = "early_terminate"
    if node == NONE:
        return _Read(None, [], {where: None})
    if node is None or node is False:
        told = f"{where} must be a mapping with type, the name of a rule, or none; got {quoted(node)}: write none."
        return _Read(None, [told], {where: {}})
    if isinstance(node, str):
        if node not in EARLY_TERMINATE:
            return _Read(None, [f"{where} {_no_rule(node)}"], {where: {}})
        node = {"type": node}
    kind = node.get("type") if isinstance(node, Mapping) else None
    table = EARLY_TERMINATE.get(kind, {}) if isinstance(kind, str) else {}
    if not table:
        # Without its type, the other keys can't be checked.
        only_type = {key: node[key] for key in node if key == "type"} if isinstance(node, Mapping) else node
        return _Read(None, read(where, only_type, {"type": RULE_TYPE})[1], {where: {}})
    values, problems = read(where, node, {"type": RULE_TYPE, **table})
    first, last = values.get("min_iter"), values.get("max_iter")
    if first is not None and last is not None and last < first:
        problems.append(f"{where}.max_iter {last} is below min_iter {first}: raise max_iter, or lower min_iter.")
    return _Read(present(values), problems, {where: values})


def _no_rule(text: str) -> str:
    near = nearest_choice(text, (*EARLY_TERMINATE, NONE))
    hint = f"did you mean {near}" if near else "give a mapping with a type for more than its defaults"
    return f"must be one of {', '.join(EARLY_TERMINATE)}, {NONE}, or a mapping; got {text!r}: {hint}."


def _read_start_with(node: Any) -> _Read:
    problems = [
        f"start_with[{index}] must be a mapping from parameters to values; got {quoted(params)}."
        for index, params in enumerate(node)
        if not isinstance(params, Mapping)
    ]
    right = tuple(dict(params) if isinstance(params, Mapping) else None for params in node)
    return _Read(right, problems, {"start_with": right})


def _read_start_from(node: Any) -> _Read:
    problems = [
        f"start_from[{index}] must be a run folder, or the URI of one; got {quoted(place)}."
        for index, place in enumerate(node)
        if not isinstance(place, str) or not place
    ]
    return _Read(tuple(node), problems, {})


def _section_reader(key: str, kind: type, table: Mapping[str, Field]) -> Callable[[Any], _Read]:
    def reader(node: Any) -> _Read:
        values, problems = read(key, node, table)
        leaves = {f"{key}_{leaf}": value for leaf, value in values.items()}
        return _Read(None if problems else kind(**values), problems, leaves)

    return reader


_SECTION_TYPES = {
    "budget": (Budget, BUDGET),
    "resources": (Resources, RESOURCES),
    "checkpoints": (Checkpoints, CHECKPOINTS),
    "failures": (Failures, FAILURES),
}
_READERS: dict[str, Callable[[Any], _Read]] = {
    "metric": _read_metrics,
    "parameters": _read_parameters,
    "early_terminate": _read_early_terminate,
    "start_with": _read_start_with,
    "start_from": _read_start_from,
    **{key: _section_reader(key, kind, table) for key, (kind, table) in _SECTION_TYPES.items()},
}
# Attributes whose name differs from their key's.
_ATTRIBUTES = {"metric": "metrics"}
