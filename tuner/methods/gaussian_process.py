"""A Gaussian process over configurations and steps: predicts what a configuration would reach with more training.

The covariance of f(x, t, s), x a point of the unit cube, t the logarithm of a step scaled to [0, 1], s the sweep:

    k = r(s, s') k_x(x, x') (a + b k_t(t, t')) + c k_t(t, t')   and noise on the diagonal,

with a Matern-5/2 kernel k_x that has a length scale for each coordinate and a squared exponential k_t: what holds at
all steps, what changes with the step, and the curve that all configurations share. So a value after one step tells
of the last one as much as the two have agreed so far (cf. Swersky, Snoek and Adams, Freeze-Thaw Bayesian
Optimization, 2014; Kandasamy et al., BOCA, 2017). Likewise a value of an earlier sweep s tells of this one, s = 0, as
much as the two agree: r(0, s) is learned, and r(s, s') = r(0, s) r(0, s') between two earlier ones (cf. Swersky, Snoek
and Adams, Multi-Task Bayesian Optimization, 2013). Knows nothing of Optuna.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit

_JITTER = 1e-6


@dataclass(frozen=True)
class Points:
    """The points at which f is known, or wanted.

    Attributes:
        x: configurations `[n, d]`.
        t: scaled steps `[n]`; 1 is the last one.
        sweep: `[n]` of int; 0 is this sweep, the others are earlier ones.
    """

    x: np.ndarray
    t: np.ndarray
    sweep: np.ndarray

    @classmethod
    def at_the_end(cls, x: np.ndarray) -> Self:
        """Points of this sweep, at the last step."""
        return cls(x, np.ones(len(x)), np.zeros(len(x), dtype=int))

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: np.ndarray) -> "Points":
        return Points(self.x[rows], self.t[rows], self.sweep[rows])

    def __add__(self, other: "Points") -> "Points":
        return Points(
            np.vstack([self.x, other.x]), np.concatenate([self.t, other.t]), np.concatenate([self.sweep, other.sweep])
        )


@dataclass(frozen=True)
class Kernel:
    """Logarithms of the hyperparameters.

    Attributes:
        theta: length scales of the coordinates `[d]`, then that of t, a, b, c and the noise's variance; then the logit
            of each earlier sweep's agreement with this one.
        dimensions: d.
    """

    theta: np.ndarray
    dimensions: int

    @classmethod
    def prior_mean(cls, dimensions: int, num_earlier: int = 0) -> "Kernel":
        lengths = np.full(dimensions, np.log(0.5 * np.sqrt(dimensions)))
        return cls(np.concatenate([lengths, np.log([0.5, 0.6, 0.3, 0.3, 0.03]), np.zeros(num_earlier)]), dimensions)

    @property
    def num_earlier(self) -> int:
        return len(self.theta) - self.dimensions - 5

    @property
    def values(self) -> "Hyperparameters":
        lengths, rest = np.split(self.theta, [self.dimensions])
        length_t, a, b, c, noise = np.exp(rest[:5]).tolist()
        agreement = np.concatenate([[1.0], expit(rest[5:])])
        return Hyperparameters(np.exp(lengths), length_t, a, b, c, noise, agreement)

    def matrix(self, p: Points, q: Points) -> np.ndarray:
        """`[n, m]` covariances of f at two sets of points, without the noise."""
        h = self.values
        k_x = _matern(_distances(p.x / h.lengths, q.x / h.lengths))
        k_t = np.exp(-0.5 * ((p.t[:, None] - q.t[None, :]) / h.length_t) ** 2)
        related = _related(h.agreement, p.sweep, q.sweep) if self.num_earlier else 1.0
        matrix: np.ndarray = related * k_x * (h.a + h.b * k_t) + h.c * k_t
        return matrix

    def fitted(self, points: Points, y: np.ndarray) -> "Kernel":
        """The most probable hyperparameters given values `y [n]`, starting from these."""
        prior = Kernel.prior_mean(self.dimensions, self.num_earlier).theta
        spread = np.where(np.arange(len(prior)) < self.dimensions + 5, 1.0, 2.0)
        pairs = Pairs.of(points)

        def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = negative_log_likelihood(Kernel(theta, self.dimensions), pairs, y)
            away = (theta - prior) / spread
            return value + 0.5 * float(away @ away), gradient + away / spread

        bounds = [(p - 4.0, p + 4.0) for p in prior]
        found = minimize(objective, self.theta, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 25})
        return Kernel(found.x, self.dimensions)


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a kernel; `agreement [1 + earlier sweeps]` is 1 for this sweep itself."""

    lengths: np.ndarray
    length_t: float
    a: float
    b: float
    c: float
    noise: float
    agreement: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Values of all pairs of points that do not change while hyperparameters are fitted.

    Attributes:
        differences: squared, of each coordinate `[n, n, d]`.
        steps: squared differences `[n, n]`.
        sweep: of each point `[n]`.
    """

    differences: np.ndarray
    steps: np.ndarray
    sweep: np.ndarray

    @classmethod
    def of(cls, points: Points) -> Self:
        differences = (points.x[:, None, :] - points.x[None, :, :]) ** 2
        return cls(differences, (points.t[:, None] - points.t[None, :]) ** 2, points.sweep)


def _distances(x: np.ndarray, x2: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(axis=1)[:, None] + (x2**2).sum(axis=1)[None, :] - 2 * x @ x2.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
    return distances


def _matern(r: np.ndarray) -> np.ndarray:
    scaled = np.sqrt(5.0) * r
    values: np.ndarray = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return values


def _related(agreement: np.ndarray, sweep: np.ndarray, sweep2: np.ndarray) -> np.ndarray:
    """`[n, m]`: 1 within a sweep."""
    return np.where(sweep[:, None] == sweep2[None, :], 1.0, np.outer(agreement[sweep], agreement[sweep2]))


def negative_log_likelihood(kernel: Kernel, pairs: Pairs, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The negative log likelihood and its gradient."""
    num, h = len(y), kernel.values
    inverse_squares = h.lengths**-2
    scaled = np.sqrt(5.0 * (pairs.differences @ inverse_squares))
    decay = np.exp(-scaled)
    k_x = (1 + scaled + scaled**2 / 3) * decay
    k_t = np.exp(-0.5 * pairs.steps / h.length_t**2)
    related = _related(h.agreement, pairs.sweep, pairs.sweep) if kernel.num_earlier else 1.0
    outer = related * (h.a + h.b * k_t)
    matrix = k_x * outer + h.c * k_t + (h.noise + _JITTER) * np.eye(num)
    factor = cholesky(matrix, lower=True, check_finite=False)
    alpha = cho_solve((factor, True), y, check_finite=False)
    value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor)).sum())
    # d value = 0.5 sum(weights * dK)
    weights = cho_solve((factor, True), np.eye(num), check_finite=False) - np.outer(alpha, alpha)
    # dk_x/dlog length_i = 5/3 (1 + scaled) exp(-scaled) difference_i / length_i^2
    by_length = weights * outer * (5.0 / 3.0) * (1 + scaled) * decay
    gradient = [*(np.tensordot(by_length, pairs.differences, axes=2) * inverse_squares)]
    weighted_x, weighted_t = weights * related * k_x, weights * k_t
    gradient.append(float((weighted_t * (h.b * related * k_x + h.c) * pairs.steps).sum()) / h.length_t**2)
    gradient.append(h.a * float(weighted_x.sum()))
    gradient.append(h.b * float((weighted_x * k_t).sum()))
    gradient.append(h.c * float(weighted_t.sum()))
    gradient.append(h.noise * float(np.trace(weights)))
    for sweep in range(1, kernel.num_earlier + 1):
        # Of pairs with one point in that sweep; d agreement/d logit = agreement (1 - agreement).
        is_in = pairs.sweep == sweep
        between = (
            weights[is_in][:, ~is_in] * k_x[is_in][:, ~is_in] * np.broadcast_to(outer, k_x.shape)[is_in][:, ~is_in]
        )
        gradient.append(2.0 * (1.0 - h.agreement[sweep]) * float(between.sum()))
    return value, 0.5 * np.asarray(gradient)


class GaussianProcess:
    """The posterior given values `y [n]` at points. `factor [n, n]` of their covariances saves computing it."""

    def __init__(self, kernel: Kernel, points: Points, y: np.ndarray, factor: np.ndarray | None = None) -> None:
        self._kernel, self._points, self._y = kernel, points, y
        self._factor = cholesky(self._noisy(points), lower=True, check_finite=False) if factor is None else factor
        self._alpha = cho_solve((self._factor, True), y, check_finite=False)

    def believing(self, points: Points) -> "GaussianProcess":
        """The posterior if the points `[m]` reached their expected values; costs only the new rows."""
        between = self._kernel.matrix(self._points, points)
        below = solve_triangular(self._factor, between, lower=True, check_finite=False)
        corner = cholesky(self._noisy(points) - below.T @ below, lower=True, check_finite=False)
        factor = np.block([[self._factor, np.zeros(between.shape)], [below.T, corner]])
        y = np.concatenate([self._y, between.T @ self._alpha])
        return GaussianProcess(self._kernel, self._points + points, y, factor)

    def predict(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of f, each `[m]`."""
        between = self._kernel.matrix(self._points, points)
        solved = solve_triangular(self._factor, between, lower=True, check_finite=False)
        h = self._kernel.values
        variances = h.a + h.b + h.c - (solved**2).sum(axis=0)
        return between.T @ self._alpha, np.sqrt(np.maximum(variances, 1e-10))

    def mean(self, points: Points) -> np.ndarray:
        """Means only, which cost less."""
        means: np.ndarray = self._kernel.matrix(self._points, points).T @ self._alpha
        return means

    def _noisy(self, points: Points) -> np.ndarray:
        matrix = self._kernel.matrix(points, points)
        matrix[np.diag_indices(len(points))] += self._kernel.values.noise + _JITTER
        return matrix
