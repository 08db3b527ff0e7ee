"""An Optuna sampler that learns from partial curves: a Gaussian process over configurations and steps.

It suggests what it expects to be best at the last step (expected improvement, Jones et al., Efficient Global
Optimization, 1998), so it never takes a value after one step for a final one. With several objectives each suggestion
weighs them differently (Knowles, ParEGO, 2006). Works in plain Optuna too, whether trials report or not. Suggestions
depend only on the study, the seed and the earlier studies that it was given.
"""

import functools
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import log_ndtr
from threadpoolctl import ThreadpoolController

from tuner.methods.attributes import OUTCOME, VALUES
from tuner.methods.cube import Cube
from tuner.methods.gaussian_process import GaussianProcess, Kernel, Points
from tuner.methods.optuna_compat import fixed_params, set_system_attribute

# The key at a trial of the hyperparameters that were fitted before it was suggested.
_KERNEL = "tuner:kernel"
# And under this one the weights of the objectives that it was asked for by, and the logarithm of the improvement that
# was expected of it.
_PROMISE = "tuner:promise"
# They are fitted anew once there are so many times more trials, to so many values at most.
_REFIT = 1.2
_MAX_FITTED = 200
# Values that the model is given at most, and points that it chooses among: they bound the cost of a suggestion.
_MAX_ROWS = 400
# So many more at most of all earlier studies together.
_MAX_EARLIER_ROWS = 160
_NUM_CANDIDATES = 400
# Half of the candidates are neighbours of this many of the most promising configurations.
_NUM_PARENTS = 3
# But one suggestion in so many is made among so many points of the whole space: near a good configuration something
# better is to be expected for long, though the best may lie in another region.
_AFAR = 4
_NUM_AFAR = 1000
# Of one objective an improvement counts from so many standard deviations of the scores on at most: each suggestion
# draws its own measure. Near-copies of the best promise a little for ever, and would all be trained first.
_WORTHWHILE = 0.8
# What is further below the best than so many times the lower quartile counts as so far; what is nearer than so much of
# it hardly differs from the best.
_DEEPEST = 3.0
_NEAREST = 0.05
# A configuration nearer than this to one that was tried, in the unit cube, would show nothing new.
_NEAR = 0.01
# The outcomes of a stopped trial.
_STOPPED = ("pruned", "stopped")
# Of several objectives the one that is furthest from its best counts, and their sum so much.
_SUM = 0.05
# Of a curve the last value is used, and those at the powers of this.
_ETA = 3
# Matrices of some hundred rows take longer with several threads, especially beside trials that use all cores.
_BLAS = ThreadpoolController().select(user_api="blas")


@dataclass(frozen=True)
class Data:
    """The results of the trials so far; rows are (trial, step).

    Attributes:
        points: `t` are scaled logarithms of steps: 1 is the largest step of any trial.
        y: `[n]`, larger is better: `scores` of the best values up to these steps among those of the same sweep; of
            several objectives `weighed` ones of the values at these steps.
        even: `[n]`, the same with all objectives weighed alike, what hyperparameters are fitted to.
        pending: configurations `[m, d]` of running trials that have shown nothing yet.
    """

    points: Points
    y: np.ndarray
    even: np.ndarray
    pending: np.ndarray


class MultiFidelitySampler(BaseSampler):
    """A Bayesian sampler; each suggestion costs one Cholesky factor of at most 400 values, however long the study.

    Args:
        n_startup: trials with a value before the model is asked; random until then.
        random_share: of later suggestions, which reveal what the model does not expect.
    """

    def __init__(self, seed: int | None = None, n_startup: int = 8, random_share: float = 0.05) -> None:
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._n_startup = n_startup
        self._random_share = random_share
        self._earlier: list[Sequence[FrozenTrial]] = []

    def learn_from(self, earlier: Sequence[Sequence[FrozenTrial]]) -> None:
        """Also learn from trials of earlier studies of the same objective, with some of the same parameters.

        Their values must lie within the new ranges. They count as much as they agree with the new ones, and the model
        is used from the first trial on.
        """
        self._earlier = [trials for trials in earlier if trials]

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter of any trial; those that do not apply to the new one are not used."""
        space: dict[str, BaseDistribution] = {}
        for trials in (*self._earlier, study.get_trials(deepcopy=False)):
            for known in trials:
                space.update(known.distributions)
        return {name: space[name] for name in sorted(space) if not space[name].single()}

    @_BLAS.wrap(limits=1)  # type: ignore[untyped-decorator]
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = [known for known in study.get_trials(deepcopy=False) if known.number != trial.number]
        signs, earlier = self._aims(study)
        num_shown = sum(known.state is TrialState.COMPLETE or _has_reported(known, len(signs)) for known in trials)
        if not search_space or (num_shown < self._n_startup and not earlier) or self._rng.random() < self._random_share:
            return {}
        cube = Cube(search_space)
        weights = self._rng.dirichlet(np.ones(len(signs))) if len(signs) > 1 else np.ones(1)
        data = gather(trials, cube, signs, weights, self._rng, earlier)
        kernel = self._kernel(study, trial, trials, data, len(earlier))
        model = GaussianProcess(kernel, data.points, data.y)
        if len(data.pending):
            # Those are taken to reach what is expected of them (Ginsbourger et al., the Kriging believer, 2010).
            model = model.believing(Points.at_the_end(data.pending))
        worth = float(self._rng.uniform(0, _WORTHWHILE)) if len(signs) == 1 else 0.0
        # Fixed values: its cell of a grid, or a known good configuration.
        fixed = fixed_params(trial)
        point, gain = self._best_candidate(model, data, cube, [known.params for known in trials], fixed, worth)
        if gain is not None:
            promise = json.dumps({"weights": weights.tolist(), "worth": worth, "gain": gain})
            set_system_attribute(study, trial, _PROMISE, promise)
        return cube.params(point)

    @_BLAS.wrap(limits=1)  # type: ignore[untyped-decorator]
    def keeps_promise(self, study: optuna.Study, number: int) -> bool:
        """Whether a running trial is still expected to improve on the others as much as when it was suggested.

        A poor early value says nothing against such a trial: the model expected it, and if the trial is stopped,
        nothing shows whether the model is wrong about the end.
        """
        trials = study.get_trials(deepcopy=False)
        trial = trials[number]
        if _PROMISE not in trial.system_attrs:
            return False
        promise = json.loads(trial.system_attrs[_PROMISE])
        signs, earlier = self._aims(study)
        cube = Cube(self.infer_relative_search_space(study, trial))
        # If there are too many values, the last trial's are kept.
        in_order = [*(known for known in trials if known.number != number), trial]
        data = gather(in_order, cube, signs, np.array(promise["weights"]), self._rng, earlier)
        kernel, _ = _fitted(trials, cube.dimensions, len(earlier))
        model = GaussianProcess(kernel, data.points, data.y)
        point = cube.points([trial.params])
        is_other = (data.points.sweep == 0) & (data.points.x != point).any(axis=1)
        others = np.unique(data.points.x[is_other], axis=0)
        best = model.mean(Points.at_the_end(others)).max(initial=-math.inf)
        return bool(_log_gain(model, point, best + promise.get("worth", 0.0))[0] >= promise["gain"])

    def _aims(self, study: optuna.Study) -> tuple[np.ndarray, list[Sequence[FrozenTrial]]]:
        """Signs of the objectives, and the earlier studies, which are not available with several objectives."""
        signs = np.array([1.0 if way is StudyDirection.MAXIMIZE else -1.0 for way in study.directions])
        return signs, self._earlier if len(signs) == 1 else []

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _best_candidate(
        self,
        model: GaussianProcess,
        data: Data,
        cube: Cube,
        tried: Sequence[Mapping[str, Any]],
        fixed: Mapping[str, Any],
        worth: float,
    ) -> tuple[np.ndarray, float | None]:
        """The point `[d]` with the largest expected improvement at the last step, on `worth` above the expected value.

        Also its logarithm; None at the beginning, when the largest mean is taken.
        """
        x, is_own = data.points.x, data.points.sweep == 0
        own = np.unique(np.vstack([x[is_own], data.pending]), axis=0)
        known = np.vstack([own, np.unique(x[~is_own], axis=0)])
        expected = model.mean(Points.at_the_end(known))
        parents = known[np.argsort(-expected)[:_NUM_PARENTS]]
        # Instead of random trials, a sweep begins with what earlier ones found good.
        is_beginning = len(tried) < self._n_startup
        if is_beginning or self._rng.integers(_AFAR):
            half = _NUM_CANDIDATES // 2
            near = cube.mutate(parents[self._rng.integers(len(parents), size=half)], self._rng)
            candidates = np.vstack([cube.sample(half, self._rng), near])
        else:
            candidates = cube.sample(_NUM_AFAR, self._rng)
        candidates = cube.settle(cube.pinned(candidates, fixed), tried)
        if is_beginning:
            gain = model.mean(Points.at_the_end(candidates))
        else:
            # This sweep's, unless all its trials ended without a value.
            gain = _log_gain(model, candidates, expected[: len(own) or None].max() + worth)
        # Configurations of earlier sweeps only may be tried again; perhaps everything has been tried.
        old, ranked = cube.points(tried), np.argsort(-gain, kind="stable")
        new = (index for index in ranked if np.linalg.norm(old - candidates[index], axis=1).min(initial=1.0) >= _NEAR)
        chosen = next(new, ranked[0])
        return candidates[chosen], None if is_beginning else float(gain[chosen])

    def _kernel(
        self, study: optuna.Study, trial: FrozenTrial, trials: Sequence[FrozenTrial], data: Data, num_earlier: int
    ) -> Kernel:
        """The hyperparameters fitted last, or fitted anew if the study has grown enough since."""
        kernel, fitted_at = _fitted(trials, data.points.x.shape[1], num_earlier)
        if fitted_at and trial.number < _REFIT * fitted_at:
            return kernel
        rows = self._rng.permutation(len(data.y))[:_MAX_FITTED]
        kernel = kernel.fitted(data.points[rows], data.even[rows])
        set_system_attribute(study, trial, _KERNEL, json.dumps(kernel.theta.tolist()))
        return kernel


def _fitted(trials: Sequence[FrozenTrial], dimensions: int, num_earlier: int) -> tuple[Kernel, int]:
    """The hyperparameters fitted last, and before which trial; the prior's and 0 if there are none."""
    kernel = Kernel.prior_mean(dimensions, num_earlier)
    for trial in reversed(trials):
        if _KERNEL in trial.system_attrs:
            stored = json.loads(trial.system_attrs[_KERNEL])
            # A space that has grown since has more.
            if len(stored) == len(kernel.theta):
                return Kernel(np.array(stored), dimensions), trial.number
            break
    return kernel, 0


def gather(
    trials: Sequence[FrozenTrial],
    cube: Cube,
    signs: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    earlier: Sequence[Sequence[FrozenTrial]] = (),
) -> Data:
    """Collect the model's data, from at least one trial with a value.

    Args:
        signs: `[objectives]`, 1 for those to be maximised, -1 for the others.
        weights: `[objectives]`, of `weighed`.
    """
    sweeps = [trials, *earlier]
    last = max(1, *(max(trial.intermediate_values, default=1) for sweep in sweeps for trial in sweep))
    parts = []
    for index, sweep in enumerate(sweeps):
        rows = [(trial, step, values) for trial in sweep for step, values in _curve(trial, last, signs)]
        if not rows:
            continue
        limit = _MAX_EARLIER_ROWS // len(earlier) if index else _MAX_ROWS
        if len(rows) > limit:
            worth = weighed(np.array([values for _, _, values in rows]), weights)
            rows = [rows[row] for row in _kept(rows, worth, limit, rng)]
        x = cube.points([trial.params for trial, _, _ in rows])
        t = np.array([math.log(step) for _, step, _ in rows]) / math.log(max(last, 2))
        values = np.array([values for _, _, values in rows])
        y, even = weighed(values, weights), weighed(values, np.full(len(signs), 1 / len(signs)))
        parts.append((Points(x, t, np.full(len(rows), index)), y, even))
    pending = [trial for trial in trials if trial.state is TrialState.RUNNING and not trial.intermediate_values]
    return Data(
        points=functools.reduce(operator.add, (points for points, _, _ in parts)),
        y=np.concatenate([y for _, y, _ in parts]),
        even=np.concatenate([even for _, _, even in parts]),
        pending=cube.points([trial.params for trial in pending]),
    )


def _kept(
    rows: Sequence[tuple[FrozenTrial, int, np.ndarray]], worth: np.ndarray, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of the (trial, step, values) to keep, by their worth `[n]`."""
    steps = np.array([step for _, step, _ in rows])
    # The best ones, with which all are compared, and the last trial's, which may be the one to judge.
    is_needed = np.array([trial is rows[-1][0] for trial, _, _ in rows])
    is_needed[np.argsort(-worth, kind="stable")[: limit // 20]] = True
    # Of the trials that were stopped first, the majority, a random part is enough.
    is_short = steps == steps.min()
    longer = np.flatnonzero(~is_short & ~is_needed)[::-1][: max(limit * 3 // 4 - is_needed.sum(), 0)]
    short = rng.permutation(np.flatnonzero(is_short & ~is_needed))
    return np.sort([*np.flatnonzero(is_needed), *longer, *short[: max(limit - is_needed.sum() - len(longer), 0)]])


def _curve(trial: FrozenTrial, last: int, signs: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(step, values), larger is better: with one objective the best so far; a failed trial has the worst value."""
    worst = np.full(len(signs), -math.inf)
    if trial.state is TrialState.FAIL and not _was_stopped(trial):
        return [(last, worst)]
    reported = _reported(trial, len(signs))
    if not reported:
        if trial.state is not TrialState.COMPLETE or not trial.values:
            return []
        reported = [(last, trial.values)]
    curve, best, rung = [], worst, 1
    for index, (step, values) in enumerate(reported):
        signed = signs * values
        if len(signs) > 1:
            best = signed
        elif math.isfinite(signed[0]):
            best = np.maximum(best, signed)
        if step >= rung or index == len(reported) - 1:
            curve.append((max(step, 1), best))
        while rung <= step:
            rung *= _ETA
    if trial.state is TrialState.COMPLETE:
        # It has run to its end, whatever the lengths of the others. The final value counts, not those on the way.
        curve[-1] = (last, signs * trial.values if trial.values else best)
    return curve


def _was_stopped(trial: FrozenTrial) -> bool:
    """Whether a trial that Optuna has as failed was only stopped."""
    return trial.user_attrs.get(OUTCOME, {}).get("state") in _STOPPED


def _has_reported(trial: FrozenTrial, num_objectives: int) -> bool:
    return bool(trial.intermediate_values) if num_objectives == 1 else bool(_reported(trial, num_objectives))


def _reported(trial: FrozenTrial, num_objectives: int) -> list[tuple[int, Sequence[float]]]:
    """(step, one value for each objective), by steps."""
    if num_objectives == 1:
        return [(step, [value]) for step, value in sorted(trial.intermediate_values.items())]
    found = ((key.removeprefix(VALUES), values) for key, values in trial.user_attrs.items() if key.startswith(VALUES))
    return sorted((int(step), values) for step, values in found)


def _log_gain(model: GaussianProcess, points: np.ndarray, best: float) -> np.ndarray:
    """`[n]`, logarithms of the expected improvement on `best` at the end of configurations `[n, d]`."""
    mean, deviation = model.predict(Points.at_the_end(points))
    gain: np.ndarray = log_expected_improvement((mean - best) / deviation) + np.log(deviation)
    return gain


def log_expected_improvement(z: np.ndarray) -> np.ndarray:
    """log(z Phi(z) + phi(z)), which does not underflow for z far below 0 (Ament et al., LogEI, 2023)."""
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    # For z far below 0, z Phi(z) + phi(z) is about phi(z) / z^2.
    far = np.minimum(z, -10.0)
    near = np.maximum(z, -10.0)
    exact = log_ndtr(near) + np.log(near + np.exp(-0.5 * near**2 - 0.5 * math.log(2 * math.pi) - log_ndtr(near)))
    found: np.ndarray = np.where(z < -10.0, log_density - 2 * np.log(-far), exact)
    return found


def scores(values: np.ndarray) -> np.ndarray:
    """`[n]`, centred and of unit variance, falling with the square root of the distance below the best.

    So differences among good values count more than among bad ones. Ranks would not do: near-copies of a good
    configuration, however little they differ, would be as far from each other as from anything else. A Gaussian process
    that follows such a crowd gets so short length scales that it knows nothing about other regions, and the search
    stays where it is. Nor must one diverged loss flatten all others.
    """
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return np.zeros(len(values))
    # Half the values keep their order, and all their differences are finite.
    values = values / 2
    best = values[is_finite].max()
    unit = best - np.quantile(values[is_finite], 0.25)
    below = np.full(len(values), _DEEPEST)
    with np.errstate(over="ignore"):  # anything that far below counts the same
        below[is_finite] = np.minimum((best - values[is_finite]) / (unit or 1.0), _DEEPEST)
    depth = np.sqrt(below + _NEAREST)
    return np.asarray((depth.mean() - depth) / (depth.std() or 1.0))


def weighed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[n]` for `values` `[n, objectives]`: `scores`, or the largest weighted distance from an objective's best.

    This is the augmented Tchebycheff function of ParEGO: whatever the weights, its best point is on the front, and each
    point of the front is the best for some weights.
    """
    found = np.stack([scores(column) for column in values.T], axis=1)
    if len(weights) == 1:
        return np.asarray(found[:, 0])
    behind = weights * (found.max(axis=0) - found)
    depth = behind.max(axis=1) + _SUM * behind.sum(axis=1)
    return np.asarray((depth.mean() - depth) / (depth.std() or 1.0))
