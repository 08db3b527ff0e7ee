"""Compares two configurations trained with the same seeds: means, 95 % intervals, and whether the gain is noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tuner.metric import Goal

LEVEL = 0.95

# The score of each seed that has one.
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds. `half_width` is of its 95 % interval by Student's t; None with a single seed."""

    mean: float
    half_width: float | None
    num_seeds: int

    def __str__(self) -> str:
        width = "" if self.half_width is None else f" ± {self.half_width:.4g}"
        return f"{self.mean:.4g}{width}"


@dataclass(frozen=True)
class Gain:
    """The gain of the tuned configuration over the default one: the mean of the differences, seed by seed.

    Attributes:
        difference: tuned minus default, with its interval.
        p: of the two-sided paired t-test; None for a single seed, or if all differences are equal.
        is_better: whether the difference points to the goal.
        is_beyond_noise: whether the 95 % interval excludes zero; if all differences are equal, whether they are not 0.
    """

    difference: Estimate
    p: float | None
    is_better: bool
    is_beyond_noise: bool

    @property
    def verdict(self) -> str:
        if self.difference.half_width is None:
            return "can't be distinguished from noise with one seed"
        if not self.is_beyond_noise:
            return "not larger than the seeds' noise"
        return "larger than the seeds' noise" if self.is_better else "a loss, larger than the seeds' noise"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.difference), **{k: v for k, v in asdict(self).items() if k != "difference"}}


def estimate(values: Sequence[float]) -> Estimate:
    """Estimate the mean of at least one value."""
    from scipy import stats  # takes half a second, and is needed only here

    count = len(values)
    if count < 2:
        return Estimate(float(values[0]), None, count)
    spread = 0.0 if _are_alike(values) else float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(float(np.mean(values)), float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * spread, count)


def gain(tuned: BySeed, default: BySeed, goal: Goal) -> Gain | None:
    """Compare scores paired by seed; None if no seed has both."""
    from scipy import stats

    differences = [tuned[seed] - default[seed] for seed in sorted(tuned.keys() & default.keys())]
    if not differences:
        return None
    found = estimate(differences)
    is_better = goal.better(found.mean, 0.0)
    # Neither configuration depends on its seed, or both do in the same way.
    if found.half_width is None or _are_alike(differences):
        return Gain(found, None, is_better, found.half_width is not None and found.mean != 0)
    p = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Gain(found, p, is_better, abs(found.mean) > found.half_width)


def _are_alike(values: Sequence[float]) -> bool:
    """Whether values are equal up to rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(map(abs, values)))
