"""From runs to figures: regrets over time, means with bootstrap intervals over tasks, mean ranks."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from benchmarks.curves.references import Reference
from tuner.simulation.simulator import best_after

# Shares of the budget at which methods are compared.
CHECKPOINTS = (0.1, 0.25, 0.5, 1.0)
_RESAMPLES = 2000


def regrets(
    incumbents: Sequence[tuple[int, float]], reference: Reference, budget: int, shares: Sequence[float]
) -> list[float]:
    """The normalised regret of a run at shares of its budget; 1 before its first finite value."""
    best = [best_after(incumbents, share * budget) for share in shares]
    return [1.0 if math.isnan(value) else reference.regret(value) for value in best]


def interval(values: np.ndarray) -> tuple[float, float]:
    """A 95% bootstrap interval of the mean of `[tasks]`, tasks resampled."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mean_ranks(by_method: Mapping[str, np.ndarray]) -> dict[str, float]:
    """1 is best; each method's array is `[tasks]` of regrets, means over seeds. Equals share their ranks."""
    ranks = rankdata(np.array(list(by_method.values())), axis=0)
    return dict(zip(by_method, ranks.mean(axis=1).tolist(), strict=True))
