"""SMAC's multi-fidelity facade: hyperband on configurations that a random forest chooses, by its `ask` and `tell`.

Lindauer et al., SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter Optimization, 2022.
"""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import Categorical, Configuration, ConfigurationSpace, Float, Integer
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from smac import MultiFidelityFacade, Scenario
from smac.runhistory import StatusType, TrialInfo, TrialValue

from tuner.methods.optuna_space import distributions, restored
from tuner.metric import Goal
from tuner.simulation.rows import RowSampler
from tuner.simulation.task import Task

_VERY_BAD = 1e3


class SmacPeer:
    """Args:
    eta: of its hyperband, which begins with one step. A configuration that it asks for again, with a larger budget,
        goes on where it stood: that costs it the steps in between alone.
    """

    def __init__(self, task: Task, seed: int, eta: int) -> None:
        self._sign = -1.0 if task.metrics[0].goal is Goal.MAXIMIZE else 1.0
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            ConfigurationSpace({name: _domain(name, one) for name, one in distributions(task.space).items()}),
            deterministic=True,
            n_trials=10**9,
            min_budget=1,
            max_budget=task.max_step,
            seed=seed % 2**31,
            output_directory=Path(self._folder.name),
        )
        self._facade = MultiFidelityFacade(
            scenario,
            _never_called,
            intensifier=MultiFidelityFacade.get_intensifier(scenario, eta=eta),
            logging_level=False,
            overwrite=True,
        )
        # A suggestion on a table becomes the nearest row that is left.
        self._rows = None if task.rows is None else RowSampler(RandomSampler(), task.rows, task.space)
        self._max_step, self._space = task.max_step, task.space
        self._numbers: dict[Configuration, int] = {}
        self._params: dict[int, Mapping[str, Any]] = {}
        self._asked: dict[int, TrialInfo] = {}
        self._worst = -math.inf

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is not None and not self._rows.num_left:
            return None
        info = self._facade.ask()
        number = self._numbers.setdefault(info.config, len(self._numbers))
        if number not in self._params:
            params = {
                name: value.item() if isinstance(value, np.generic) else value for name, value in info.config.items()
            }
            self._params[number] = params if self._rows is None else restored(self._space, self._rows.take(params))
        self._asked[number] = info
        return number, self._params[number]

    def report(self, number: int, step: int, value: float, is_last: bool) -> bool:
        info = self._asked[number]
        assert info.budget is not None
        is_sound = math.isfinite(value)
        if is_sound and not is_last and step < round(info.budget):
            return True
        status = StatusType.SUCCESS if is_sound else StatusType.CRASHED
        # Its forest takes no infinity: what diverges is as bad as the worst so far, or very bad.
        cost = self._sign * value if is_sound else self._worst if math.isfinite(self._worst) else _VERY_BAD
        self._worst = max(self._worst, cost) if is_sound else self._worst
        self._facade.tell(self._asked.pop(number), TrialValue(cost, status=status), save=False)
        return False

    def close(self) -> None:
        self._folder.cleanup()


def _never_called(config: Configuration, seed: int = 0, budget: float = 0.0) -> float:
    raise AssertionError("trials are asked for and told")


def _domain(name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return Categorical(name, list(choices))
        case FloatDistribution(low=low, high=high, log=is_log):
            return Float(name, (low, high), log=is_log)
        case IntDistribution(low=low, high=high, log=is_log):
            return Integer(name, (low, high), log=is_log)
    raise TypeError(f"no such distribution: {distribution}")
