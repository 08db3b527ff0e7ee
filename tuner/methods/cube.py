"""An Optuna search space as a cube: numbers scaled to [0, 1], a coordinate for each choice of a categorical one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

# Two choices of a categorical parameter are as far from each other as the ends of a number's range.
_CHOSEN = math.sqrt(0.5)
_JITTER = 1e-3


class Cube:
    """Attributes: dimensions: coordinates of a point; a categorical parameter has as many as choices."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        widths = [len(d.choices) if isinstance(d, CategoricalDistribution) else 1 for d in space.values()]
        ends = np.cumsum(widths).tolist()
        self._columns = dict(zip(space, map(slice, [0, *ends[:-1]], ends), strict=True))
        self._categories = [
            columns for name, columns in self._columns.items() if isinstance(space[name], CategoricalDistribution)
        ]
        self.dimensions: int = ends[-1]

    def point(self, params: Mapping[str, Any]) -> np.ndarray:
        """`[dimensions]`; a parameter that does not apply is in the middle, a categorical one at no choice."""
        point: np.ndarray = self.points([params])[0]
        return point

    def points(self, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """`[n, dimensions]`, a `point` of each configuration."""
        points = np.zeros((len(trials), self.dimensions))
        for name, columns in self._columns.items():
            distribution = self._space[name]
            if isinstance(distribution, CategoricalDistribution):
                for row, params in enumerate(trials):
                    if name in params and params[name] in distribution.choices:
                        points[row, columns.start + int(distribution.to_internal_repr(params[name]))] = _CHOSEN
            else:
                values = np.array([params.get(name, math.nan) for params in trials], dtype=float)
                points[:, columns.start] = np.nan_to_num(_scaled(distribution, values), nan=0.5)
        return points

    def params(self, point: np.ndarray) -> dict[str, Any]:
        """A value for every parameter, whether it applies or not."""
        params: dict[str, Any] = {}
        for name, columns in self._columns.items():
            distribution = self._space[name]
            if isinstance(distribution, CategoricalDistribution):
                params[name] = distribution.choices[int(point[columns].argmax())]
            else:
                value = float(_unscaled(distribution, point[columns])[0])
                params[name] = int(value) if isinstance(distribution, IntDistribution) else value
        return params

    def sample(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """`[num, dimensions]`, uniform."""
        points = rng.random((num, self.dimensions))
        for columns in self._categories:
            points[:, columns] = _draw(columns, num, rng)
        return points

    def mutate(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A neighbour of each point `[n, dimensions]`: few or all coordinates moved, by 0.01 to 0.5 or so.

        Moves out of the cube are reflected at its face, so that the ends of ranges are approached, but not suggested
        again and again.
        """
        num = len(points)
        sizes = 10 ** rng.uniform(-2.0, -0.3, size=(num, 1))
        is_moved = rng.random(points.shape) < rng.choice([0.2, 0.5, 1.0], size=(num, 1))
        # The others move by so little that it does not matter, except for their own slope.
        step = np.where(is_moved, sizes, _JITTER)
        moved: np.ndarray = points + step * rng.normal(size=points.shape)
        moved = 1.0 - np.abs(1.0 - np.abs(moved) % 2.0)
        for columns in self._categories:
            # A parameter that did not apply is at no choice, and may apply now.
            is_drawn = (rng.random(num) < 0.15) | ~points[:, columns].any(axis=1)
            moved[:, columns] = np.where(is_drawn[:, None], _draw(columns, num, rng), points[:, columns])
        return moved

    def pinned(self, points: np.ndarray, params: Mapping[str, Any]) -> np.ndarray:
        """The points `[n, dimensions]` with these values in place of theirs."""
        pinned, fixed = points.copy(), self.point(params)
        for name in params.keys() & self._columns.keys():
            pinned[:, self._columns[name]] = fixed[self._columns[name]]
        return pinned

    def settle(self, points: np.ndarray, trials: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The points `[n, dimensions]` as they will be once they are tried.

        Stepped numbers are on a step. A parameter is assumed not to apply if some trials have a point's choice of a
        categorical one, but none of them has the parameter; the choice of one that does not apply says nothing about
        others.
        """
        settled = points.copy()
        for name, columns in self._columns.items():
            distribution = self._space[name]
            if isinstance(distribution, FloatDistribution | IntDistribution) and distribution.step is not None:
                settled[:, columns] = _scaled(distribution, _unscaled(distribution, settled[:, columns]))
        applies = dict.fromkeys(self._columns, np.ones(len(points), dtype=bool))
        # A parent is present at least as often as its dependents.
        num_with = {name: sum(name in trial for trial in trials) for name in self._columns}
        for name in sorted(self._columns, key=lambda name: -num_with[name]):
            choices, columns = self._space[name], self._columns[name]
            if not isinstance(choices, CategoricalDistribution):
                continue
            chosen = points[:, columns].argmax(axis=1)
            for index, choice in enumerate(choices.choices):
                beside = [trial for trial in trials if name in trial and trial[name] == choice]
                for other in self._columns:
                    if beside and not any(other in trial for trial in beside):
                        applies[other] = applies[other] & ~(applies[name] & (chosen == index))
        for name, columns in self._columns.items():
            is_number = columns.stop - columns.start == 1
            settled[~applies[name], columns] = 0.5 if is_number else 0.0
        return settled


def _draw(columns: slice, num: int, rng: np.random.Generator) -> np.ndarray:
    width = columns.stop - columns.start
    drawn: np.ndarray = np.eye(width)[rng.integers(width, size=num)] * _CHOSEN
    return drawn


def _scaled(distribution: BaseDistribution, values: np.ndarray) -> np.ndarray:
    low, high, is_log = _range(distribution)
    if is_log:
        low, high, values = math.log(low), math.log(high), np.log(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _unscaled(distribution: BaseDistribution, units: np.ndarray) -> np.ndarray:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, is_log = _range(distribution)
    values = low + units * (high - low)
    if is_log:
        values = np.exp(math.log(low) + units * (math.log(high) - math.log(low)))
    if distribution.step is not None:
        values = distribution.low + np.round((values - distribution.low) / distribution.step) * distribution.step
    return np.clip(values, distribution.low, distribution.high)


def _range(distribution: BaseDistribution) -> tuple[float, float, bool]:
    """The values at 0 and 1, and whether the scale is logarithmic. Each of several steps has an equal share of it."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    half = 0.0 if distribution.step is None else distribution.step / 2
    return distribution.low - half, distribution.high + half, distribution.log
