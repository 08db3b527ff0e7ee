"""Runs any Optuna sampler on recorded configurations: each suggestion becomes the nearest untried one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from tuner.methods.cube import Cube
from tuner.methods.optuna_space import applicable, distributions, stored
from tuner.spec.space import SearchSpace


class RowSampler(BaseSampler):
    """Hands out the rows of a table once each; the study then holds the row's own parameters.

    Args:
        rows: the table's configurations, in `space`.
    """

    def __init__(self, inner: BaseSampler, rows: Sequence[Mapping[str, Any]], space: SearchSpace) -> None:
        self.inner = inner
        self._space = space
        self._distributions = distributions(space)
        self._rows = [stored(space, row) for row in rows]
        self._cube = Cube(self._distributions)
        self._points = self._cube.points(self._rows)
        self._is_left = np.ones(len(rows), dtype=bool)

    @property
    def num_left(self) -> int:
        return int(self._is_left.sum())

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params = self.inner.sample_relative(study, trial, self.inner.infer_relative_search_space(study, trial))
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = self.inner.sample_independent(study, trial, name, distribution)
        return self.take(params)

    def take(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take the untried row nearest to a configuration that Optuna stores as `params`."""
        distances = ((self._points - self._cube.point(applicable(self._space, params))) ** 2).sum(axis=1)
        nearest = int(np.where(self._is_left, distances, np.inf).argmin())
        self._is_left[nearest] = False
        return dict(self._rows[nearest])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError("all parameters of a row are sampled together")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)
