"""Two simple samplers that learn from partial curves, as peers: what can be had with few lines.

Both take the values of a study's trials at the rungs of early stopping, whether the trials were stopped there or not.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sklearn.ensemble import RandomForestRegressor

from tuner.methods.cube import Cube

RUNGS = (1, 3, 9, 27)


class _Sketch(BaseSampler):
    """Random until there is something to learn from, and once in so many times later."""

    random_share: float
    fewest: int

    def __init__(self, seed: int, last: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed)
        self._rungs = (*(rung for rung in RUNGS if rung < last), last)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        known = study.get_trials(deepcopy=False)
        return dict(known[0].distributions) if known else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = [known for known in study.get_trials(deepcopy=False) if _curve(known)]
        if len(trials) < self.fewest or self._rng.random() < self.random_share:
            return {}
        return self.choose(trials, search_space, study.direction is StudyDirection.MAXIMIZE)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def choose(
        self, trials: list[FrozenTrial], space: dict[str, BaseDistribution], is_maximised: bool
    ) -> dict[str, Any]:
        """From trials with a value."""
        raise NotImplementedError

    def _at_rungs(self, trials: list[FrozenTrial], is_maximised: bool) -> Iterator[tuple[FrozenTrial, int, float]]:
        """(trial, rung, value), larger is better; no infinite ones."""
        sign = 1.0 if is_maximised else -1.0
        for trial in trials:
            for rung in self._rungs:
                value = sign * _curve(trial).get(rung, math.nan)
                if math.isfinite(value):
                    yield trial, rung, value


def _curve(trial: FrozenTrial) -> dict[int, float]:
    """Ray Tune does not hand on the report that a trial is stopped at, but as its value."""
    shown = trial.intermediate_values
    if trial.state is not TrialState.COMPLETE or trial.value is None:
        return shown
    return {**shown, max(shown, default=0) + 1: trial.value}


class HighestRungTPE(_Sketch):
    """TPE on the values at the highest rung that twelve trials have come to (cf. Falkner et al., BOHB, 2018)."""

    random_share, fewest = 0.2, 12

    def choose(
        self, trials: list[FrozenTrial], space: dict[str, BaseDistribution], is_maximised: bool
    ) -> dict[str, Any]:
        rows = list(self._at_rungs(trials, is_maximised))
        reached = [rung for rung in self._rungs if sum(row[1] == rung for row in rows) >= self.fewest]
        if not reached:
            return {}
        sampler = TPESampler(multivariate=True, n_startup_trials=0, seed=int(self._rng.integers(2**31)))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=value)
            for trial, rung, value in rows
            if rung == reached[-1]
        )
        return dict(study.ask(space).params)


class ForestThompson(_Sketch):
    """A random forest on configurations and steps: the best point of one of its trees at the last step."""

    random_share, fewest = 0.05, 10
    num_candidates = 1000

    def choose(
        self, trials: list[FrozenTrial], space: dict[str, BaseDistribution], is_maximised: bool
    ) -> dict[str, Any]:
        rows = list(self._at_rungs(trials, is_maximised))
        if not rows:
            return {}
        cube = Cube(space)
        x, steps = cube.points([trial.params for trial, _, _ in rows]), np.log([rung for _, rung, _ in rows])
        y = np.array([value for _, _, value in rows])
        # Diverged values must not decide where the trees split.
        y = np.maximum(y, np.quantile(y, 0.1))
        forest = RandomForestRegressor(20, min_samples_leaf=2, random_state=int(self._rng.integers(2**31)))
        forest.fit(np.column_stack([x, steps]), y)
        half = self.num_candidates // 2
        best = x[np.argsort(-y)[:10]]
        near = cube.mutate(best[self._rng.integers(len(best), size=half)], self._rng)
        candidates = np.vstack([cube.sample(half, self._rng), near])
        last = np.full((len(candidates), 1), np.log(self._rungs[-1]))
        tree = forest.estimators_[self._rng.integers(len(forest.estimators_))]
        return cube.params(candidates[int(tree.predict(np.hstack([candidates, last])).argmax())])
