"""Syne Tune's asynchronous successive halving with its searchers, told as its own tuner tells them."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import Domain, choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
from syne_tune.optimizer.schedulers.searchers.multi_fidelity_searcher import IndependentMultiFidelitySearcher

from tuner.methods.optuna_space import distributions, restored
from tuner.metric import Goal
from tuner.simulation.rows import RowSampler
from tuner.simulation.task import Task
from tuner.stopping.table import STEP


class SyneTunePeer:
    """Args:
    searcher: random_search, or the name of one of which each rung then gets its own, independent of the others.
    """

    def __init__(self, task: Task, seed: int, searcher: str, eta: int) -> None:
        self._metric, self._space = task.metrics[0].name, task.space
        space = {name: _domain(distribution) for name, distribution in distributions(task.space).items()}
        seed %= 2**32
        np.random.seed(seed)
        is_random = searcher == "random_search"
        self._scheduler = AsynchronousSuccessiveHalving(
            space,
            metric=self._metric,
            do_minimize=task.metrics[0].goal is Goal.MINIMIZE,
            searcher=searcher if is_random else IndependentMultiFidelitySearcher(space, searcher, random_seed=seed),
            time_attr=STEP,
            max_t=task.max_step,
            grace_period=1,
            reduction_factor=eta,
            random_seed=seed,
        )
        # A suggestion on a table becomes the nearest row that is left.
        self._rows = None if task.rows is None else RowSampler(RandomSampler(), task.rows, task.space)
        self._trials: dict[int, Trial] = {}
        self._next = 0

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is not None and not self._rows.num_left:
            return None
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        params = told = suggestion.config
        if self._rows is not None:
            row = self._rows.take(params)
            # It knows no conditions: of what does not apply it is told what it has suggested.
            params, told = restored(self._space, row), {**params, **row}
        number, self._next = self._next, self._next + 1
        trial = self._trials[number] = Trial(number, told, datetime.now())
        self._scheduler.on_trial_add(trial)
        return number, params

    def report(self, number: int, step: int, value: float, is_last: bool) -> bool:
        trial = self._trials[number]
        if not math.isfinite(value):
            self._scheduler.on_trial_error(trial)
            del self._trials[number]
            return False
        decision = self._scheduler.on_trial_result(trial, {self._metric: value, STEP: step})
        if decision == SchedulerDecision.CONTINUE and not is_last:
            return True
        self._scheduler.on_trial_remove(trial)
        del self._trials[number]
        return False

    def close(self) -> None: ...


def _domain(distribution: BaseDistribution) -> Domain:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choice(list(choices))
        case FloatDistribution(low=low, high=high, log=is_log):
            return loguniform(low, high) if is_log else uniform(low, high)
        case IntDistribution(low=low, high=high, log=is_log):
            return lograndint(low, high) if is_log else randint(low, high)
    raise TypeError(f"no such distribution: {distribution}")
