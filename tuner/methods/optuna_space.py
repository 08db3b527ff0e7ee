"""Asks Optuna for configurations, define-by-run: each parameter after those it depends on."""

import random
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.methods.optuna_compat import ask_value
from tuner.spec.domains import Choice, Constant, Float, Int, as_primitive
from tuner.spec.space import SearchSpace


def suggest(space: SearchSpace, trial: optuna.Trial) -> dict[str, Any]:
    """A whole configuration; conditional parameters that do not apply are absent."""
    params: dict[str, Any] = {}
    for parameter in space.parameters:
        if not space.is_active(parameter, params):
            continue
        domain = parameter.domain
        if isinstance(domain, Constant):
            params[parameter.name] = domain.value
            continue
        with warnings.catch_warnings():
            # The distribution may round a value of a known good configuration to a step.
            warnings.simplefilter("ignore", UserWarning)
            value = ask_value(trial, parameter.name, distribution(domain))
        params[parameter.name] = from_optuna(domain, value)
    return params


def distribution(domain: Float | Int | Choice) -> BaseDistribution:
    """The domain as one of Optuna's distributions, which have no steps on a log scale."""
    if isinstance(domain, Float):
        step = None if domain.log else domain.step
        return FloatDistribution(domain.low, domain.high, log=domain.log, step=step)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=1 if domain.log else domain.step)
    return CategoricalDistribution([to_optuna(domain, value) for value in domain.values])


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The distributions of all parameters but the constants, whether they always apply or not."""
    return {
        parameter.name: distribution(parameter.domain)
        for parameter in space.parameters
        if not isinstance(parameter.domain, Constant)
    }


def to_optuna(domain: Float | Int | Choice, value: Any) -> CategoricalChoiceType:
    """A value as Optuna stores it: lists and mappings as their JSON."""
    return float(value) if isinstance(domain, Float) else as_primitive(value)


def stored(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as Optuna stores it, without the constants."""
    domains = {parameter.name: parameter.domain for parameter in space.parameters}
    return {
        name: to_optuna(domain, value)
        for name, value in params.items()
        if not isinstance(domain := domains[name], Constant)
    }


def applicable(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """From a value for every parameter, as Optuna stores them, keep those that apply."""
    return stored(space, restored(space, params))


def restored(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration that Optuna stores as `params`, without parameters that do not apply."""
    domains = {parameter.name: parameter.domain for parameter in space.parameters}
    chosen = {
        name: from_optuna(domain, value)
        for name, value in params.items()
        if not isinstance(domain := domains[name], Constant)
    }
    return space.complete(chosen, random.Random(0))


def from_optuna(domain: Float | Int | Choice, value: Any) -> Any:
    """The inverse of `to_optuna`, rounded to the domain's steps; a value that is no longer a choice stays as stored."""
    if not isinstance(domain, Choice):
        return domain.nearest(value)
    return next((choice for choice in domain.values if to_optuna(domain, choice) == value), value)
