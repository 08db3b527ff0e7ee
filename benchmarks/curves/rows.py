"""Any Optuna sampler on a table: each suggestion becomes the nearest row that has not been tried."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState


class RowSampler(BaseSampler):
    """Hands out the rows of a table once each; the study then holds the row's own parameters.

    Args:
        rows: of the table; all columns are numbers on logarithmic scales.
        distributions: of the columns.
    """

    def __init__(
        self,
        inner: BaseSampler,
        rows: Sequence[Mapping[str, Any]],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self.inner = inner
        self._rows = rows
        self._distributions = dict(distributions)
        logs = np.log([list(row.values()) for row in rows])
        self._low, self._width = logs.min(axis=0), np.ptp(logs, axis=0)
        self._points = self._scaled(logs)
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
        wanted = self._scaled(np.log([params[name] for name in self._distributions]))
        distances = np.where(self._is_left, ((self._points - wanted) ** 2).sum(axis=1), np.inf)
        nearest = int(distances.argmin())
        self._is_left[nearest] = False
        return dict(self._rows[nearest])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError("all columns of a table are sampled together")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)

    def _scaled(self, logs: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (logs - self._low) / self._width
        return scaled
