"""Tables as matrices: scaling, missing values, categories, all learned from the rows given. Knows nothing of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.tables.tables import Table, Texts

SCALINGS = ("standard", "quantile")
# A category with a column of its own is in at least so many rows, and among so many of the most frequent ones.
FEWEST_ROWS = 2
MOST_CATEGORIES = 64
KNOTS = 101
# How near to 0 and 1 a quantile may be before it is made normal: within 3.1 standard deviations.
EDGE = 1e-3

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Encoder:
    """From rows to a float32 matrix: scaled numbers, a column for each that may miss, a column for each category.

    A missing number becomes the median. A category that was not seen, or seldom, has zeros in all its columns.

    Attributes:
        median, mean, std: of the number columns, `[numbers]`.
        knots: quantiles `[KNOTS, numbers]` where numbers are made normal by them, else empty, `[0, numbers]`.
        missing: indices of the number columns that had missing values.
        categories: for each category column, those that have a column of their own.
    """

    median: Floats
    mean: Floats
    std: Floats
    knots: Floats
    missing: npt.NDArray[np.int64]
    categories: tuple[tuple[str, ...], ...]

    @classmethod
    def fit(cls, table: Table, scaling: str) -> "Encoder":
        """Learned from these rows: give those of the training fold alone."""
        is_missing = np.isnan(table.numbers)
        # A column may be empty in a fold.
        median = np.array([_median(column[~gone]) for column, gone in zip(table.numbers.T, is_missing.T, strict=True)])
        filled = np.where(is_missing, median, table.numbers)
        knots = np.empty((0, filled.shape[1]))
        if scaling == "quantile":
            knots = np.quantile(filled, np.linspace(0, 1, KNOTS), axis=0)
            filled = _normal(filled, knots)
        std = filled.std(axis=0)
        return cls(
            median,
            filled.mean(axis=0),
            np.where(std > 1e-12, std, 1.0),
            knots,
            np.flatnonzero(is_missing.any(axis=0)),
            tuple(_frequent(column) for column in table.categories.T),
        )

    def to_json(self) -> dict[str, Any]:
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Encoder":
        median, mean, std = (np.asarray(told[name], np.float64) for name in ("median", "mean", "std"))
        knots = np.asarray(told["knots"], np.float64).reshape(-1, len(median))
        missing = np.asarray(told["missing"], np.int64)
        return cls(median, mean, std, knots, missing, tuple(map(tuple, told["categories"])))

    @property
    def width(self) -> int:
        return len(self.median) + len(self.missing) + sum(map(len, self.categories))

    def __call__(self, table: Table) -> Matrix:
        """The rows as `[n, width]`."""
        is_missing = np.isnan(table.numbers)
        filled = np.where(is_missing, self.median, table.numbers)
        if len(self.knots):
            filled = _normal(filled, self.knots)
        blocks = [(filled - self.mean) / self.std, is_missing[:, self.missing]]
        for column, known in zip(table.categories.T, self.categories, strict=True):
            blocks.append(column[:, None] == np.array(known, object)[None, :])
        return np.concatenate([block.astype(np.float32) for block in blocks], axis=1)


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _normal(numbers: Floats, knots: Floats) -> Floats:
    """Each column's rank among the knots, as a normal distribution would have it; flat beyond the ends."""
    levels = np.linspace(0, 1, len(knots))
    columns = [_rank(column, knot, levels) for column, knot in zip(numbers.T, knots.T, strict=True)]
    ranks = np.stack(columns, axis=1) if columns else np.empty_like(numbers)
    return np.asarray(torch.special.ndtri(torch.from_numpy(np.clip(ranks, EDGE, 1 - EDGE))).numpy())


def _rank(column: Floats, knots: Floats, levels: Floats) -> Floats:
    """Where several knots are equal, the middle of their levels."""
    forward = np.interp(column, knots, levels)
    backward = 1.0 - np.interp(-column, -knots[::-1], levels)
    return np.asarray((forward + backward) / 2)


def _frequent(column: Texts) -> tuple[str, ...]:
    values, counts = np.unique(column.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    return tuple(sorted(str(values[i]) for i in order if counts[i] >= FEWEST_ROWS))
