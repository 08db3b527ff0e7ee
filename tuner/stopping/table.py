"""The table of early stopping rules: a name -> one of Ray Tune's schedulers, and when to ask it.

May import `ray.tune.schedulers` and nothing else of Ray.
"""

import copy
import functools
import math
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
    TrialScheduler,
)

from tuner.engine.ray_compat.schedulers import full_length, metric_of, time_attribute
from tuner.errors import SpecError
from tuner.metric import Goal, Metric
from tuner.records import Report
from tuner.spec.domains import Choice, Float, Int
from tuner.spec.space import SearchSpace
from tuner.stopping.asking import Asking
from tuner.stopping.auto import RecentHalving
from tuner.stopping.names import metric_key

# The name of a report's step for Ray Tune's schedulers.
STEP = "training_iteration"
# The name of the seconds in training.
TIME = "time_total_s"


@dataclass(frozen=True)
class Stopping:
    """A scheduler and how to use it.

    Attributes:
        max_iter: the step at which a trial has run its full length; a stop there is not early.
    """

    scheduler: TrialScheduler
    asking: Asking
    max_iter: int | None = None

    def watch(self, reports: Sequence[Report]) -> None:
        """Show it the reports of all steps, before it is asked about some of them."""
        if isinstance(self.scheduler, RecentHalving):
            self.scheduler.watch(max((report.step for report in reports), default=0))

    def consult(self, may_continue: Callable[[int], bool]) -> None:
        """Call `may_continue` with a trial's number before stopping it; the trial continues if it returns True."""
        if isinstance(self.scheduler, RecentHalving):
            self.scheduler.may_continue = lambda trial_id: may_continue(int(trial_id))


def make_stopping(
    rule: Mapping[str, Any] | TrialScheduler | None,
    metrics: Sequence[Metric],
    space: SearchSpace,
    run_cap: int | None = None,
) -> Stopping:
    """Make the rule that a sweep file names, or wrap any scheduler instance of Ray Tune.

    Only `auto` looks at several metrics; a sweep with several takes no other rule.

    Args:
        run_cap: the maximum number of trials, if known.
    """
    if rule is None:
        return Stopping(FIFOScheduler(), Asking())
    if isinstance(rule, TrialScheduler):
        _check_instance(rule, metrics[0])
        # It remembers trials: reports of an earlier attempt or run must not count twice.
        scheduler = _repeatable(copy.deepcopy(rule))
        scheduler.set_search_properties(*_metric_and_mode(metrics).values())
        # When it decides is unknown: it is asked each time, and the trial waits, as in Ray Tune.
        return Stopping(scheduler, Asking(every=1), full_length(scheduler))
    stopping = RULES[rule["type"]](rule, metrics, space)
    if isinstance(stopping.scheduler, RecentHalving):
        of_space = [len(space.grid_cells())] if space.is_finite else []
        stopping.scheduler.run_cap = min([*([run_cap] if run_cap else []), *of_space], default=None)
    return stopping


def _check_instance(scheduler: TrialScheduler, metric: Metric) -> None:
    """Raise `SpecError` for a time attribute or metric that the scheduler would never see."""
    name = type(scheduler).__name__
    problems = []
    if isinstance(scheduler, ResourceChangingScheduler):
        problems.append(
            f"early_terminate: {name} changes a running trial's resources, but processes here outlive their trials: "
            "pass its base_scheduler, and set `resources`."
        )
    time_attr = time_attribute(scheduler, STEP)
    if time_attr not in (STEP, TIME):
        problems.append(f"early_terminate: {name}'s time_attr is {time_attr!r}; use {STEP!r}, our step, or {TIME!r}.")
    watched = metric_of(scheduler)
    if watched == metric.name != metric_key(metric.name):
        problems.append(
            f"early_terminate: {name} watches {watched!r}, which Ray Tune uses itself; leave it out, it gets ours."
        )
    elif watched not in (None, metric_key(metric.name)):
        problems.append(f"early_terminate: {name} watches {watched!r}, the sweep {metric.name!r}; leave it out.")
    if problems:
        raise SpecError(problems)


def _repeatable(scheduler: TrialScheduler) -> TrialScheduler:
    """Let a trial's id decide its bracket, which Ray Tune draws, so that a resumed trial gets the same one."""
    if not isinstance(scheduler, AsyncHyperBandScheduler):
        return scheduler
    add = scheduler.on_trial_add

    def on_trial_add(tune_controller: Any, trial: Any) -> None:
        state = np.random.get_state()
        np.random.seed(zlib.crc32(trial.trial_id.encode()))
        try:
            add(tune_controller, trial)
        finally:
            np.random.set_state(state)

    scheduler.on_trial_add = on_trial_add
    return scheduler


def _asha(rule: Mapping[str, Any], metrics: Sequence[Metric], space: SearchSpace) -> Stopping:
    return _successive_halving(rule, metrics, brackets=1)


def _hyperband(rule: Mapping[str, Any], metrics: Sequence[Metric], space: SearchSpace) -> Stopping:
    # W&B's hyperband never pauses a trial: asynchronous successive halving over `s` brackets.
    return _successive_halving(rule, metrics, brackets=rule.get("s") or 3)


def _successive_halving(rule: Mapping[str, Any], metrics: Sequence[Metric], brackets: int) -> Stopping:
    max_iter, eta, first = rule.get("max_iter") or 10**9, rule["eta"], rule["min_iter"]
    brackets = min(brackets, _num_rungs(first, max_iter, eta))
    rungs = {first * eta**k for k in range(_num_rungs(first, max_iter, eta))}
    scheduler = AsyncHyperBandScheduler(
        time_attr=STEP,
        grace_period=first,
        max_t=max_iter,
        reduction_factor=eta,
        brackets=brackets,
        **_metric_and_mode(metrics),
    )
    # A rung between two steps is met at the step after it.
    steps = frozenset(-int(-rung // 1) for rung in rungs)
    return Stopping(_repeatable(scheduler), Asking(steps, last=max_iter), rule.get("max_iter"))


def _recent(rule: Mapping[str, Any], metrics: Sequence[Metric], space: SearchSpace) -> Stopping:
    max_iter, eta, first = rule.get("max_iter") or 10**9, rule["eta"], rule["min_iter"]
    steps = [-int(-first * eta**k // 1) for k in range(_num_rungs(first, max_iter, eta))]
    scheduler = RecentHalving(metrics, time_attr=STEP, steps=steps, eta=eta, max_iter=rule.get("max_iter"))
    return Stopping(scheduler, Asking(frozenset(steps), last=max_iter), rule.get("max_iter"))


def _num_rungs(first: int, max_iter: int, eta: float) -> int:
    count, rung = 0, float(first)
    while rung <= max_iter:
        count, rung = count + 1, rung * eta
    return count


def _median(rule: Mapping[str, Any], metrics: Sequence[Metric], space: SearchSpace) -> Stopping:
    scheduler = MedianStoppingRule(
        time_attr=STEP,
        grace_period=rule["min_iter"],
        min_samples_required=rule["min_samples"],
        # With too few trials to compare, it would pause a trial while another waits, and the trial may not have saved.
        min_time_slice=math.inf,
        **_metric_and_mode(metrics),
    )
    return Stopping(scheduler, Asking(every=1, waits=False))


def _pbt(rule: Mapping[str, Any], metrics: Sequence[Metric], space: SearchSpace) -> Stopping:
    scheduler = PopulationBasedTraining(
        time_attr=STEP,
        perturbation_interval=rule["interval"],
        quantile_fraction=rule["quantile"],
        resample_probability=rule["resample"],
        hyperparam_mutations={"params": mutations(space)},
        custom_explore_fn=_within(space),
        log_config=False,
        **_metric_and_mode(metrics),
    )
    return Stopping(scheduler, Asking(every=rule["interval"]), rule.get("max_iter"))


def mutations(space: SearchSpace) -> dict[str, Any]:
    """What population-based training may change: all sampled parameters without conditions or dependents."""
    parents = {name for parameter in space.parameters for name in parameter.when}
    found: dict[str, Any] = {}
    for parameter in space.parameters:
        domain = parameter.domain
        if parameter.when or parameter.name in parents:
            continue
        if isinstance(domain, Choice):
            found[parameter.name] = list(domain.values)
        elif isinstance(domain, Float | Int):
            found[parameter.name] = functools.partial(domain.sample, random.Random())
    return found


def _within(space: SearchSpace) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Clip a configuration to the parameters' bounds, which population-based training ignores."""

    def hold(config: dict[str, Any]) -> dict[str, Any]:
        for parameter in space.parameters:
            domain = parameter.domain
            if isinstance(domain, Float | Int) and parameter.name in config["params"]:
                config["params"][parameter.name] = domain.nearest(config["params"][parameter.name])
        return config

    return hold


def _metric_and_mode(metrics: Sequence[Metric]) -> dict[str, str]:
    metric = metrics[0]
    return {"metric": metric_key(metric.name), "mode": "max" if metric.goal is Goal.MAXIMIZE else "min"}


RULES: dict[str, Callable[[Mapping[str, Any], Sequence[Metric], SearchSpace], Stopping]] = {
    "asha": _asha,
    "auto": _recent,
    "hyperband": _hyperband,
    "median": _median,
    "pbt": _pbt,
}
