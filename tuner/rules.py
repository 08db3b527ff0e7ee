"""What the keys of a sweep must be to each other: rules that look at several keys and decide nothing else.

A rule runs only where all the keys that it looks at are right in themselves: no mistake is told twice.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.context import Metric
from tuner.errors import SpecError
from tuner.fields import listed
from tuner.keys import FRONT_METHODS
from tuner.parameters import SearchSpace
from tuner.sections import Budget, Resources


def cross_problems(values: Mapping[str, Any]) -> list[str]:
    """The problems between keys.

    Args:
        values: attributes of a `SweepSpec` by name; those that are wrong in themselves are absent.
    """
    problems: list[str] = []
    for rule in _RULES:
        names = inspect.signature(rule).parameters
        if all(name in values for name in names):
            problems += rule(*(values[name] for name in names))
    return problems


def _whole_gpus(resources: Resources) -> list[str]:
    if resources.gpu <= 1 or resources.gpu == int(resources.gpu):
        return []
    return [f"resources.gpu must be a fraction below 1 or a whole number; got {resources.gpu}: round it up."]


def _gpu_hours_count(budget: Budget, resources: Resources) -> list[str]:
    if budget.gpu_hours is None or resources.gpu:
        return []
    return ["budget.gpu_hours counts nothing while resources.gpu is 0: give budget.hours, or set resources.gpu."]


def _metric_names(metrics: Sequence[Metric]) -> list[str]:
    names = [metric.name for metric in metrics]
    if not names:
        return ["metric must name at least one metric; got an empty list: give {name: ..., goal: ...}."]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"metric names {name} more than once: remove the duplicate." for name in twice]


def _first_metric_leads(metrics: Sequence[Metric]) -> list[str]:
    return [
        f"metric[{index}].{key} has no effect, since it is the first metric's that counts: move it there."
        for index, metric in enumerate(metrics)
        for key, given in (("patience", metric.patience), ("target", metric.target))
        if index and given is not None
    ]


def _front_method(method: str, metrics: Sequence[Metric]) -> list[str]:
    if len(metrics) < 2 or method in FRONT_METHODS:
        return []
    return [f"method {method} takes one metric; got {len(metrics)}: use one of {listed(FRONT_METHODS)}."]


def _one_metric(early_terminate: Mapping[str, Any] | None, metrics: Sequence[Metric]) -> list[str]:
    if early_terminate is None or len(metrics) < 2:
        return []
    return [f"early_terminate needs one metric; got {len(metrics)}: remove it, or all metrics but one."]


def _grid(method: str, parameters: SearchSpace) -> list[str]:
    if method != "grid":
        return parameters.grid_problems()
    try:
        parameters.as_grid()
    except SpecError as error:
        return list(error.problems)
    return []


def _ends(
    method: str, parameters: SearchSpace, run_cap: int | None, budget: Budget, metrics: Sequence[Metric]
) -> list[str]:
    bounds = (run_cap, budget.hours, budget.gpu_hours, *(metric.target for metric in metrics))
    if method == "grid" or parameters.is_finite or any(bound is not None for bound in bounds):
        return []
    return ["the sweep would never end: give run_cap, budget.hours or metric.target."]


def _population(early_terminate: Mapping[str, Any] | None, method: str, parameters: SearchSpace) -> list[str]:
    if early_terminate is None or early_terminate["type"] != "pbt":
        return []
    if method != "grid" and any(parameter.is_sampled for parameter in parameters.parameters):
        return []
    return ["early_terminate.type pbt needs at least one sampled parameter: give one a range or `values`."]


def _start_with(start_with: Sequence[Mapping[str, Any]], parameters: SearchSpace) -> list[str]:
    return [
        f"start_with[{index}].{problem}"
        for index, params in enumerate(start_with)
        for problem in parameters.problems_of(params)
    ]


# The names of a rule's arguments are the keys that it looks at.
_RULES: tuple[Callable[..., list[str]], ...] = (
    _whole_gpus,
    _gpu_hours_count,
    _metric_names,
    _first_metric_leads,
    _front_method,
    _one_metric,
    _grid,
    _ends,
    _population,
    _start_with,
)
