"""An Optuna sampler that learns from partial curves: a Gaussian process over configurations and steps.

It asks for what is expected to be best at the last step (expected improvement, Jones et al., 1998), so a value after
one step is never taken for a final one. Works in plain Optuna too, on any study with one objective whose trials
report. What it asks is a function of the study and its seed. Knows nothing of Ray.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import log_ndtr, ndtri

from tuner.methods.gaussian_process import GaussianProcess, Kernel

# Under this key a trial holds the hyperparameters that were fitted for its suggestion.
_KERNEL = "tuner:kernel"
# Of a curve, the last value and those at powers of this step are used.
_ETA = 3


@dataclass(frozen=True)
class Data:
    """What the trials have shown so far; rows are (trial, step).

    Attributes:
        x: configurations `[n, d]`.
        t: steps `[n]`, scaled logarithms: 1 is the largest step of any trial.
        y: normal scores `[n]` of the best values up to these steps, larger is better.
        pending: configurations `[m, d]` of running trials that have shown nothing yet.
    """

    x: np.ndarray
    t: np.ndarray
    y: np.ndarray
    pending: np.ndarray


class MultiFidelitySampler(BaseSampler):
    """Args:
    n_startup: random trials before the model is asked.
    random_share: of the later suggestions, to keep learning what the model does not expect.
    max_rows: values that the model is given at most, which bounds the cost of a suggestion.
    """

    def __init__(
        self,
        seed: int | None = None,
        n_startup: int = 8,
        random_share: float = 0.15,
        max_rows: int = 400,
        num_candidates: int = 400,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._n_startup = n_startup
        self._random_share = random_share
        self._max_rows = max_rows
        self._num_candidates = num_candidates

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter that any trial has had: what does not apply to the new one is not asked for."""
        space: dict[str, BaseDistribution] = {}
        for known in study.get_trials(deepcopy=False):
            space.update(known.distributions)
        return {name: space[name] for name in sorted(space) if not space[name].single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if len(study.directions) > 1:
            raise ValueError(f"{type(self).__name__} needs one objective; the study has {len(study.directions)}")
        trials = [known for known in study.get_trials(deepcopy=False) if known.number != trial.number]
        shown = sum(bool(known.intermediate_values) or known.state is TrialState.COMPLETE for known in trials)
        if not search_space or shown < self._n_startup or self._rng.random() < self._random_share:
            return {}
        cube = Cube(search_space)
        data = _gather(trials, cube, study.direction is StudyDirection.MAXIMIZE, self._max_rows, self._rng)
        kernel = self._kernel(study, trial, trials, data)
        model = GaussianProcess(kernel, data.x, data.t, data.y)
        if len(data.pending):
            # Those are taken to show what is expected of them (Ginsbourger et al., Kriging believer, 2010).
            ends = np.ones(len(data.pending))
            x, t = np.vstack([data.x, data.pending]), np.concatenate([data.t, ends])
            y = np.concatenate([data.y, model.mean(data.pending, ends)])
            model = GaussianProcess(kernel, x, t, y)
        return cube.params(self._best_candidate(model, data, cube))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _best_candidate(self, model: GaussianProcess, data: Data, cube: "Cube") -> np.ndarray:
        known = np.unique(data.x, axis=0)
        expected = model.mean(known, np.ones(len(known)))
        order = np.argsort(-expected)
        parents = known[order[:10]]
        best = max(float(data.y.max()), float(expected[order[0]]))
        half = self._num_candidates // 2
        candidates = np.vstack(
            [cube.sample(half, self._rng), cube.mutate(parents[self._rng.integers(len(parents), size=half)], self._rng)]
        )
        mean, deviation = model.predict(candidates, np.ones(len(candidates)))
        best = float(expected[order[0]])
        return candidates[int(_log_expected_improvement((mean - best) / deviation, deviation).argmax())]

    def _kernel(self, study: optuna.Study, trial: FrozenTrial, trials: Sequence[FrozenTrial], data: Data) -> Kernel:
        """Hyperparameters: those fitted for an earlier trial, or fitted anew once there are a quarter more trials."""
        kernel, fitted_at = Kernel.prior_mean(data.x.shape[1]), 0
        for earlier in reversed(trials):
            if _KERNEL in earlier.system_attrs:
                stored = json.loads(earlier.system_attrs[_KERNEL])
                if len(stored) == len(kernel.theta):
                    kernel, fitted_at = Kernel(np.array(stored)), earlier.number
                break
        if fitted_at and trial.number < 1.2 * fitted_at:
            return kernel
        rows = np.arange(len(data.y))
        if len(rows) > 200:
            rows = np.sort(self._rng.choice(rows, 200, replace=False))
        kernel = kernel.fitted(data.x[rows], data.t[rows], data.y[rows])
        study._storage.set_trial_system_attr(trial._trial_id, _KERNEL, json.dumps(kernel.theta.tolist()))
        return kernel


class Cube:
    """A space as points of a cube: numbers scaled to [0, 1], a coordinate for each choice of a categorical one."""

    def __init__(self, space: dict[str, BaseDistribution]) -> None:
        self._space = space
        widths = [len(d.choices) if isinstance(d, CategoricalDistribution) else 1 for d in space.values()]
        ends = np.cumsum(widths).tolist()
        self._columns = dict(zip(space, map(slice, [0, *ends[:-1]], ends), strict=True))
        self.dimensions = ends[-1]

    def point(self, params: dict[str, Any]) -> np.ndarray:
        """Parameters that do not apply stand in the middle."""
        point = np.empty(self.dimensions)
        for name, columns in self._columns.items():
            distribution = self._space[name]
            if isinstance(distribution, CategoricalDistribution):
                point[columns] = 0.0
                if name in params and params[name] in distribution.choices:
                    point[columns.start + distribution.choices.index(params[name])] = math.sqrt(0.5)
            else:
                point[columns] = _scaled(distribution, params[name]) if name in params else 0.5
        return point

    def params(self, point: np.ndarray) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for name, columns in self._columns.items():
            distribution = self._space[name]
            if isinstance(distribution, CategoricalDistribution):
                params[name] = distribution.choices[int(point[columns].argmax())]
            else:
                params[name] = _unscaled(distribution, float(point[columns.start]))
        return params

    def sample(self, num: int, rng: np.random.Generator) -> np.ndarray:
        points = rng.random((num, self.dimensions))
        for columns in self._categories():
            points[:, columns] = _one_hot(rng.integers(columns.stop - columns.start, size=num), columns)
        return points

    def mutate(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Points near these: some parameters are moved, by steps of very different sizes."""
        num = len(points)
        sizes = 10 ** rng.uniform(-2.0, -0.3, size=(num, 1))
        is_moved = rng.random((num, self.dimensions)) < rng.choice([0.2, 0.5, 1.0], size=(num, 1))
        moved = np.clip(points + is_moved * sizes * rng.normal(size=points.shape), 0.0, 1.0)
        for columns in self._categories():
            moved[:, columns] = points[:, columns]
            changed = rng.random(num) < 0.15
            drawn = _one_hot(rng.integers(columns.stop - columns.start, size=num), columns)
            moved[changed, columns] = drawn[changed]
        return moved

    def _categories(self) -> list[slice]:
        return [
            columns for name, columns in self._columns.items() if isinstance(self._space[name], CategoricalDistribution)
        ]


def _one_hot(choices: np.ndarray, columns: slice) -> np.ndarray:
    hot: np.ndarray = np.eye(columns.stop - columns.start)[choices] * math.sqrt(0.5)
    return hot


def _scaled(distribution: BaseDistribution, value: float) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _unscaled(distribution: BaseDistribution, unit: float) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if distribution.step is not None:
        value = low_step(distribution, value)
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value


def low_step(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    assert distribution.step is not None
    return distribution.low + round((value - distribution.low) / distribution.step) * distribution.step


def _gather(trials: Sequence[FrozenTrial], cube: Cube, maximise: bool, max_rows: int, rng: np.random.Generator) -> Data:
    last = max((max(trial.intermediate_values, default=1) for trial in trials), default=1)
    points: list[np.ndarray] = []
    rows: list[tuple[int, int, float]] = []
    pending: list[np.ndarray] = []
    for trial in trials:
        curve = _curve(trial, last, maximise)
        if not curve:
            if trial.state is TrialState.RUNNING:
                pending.append(cube.point(trial.params))
            continue
        points.append(cube.point(trial.params))
        rows += [(len(points) - 1, step, value) for step, value in curve]
    if len(rows) > max_rows:
        # Of the trials that were stopped first, which are most, a random part is enough.
        lowest = min(step for _, step, _ in rows)
        first = [row for row in rows if row[1] == lowest]
        others = [row for row in rows if row[1] != lowest][-(max_rows - max_rows // 4) :]
        kept = rng.permutation(len(first))[: max_rows - len(others)]
        rows = [*(first[i] for i in kept), *others]
    index, steps, values = (np.array(column) for column in zip(*rows, strict=True))
    # Normal scores: what matters is the order, and one diverged loss must not flatten all others.
    ranks = (values[:, None] > values[None, :]).sum(axis=1) + 0.5 * (values[:, None] == values[None, :]).sum(axis=1)
    return Data(
        x=np.array(points)[index],
        t=np.log(steps) / math.log(max(last, 2)),
        y=ndtri(ranks / len(values)),
        pending=np.array(pending).reshape(-1, cube.dimensions),
    )


def _curve(trial: FrozenTrial, last: int, maximise: bool) -> list[tuple[int, float]]:
    """The best values up to the steps that are used, larger is better; a failure is worse than all else."""
    values = sorted(trial.intermediate_values.items())
    if not values and trial.state is TrialState.COMPLETE and trial.value is not None:
        values = [(last, trial.value)]
    if trial.state is TrialState.FAIL:
        return [(last, -math.inf)]
    if not values:
        return []
    wanted = {values[-1][0], *(_ETA**k for k in range(int(math.log(values[-1][0], _ETA)) + 2))}
    curve, best = [], -math.inf
    for step, value in values:
        signed = value if maximise else -value
        best = max(best, signed) if math.isfinite(signed) else best
        if step in wanted:
            curve.append((step, best))
    return curve


def _log_expected_improvement(z: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """log of deviation (z Phi(z) + phi(z)), stable for z far below 0."""
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    # phi(z) / Phi(z) + z is positive, and about 1 / |z| for z far below 0.
    ratio = np.where(z > -6.0, z + np.exp(log_density - log_ndtr(z)), 1.0 / np.abs(np.minimum(z, -6.0)))
    log_improvement: np.ndarray = np.log(deviation) + log_ndtr(z) + np.log(np.maximum(ratio, 1e-12))
    return log_improvement
