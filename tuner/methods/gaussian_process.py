"""A Gaussian process over configurations and steps: what a configuration would reach if it were trained on.

The covariance of f(x, t), x a point of the unit cube and t the logarithm of a step scaled to [0, 1]:

    k = k_x(x, x') (a + b k_t(t, t')) + c k_t(t, t')   and noise on the diagonal,

with a Matern-5/2 kernel k_x that has a length scale for each coordinate and a squared exponential k_t: what holds at
all steps, what changes with the step, and the curve that all configurations share. So a value after one step tells
of the last one as much as the two have agreed so far (cf. Swersky, Snoek and Adams, Freeze-Thaw Bayesian
Optimization, 2014; Kandasamy et al., BOCA, 2017). Knows nothing of Optuna.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

_JITTER = 1e-6


@dataclass(frozen=True)
class Kernel:
    """Logarithms of the hyperparameters.

    Attributes:
        theta: length scales of the coordinates `[d]`, then that of t, a, b, c and the noise's variance.
    """

    theta: np.ndarray

    @classmethod
    def prior_mean(cls, dimensions: int) -> "Kernel":
        lengths = np.full(dimensions, np.log(0.5 * np.sqrt(dimensions)))
        return cls(np.concatenate([lengths, np.log([0.5, 0.6, 0.3, 0.3, 0.03])]))

    def matrix(self, x: np.ndarray, t: np.ndarray, x2: np.ndarray, t2: np.ndarray) -> np.ndarray:
        """`[n, m]` covariances of f at `x [n, d], t [n]` and `x2 [m, d], t2 [m]`, without the noise."""
        *lengths, length_t, a, b, c, _ = np.exp(self.theta)
        k_x = _matern(_distances(x / lengths, x2 / lengths))
        k_t = np.exp(-0.5 * ((t[:, None] - t2[None, :]) / length_t) ** 2)
        matrix: np.ndarray = k_x * (a + b * k_t) + c * k_t
        return matrix

    def fitted(self, x: np.ndarray, t: np.ndarray, y: np.ndarray) -> "Kernel":
        """The most probable hyperparameters given values `y [n]`, sought from these on."""
        prior = Kernel.prior_mean(x.shape[1]).theta
        spread = np.concatenate([np.full(x.shape[1], 1.0), np.full(5, 1.0)])
        differences = (x[:, None, :] - x[None, :, :]) ** 2
        steps = (t[:, None] - t[None, :]) ** 2

        def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = negative_log_likelihood(theta, differences, steps, y)
            away = (theta - prior) / spread
            return value + 0.5 * float(away @ away), gradient + away / spread

        bounds = [(p - 4.0, p + 4.0) for p in prior]
        found = minimize(objective, self.theta, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 25})
        return Kernel(found.x)


def _distances(x: np.ndarray, x2: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(axis=1)[:, None] + (x2**2).sum(axis=1)[None, :] - 2 * x @ x2.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
    return distances


def _matern(r: np.ndarray) -> np.ndarray:
    scaled = np.sqrt(5.0) * r
    values: np.ndarray = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return values


def negative_log_likelihood(
    theta: np.ndarray, differences: np.ndarray, steps: np.ndarray, y: np.ndarray
) -> tuple[float, np.ndarray]:
    """With its gradient; `differences [n, n, d]` and `steps [n, n]` are squared."""
    num = len(y)
    *lengths, length_t, a, b, c, noise = np.exp(theta)
    inverse_squares = np.asarray(lengths) ** -2
    scaled = np.sqrt(5.0 * (differences @ inverse_squares))
    decay = np.exp(-scaled)
    k_x = (1 + scaled + scaled**2 / 3) * decay
    k_t = np.exp(-0.5 * steps / length_t**2)
    outer = a + b * k_t
    matrix = k_x * outer + c * k_t + (noise + _JITTER) * np.eye(num)
    factor = cholesky(matrix, lower=True, check_finite=False)
    alpha = cho_solve((factor, True), y, check_finite=False)
    value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor)).sum())
    # d value = 0.5 sum(weights * dK)
    weights = cho_solve((factor, True), np.eye(num), check_finite=False) - np.outer(alpha, alpha)
    # dk_x/dlog length_i = 5/3 (1 + scaled) exp(-scaled) difference_i / length_i^2
    by_length = weights * outer * (5.0 / 3.0) * (1 + scaled) * decay
    gradient = [*(np.tensordot(by_length, differences, axes=2) * inverse_squares)]
    weighted_t = weights * k_t
    gradient.append(float((weighted_t * (b * k_x + c) * steps).sum()) / length_t**2)
    gradient.append(a * float((weights * k_x).sum()))
    gradient.append(b * float((weighted_t * k_x).sum()))
    gradient.append(c * float(weighted_t.sum()))
    gradient.append(noise * float(np.trace(weights)))
    return value, 0.5 * np.asarray(gradient)


class GaussianProcess:
    """The posterior given values `y [n]` at `x [n, d], t [n]`."""

    def __init__(self, kernel: Kernel, x: np.ndarray, t: np.ndarray, y: np.ndarray) -> None:
        self._kernel, self._x, self._t = kernel, x, t
        matrix = kernel.matrix(x, t, x, t)
        matrix[np.diag_indices(len(y))] += np.exp(kernel.theta[-1]) + _JITTER
        self._factor = cholesky(matrix, lower=True, check_finite=False)
        self._alpha = cho_solve((self._factor, True), y, check_finite=False)

    def predict(self, x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of f, each `[m]`."""
        between = self._kernel.matrix(self._x, self._t, x, t)
        solved = solve_triangular(self._factor, between, lower=True, check_finite=False)
        a, b, c = np.exp(self._kernel.theta[-4:-1])
        variances = a + b + c - (solved**2).sum(axis=0)
        return between.T @ self._alpha, np.sqrt(np.maximum(variances, 1e-10))

    def mean(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Means alone, which cost less."""
        means: np.ndarray = self._kernel.matrix(self._x, self._t, x, t).T @ self._alpha
        return means
