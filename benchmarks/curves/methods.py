"""The methods that are compared: ours and the peers', each driving the very objects that a real sweep uses."""

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.curves.rows import RowSampler
from benchmarks.curves.simulator import Method
from benchmarks.curves.tasks import Task
from tuner.methods.suggest import distribution
from tuner.methods.table import make_sampler
from tuner.parameters import Constant
from tuner.stopping.table import STEP, make_stopping
from tuner.study import Study
from tuner.trial import FailureReason, Goal, Report, TrialState

ETA = 3


@dataclass
class SchedulerTrial:
    """As much of a Ray Tune trial as its schedulers look at."""

    trial_id: str
    status: str = "RUNNING"

    def is_finished(self) -> bool:
        return self.status == "TERMINATED"


class Ours:
    """Our study, a method by name, and an early stopping rule by name: told as the engine tells them.

    The study's journal is in memory where the machine has a folder there.
    """

    def __init__(self, task: Task, seed: int, method: str, rule: Mapping[str, Any] | None) -> None:
        self._task, self._seed, self._name = task, seed, method
        self._left = ExitStack()
        in_memory = Path("/dev/shm")
        folder = self._left.enter_context(tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None))
        self._study = Study(Path(folder), "curves", None, [task.metric], task.space, write=True)
        self._left.callback(self._study.close)
        self._rows = None if task.rows is None else _row_sampler(task, RandomSampler())
        self._stopping = make_stopping(rule, task.metric, task.space)
        self._running: dict[int, SchedulerTrial] = {}
        self._best: dict[int, float] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is None:
            asked = self._study.ask(self._name, self._seed)
        elif self._rows.num_left:
            self._rows.inner = make_sampler(self._name, self._seed, self._study.num_trials)
            asked = self._study.ask(self._rows, self._seed)
        else:
            return None
        assert asked is not None
        trial = self._running[asked.number] = SchedulerTrial(f"{asked.number:04d}")
        self._stopping.scheduler.on_trial_add(None, trial)
        return asked.number, asked.params

    def report(self, number: int, step: int, value: float, is_last: bool) -> bool:
        name, trial = self._task.metric.name, self._running[number]
        self._study.report(number, [Report(step, {name: value}, float(step), float(step))])
        result = {name: value, STEP: step}
        if not math.isfinite(value):
            self._stopping.scheduler.on_trial_complete(None, trial, {})
            self._tell(number, TrialState.FAILED, step, FailureReason.NAN)
            return False
        best = self._best.get(number)
        if best is None or self._task.metric.goal.better(value, best):
            self._best[number] = value
        goes_on = not is_last
        if goes_on and self._stopping.asking(step):
            decision = self._stopping.scheduler.on_trial_result(None, trial, result)
            assert decision != TrialScheduler.PAUSE, "a simulated trial can't be paused"
            goes_on = decision == TrialScheduler.CONTINUE
        if not goes_on:
            self._stopping.scheduler.on_trial_complete(None, trial, result)
            self._tell(number, TrialState.COMPLETED if is_last else TrialState.PRUNED, step)
        return goes_on

    def close(self) -> None:
        self._left.close()

    def _tell(self, number: int, state: TrialState, step: int, reason: FailureReason | None = None) -> None:
        values = [self._best[number]] if state is TrialState.COMPLETED else None
        self._study.tell(number, state, values=values, reason=reason, last_step=step)
        del self._running[number]
        self._best.pop(number, None)


class RayPeer:
    """Ray Tune's own Optuna searcher with one of its schedulers, told as Ray Tune's controller tells them."""

    def __init__(self, task: Task, seed: int, sampler: BaseSampler, scheduler: TrialScheduler) -> None:
        logging.getLogger("ray.tune.search.optuna.optuna_search").setLevel(logging.ERROR)
        self._metric = task.metric.name
        mode = "max" if task.metric.goal is Goal.MAXIMIZE else "min"
        self._rows = None if task.rows is None else _row_sampler(task, sampler)
        self._search = OptunaSearch(_distributions(task), metric=self._metric, mode=mode, sampler=self._rows or sampler)
        self._scheduler = scheduler
        self._scheduler.set_search_properties(self._metric, mode)
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

    def report(self, number: int, step: int, value: float, is_last: bool) -> bool:
        trial = self._trials[number]
        result = {self._metric: value, STEP: step}
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
        self._rows = None if task.rows is None else _row_sampler(task, sampler)
        # Optuna's hyperband deals trials to brackets by a hash of the study's name.
        self._study = optuna.create_study(
            study_name=f"curves-{seed}",
            direction=task.metric.goal.value,
            sampler=self._rows or sampler,
            pruner=pruner,
        )
        self._space = _distributions(task)
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is not None and not self._rows.num_left:
            return None
        trial = self._study.ask(self._space)
        self._trials[trial.number] = trial
        return trial.number, trial.params

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


def _distributions(task: Task) -> dict[str, BaseDistribution]:
    return {p.name: distribution(p.domain) for p in task.space.parameters if not isinstance(p.domain, Constant)}


def _row_sampler(task: Task, inner: BaseSampler) -> RowSampler:
    assert task.rows is not None
    return RowSampler(inner, task.rows, _distributions(task))


def _asha(task: Task) -> ASHAScheduler:
    return ASHAScheduler(time_attr=STEP, grace_period=1, max_t=task.max_step, reduction_factor=ETA)


def _halving(rule: str, task: Task) -> dict[str, Any]:
    return {"type": rule, "min_iter": 1, "max_iter": task.max_step, "eta": ETA}


def _hyperband(task: Task) -> HyperbandPruner:
    return HyperbandPruner(min_resource=1, max_resource=task.max_step, reduction_factor=ETA)


METHODS: dict[str, Callable[[Task, int], Method]] = {
    "random + Ray ASHA": lambda task, seed: RayPeer(task, seed, RandomSampler(seed), _asha(task)),
    "Ray OptunaSearch + Ray ASHA": lambda task, seed: RayPeer(task, seed, TPESampler(seed=seed), _asha(task)),
    "Optuna TPE + SuccessiveHalvingPruner": lambda task, seed: OptunaPeer(
        task, seed, TPESampler(seed=seed), SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
    ),
    "Optuna TPE + HyperbandPruner": lambda task, seed: OptunaPeer(task, seed, TPESampler(seed=seed), _hyperband(task)),
    "Ray OptunaSearch, no early stopping": lambda task, seed: RayPeer(
        task, seed, TPESampler(seed=seed), FIFOScheduler()
    ),
    "random, no early stopping": lambda task, seed: RayPeer(task, seed, RandomSampler(seed), FIFOScheduler()),
    "tuner bayes + asha": lambda task, seed: Ours(task, seed, "bayes", _halving("asha", task)),
    "tuner random + auto": lambda task, seed: Ours(task, seed, "random", _halving("auto", task)),
    "tuner multifidelity + asha": lambda task, seed: Ours(task, seed, "multifidelity", _halving("asha", task)),
    "tuner multifidelity + auto": lambda task, seed: Ours(task, seed, "multifidelity", _halving("auto", task)),
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
