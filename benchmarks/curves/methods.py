"""The methods that are compared: ours and the peers', each driving the very objects that a real sweep uses."""

import functools
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.curves.sketches import ForestThompson, HighestRungTPE
from tuner.methods.optuna_space import suggest
from tuner.metric import Goal
from tuner.simulation.rows import RowSampler
from tuner.simulation.simulator import Method
from tuner.simulation.sweep import SimulatedSweep
from tuner.simulation.task import Task
from tuner.stopping.standin import SchedulerTrial
from tuner.stopping.table import STEP

ETA = 3


class RayPeer:
    """Ray Tune's own Optuna searcher with one of its schedulers, told as Ray Tune's controller tells them."""

    def __init__(self, task: Task, seed: int, sampler: BaseSampler, scheduler: TrialScheduler) -> None:
        logging.getLogger("ray.tune.search.optuna.optuna_search").setLevel(logging.ERROR)
        self._names = [metric.name for metric in task.metrics]
        modes = ["max" if metric.goal is Goal.MAXIMIZE else "min" for metric in task.metrics]
        is_one = len(modes) == 1
        self._rows = None if task.rows is None else RowSampler(sampler, task.rows, task.space)
        self._search = OptunaSearch(
            functools.partial(suggest, task.space),
            metric=self._names[0] if is_one else self._names,
            mode=modes[0] if is_one else modes,
            sampler=self._rows or sampler,
        )
        # Which takes one metric.
        self._scheduler = scheduler
        self._scheduler.set_search_properties(self._names[0], modes[0])
        self._trials: dict[int, SchedulerTrial] = {}
        self._next = 0

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is not None and not self._rows.num_left:
            return None
        number, self._next = self._next, self._next + 1
        trial = self._trials[number] = SchedulerTrial(f"{number:05d}")
        params = self._search.suggest(trial.trial_id)
        assert params is not None
        self._scheduler.on_trial_add(None, trial)
        return number, params

    def report(self, number: int, step: int, value: Any, is_last: bool) -> bool:
        trial = self._trials[number]
        values = value if isinstance(value, tuple) else (value,)
        result = {**dict(zip(self._names, values, strict=True)), STEP: step}
        decision = self._scheduler.on_trial_result(None, trial, result)
        if decision != TrialScheduler.STOP:
            self._search.on_trial_result(trial.trial_id, result)
        if is_last or decision == TrialScheduler.STOP:
            self._scheduler.on_trial_complete(None, trial, result)
            self._search.on_trial_complete(trial.trial_id, result)
            del self._trials[number]
            return False
        return True

    def close(self) -> None: ...


class OptunaPeer:
    """Plain Optuna: ask, report, should_prune, tell."""

    def __init__(self, task: Task, seed: int, sampler: BaseSampler, pruner: BasePruner) -> None:
        self._rows = None if task.rows is None else RowSampler(sampler, task.rows, task.space)
        # Optuna's hyperband deals trials to brackets by a hash of the study's name.
        self._study = optuna.create_study(
            study_name=f"curves-{seed}",
            direction=task.metrics[0].goal.value,
            sampler=self._rows or sampler,
            pruner=pruner,
        )
        self._space = task.space
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is not None and not self._rows.num_left:
            return None
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return trial.number, suggest(self._space, trial)

    def report(self, number: int, step: int, value: float, is_last: bool) -> bool:
        trial = self._trials[number]
        trial.report(value, step)
        if is_last:
            self._study.tell(trial, value)
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            return True
        del self._trials[number]
        return False

    def close(self) -> None: ...


def _ours(task: Task, seed: int, method: str, rule: str) -> SimulatedSweep:
    return SimulatedSweep(task, seed, method, {"type": rule, "min_iter": 1, "max_iter": task.max_step, "eta": ETA})


def _syne_tune(task: Task, seed: int, searcher: str) -> Method:
    from benchmarks.curves.synetune import SyneTunePeer  # of the extra `bench`, which tests do without

    return SyneTunePeer(task, seed, searcher, ETA)


def _smac(task: Task, seed: int) -> Method:
    from benchmarks.curves.smac_peer import SmacPeer  # likewise

    return SmacPeer(task, seed, ETA)


def ray_asha(task: Task) -> ASHAScheduler:
    return ASHAScheduler(time_attr=STEP, grace_period=1, max_t=task.max_step, reduction_factor=ETA)


def _hyperband(task: Task) -> HyperbandPruner:
    return HyperbandPruner(min_resource=1, max_resource=task.max_step, reduction_factor=ETA)


METHODS: dict[str, Callable[[Task, int], Method]] = {
    "random + Ray ASHA": lambda task, seed: RayPeer(task, seed, RandomSampler(seed), ray_asha(task)),
    "Syne Tune ASHA": lambda task, seed: _syne_tune(task, seed, "random_search"),
    "Syne Tune ASHA + independent kernel density": lambda task, seed: _syne_tune(task, seed, "kde"),
    "SMAC multi-fidelity": _smac,
    "Ray OptunaSearch + Ray ASHA": lambda task, seed: RayPeer(task, seed, TPESampler(seed=seed), ray_asha(task)),
    "Optuna TPE + SuccessiveHalvingPruner": lambda task, seed: OptunaPeer(
        task, seed, TPESampler(seed=seed), SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
    ),
    "Optuna TPE + HyperbandPruner": lambda task, seed: OptunaPeer(task, seed, TPESampler(seed=seed), _hyperband(task)),
    "Ray OptunaSearch, no early stopping": lambda task, seed: RayPeer(
        task, seed, TPESampler(seed=seed), FIFOScheduler()
    ),
    "random, no early stopping": lambda task, seed: RayPeer(task, seed, RandomSampler(seed), FIFOScheduler()),
    "TPE on the highest rung + Ray ASHA": lambda task, seed: RayPeer(
        task, seed, HighestRungTPE(seed, task.max_step), ray_asha(task)
    ),
    "forest, Thompson sample + Ray ASHA": lambda task, seed: RayPeer(
        task, seed, ForestThompson(seed, task.max_step), ray_asha(task)
    ),
    "tuner tpe + asha": lambda task, seed: _ours(task, seed, "tpe", "asha"),
    "tuner random + auto": lambda task, seed: _ours(task, seed, "random", "auto"),
    "tuner bayes + asha": lambda task, seed: _ours(task, seed, "bayes", "asha"),
    "tuner bayes + auto": lambda task, seed: _ours(task, seed, "bayes", "auto"),
}


def make_method(name: str, task: Task, seed: int) -> Method:
    """Raises ValueError for an unknown name."""
    if name not in METHODS:
        raise ValueError(f"method: {name!r} is not one of {', '.join(METHODS)}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Ray's asynchronous successive halving draws a trial's bracket from numpy's global generator.
    np.random.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return METHODS[name](task, seed)
