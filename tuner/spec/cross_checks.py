"""Rules between several keys of a sweep file.

A rule looks at leaves: single keys whose own values are valid. It runs only if all of its leaves are, so that no
mistake is reported twice or because of another one.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.errors import SpecError
from tuner.spec.fields import listed
from tuner.spec.keys import FRONT_METHODS
from tuner.spec.space import SpaceDraft


def cross_problems(leaves: Mapping[str, Any]) -> list[str]:
    """Report the problems between keys.

    Args:
        leaves: valid values by key, as `run_cap` or `budget_hours`. `parameters` is a
            `SpaceDraft`, `is_grid` tells method grid, `metrics` holds a mapping for each metric and `metric_target`
            their targets.
    """
    problems: list[str] = []
    for rule in _RULES:
        names = inspect.signature(rule).parameters
        if all(name in leaves for name in names):
            problems += rule(*(leaves[name] for name in names))
    return problems


def _whole_gpus(resources_gpu: float | str) -> list[str]:
    if isinstance(resources_gpu, str) or resources_gpu <= 1 or resources_gpu == int(resources_gpu):
        return []
    return [f"resources.gpu must be a fraction below 1 or a whole number; got {resources_gpu}: round it up."]


def _measured_alone(resources_gpu: float | str, resources_workers: int) -> list[str]:
    if resources_gpu != "auto" or resources_workers == 1:
        return []
    return [
        f"resources.gpu auto is for trials of one worker; got workers {resources_workers}: "
        "give the GPUs of each worker, such as gpu: 1."
    ]


def _gpu_hours_count(budget_gpu_hours: float | None, resources_gpu: float | str) -> list[str]:
    if budget_gpu_hours is None or resources_gpu:
        return []
    return ["budget.gpu_hours counts nothing while resources.gpu is 0: give budget.hours, or set resources.gpu."]


def _metric_names(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    if not metrics:
        return ["metric must name at least one metric; got an empty list: give {name: ..., goal: ...}."]
    names = [metric["name"] for metric in metrics if "name" in metric]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"metric names {name} more than once: remove the duplicate." for name in twice]


def _first_metric_leads(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"metric[{index}].{key} has no effect, since only the first metric's counts: move it there."
        for index, metric in enumerate(metrics)
        for key in ("patience", "target")
        if index and metric.get(key) is not None
    ]


def _front_method(method: str, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(metrics) < 2 or method in FRONT_METHODS:
        return []
    return [f"method {method} takes one metric; got {len(metrics)}: use one of {listed(FRONT_METHODS)}."]


def _one_metric(early_terminate: Mapping[str, Any] | None, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    # If its type is wrong, nothing more can be checked.
    if early_terminate is None or len(metrics) < 2 or early_terminate.get("type") in (None, "auto"):
        return []
    return [
        f"early_terminate {early_terminate['type']} takes one metric; got {len(metrics)}: "
        "use type auto, or remove all metrics but one."
    ]


def _grid(is_grid: bool, parameters: SpaceDraft) -> list[str]:
    if not is_grid:
        return parameters.hanging_grids()
    try:
        parameters.space.as_grid()
    except SpecError as error:
        return list(error.problems)
    return []


def _ends(
    is_grid: bool,
    parameters: SpaceDraft,
    run_cap: int | None,
    budget_hours: float | None,
    budget_gpu_hours: float | None,
    metric_target: Sequence[float | None],
) -> list[str]:
    bounds = (run_cap, budget_hours, budget_gpu_hours, *metric_target)
    if is_grid or not parameters.is_sampled or any(bound is not None for bound in bounds):
        return []
    return ["the sweep would never end: give run_cap, budget.hours or metric.target."]


def _population(early_terminate: Mapping[str, Any] | None, is_grid: bool, parameters: SpaceDraft) -> list[str]:
    if early_terminate is None or early_terminate.get("type") != "pbt":
        return []
    if not is_grid and parameters.is_sampled is not False:
        return []
    return ["early_terminate.type pbt needs at least one sampled parameter: give one a range or `values`."]


def _start_with(start_with: Sequence[Mapping[str, Any] | None], parameters: SpaceDraft) -> list[str]:
    return [
        f"start_with[{index}].{problem}"
        for index, params in enumerate(start_with)
        if params is not None
        for problem in parameters.problems_of(params)
    ]


# A rule's argument names are the keys it looks at.
_RULES: tuple[Callable[..., list[str]], ...] = (
    _whole_gpus,
    _measured_alone,
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
