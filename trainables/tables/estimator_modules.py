"""Scikit-learn's fitted models as PyTorch modules, so that they can be exported as networks are.

Each takes rows `[n, inputs]` and gives log-probabilities `[n, classes]` or values `[n]`, in double precision inside: a
row that lies on a threshold must fall to the same side.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from torch import nn


def as_module(model: Any) -> nn.Module:
    """The module of a model that `fit_estimator` has fitted to all classes."""
    if isinstance(model, RandomForestClassifier | RandomForestRegressor):
        return _forest(model)
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return _boosting(model)
    if isinstance(model, CalibratedClassifierCV):
        calibrated = model.calibrated_classifiers_[0]
        return Calibrated(Kernel(calibrated.estimator), len(model.classes_), float(calibrated.calibrators[0].beta_))
    if hasattr(model, "support_vectors_"):
        return Kernel(model)
    return Linear(model)


class Linear(nn.Module):
    """Logistic or ridge regression."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.weight = _constant(np.atleast_2d(model.coef_))
        self.bias = _constant(np.atleast_1d(model.intercept_))
        self._is_classifier = hasattr(model, "classes_")

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out = rows.double() @ self.weight.T + self.bias
        return _log_probabilities(out) if self._is_classifier else out.squeeze(1)


class Trees(nn.Module):
    """A classifier or a regressor by the mean, or the sum and a constant, of decision trees.

    Args:
        trees: of each the feature and threshold of its nodes, their left and right ones (a leaf has itself), `[nodes]`,
            and what a leaf gives, `[nodes, outputs]`.
        depth: of the deepest.
    """

    def __init__(
        self,
        trees: Sequence[tuple[np.ndarray, ...]],
        depth: int,
        *,
        is_mean: bool,
        is_classifier: bool,
        constant: Any = 0.0,
    ) -> None:
        super().__init__()
        size = max(len(tree[0]) for tree in trees)
        feature, threshold, left, right, value = (
            np.stack([_filled(tree[part], size) for tree in trees]) for part in range(5)
        )
        self.feature, self.left, self.right = (_constant(part.astype(np.int64)) for part in (feature, left, right))
        self.threshold, self.value = _constant(threshold), _constant(value)
        self.constant = _constant(np.asarray(constant))
        self._depth, self._is_mean, self._is_classifier = depth, is_mean, is_classifier

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.double()
        tree = torch.arange(len(self.feature), device=rows.device)
        node = torch.zeros(rows.shape[0], self.feature.shape[0], dtype=torch.int64, device=rows.device)
        for _ in range(self._depth):
            is_left = rows.gather(1, self.feature[tree, node]) <= self.threshold[tree, node]
            node = torch.where(is_left, self.left[tree, node], self.right[tree, node])
        found = self.value[tree, node]
        out = found.mean(dim=1) if self._is_mean else found.sum(dim=1) + self.constant
        if not self._is_classifier:
            return out.squeeze(1)
        # A leaf of a forest gives probabilities, one of a boosted tree a part of the logits.
        return out.clamp(min=1e-12).log() if self._is_mean else _log_probabilities(out)


class Kernel(nn.Module):
    """A support vector machine with scikit-learn's radial kernel; a classifier gives its decision function."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vectors = _constant(model.support_vectors_)
        self.gamma = _constant(np.asarray(model._gamma))
        self._num_classes = len(model.classes_) if hasattr(model, "classes_") else 0
        weights = _pair_weights(model) if self._num_classes > 2 else model.dual_coef_
        self.weights, self.bias = _constant(weights), _constant(model.intercept_)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.double()
        squares = (rows**2).sum(1, keepdim=True) + (self.vectors**2).sum(1) - 2 * rows @ self.vectors.T
        out = torch.exp(-self.gamma * squares.clamp(min=0)) @ self.weights.T + self.bias
        return _votes(out, self._num_classes) if self._num_classes > 2 else out.squeeze(1)


class Calibrated(nn.Module):
    """Log-probabilities of a decision function, by a temperature."""

    def __init__(self, decision: Kernel, num_classes: int, beta: float) -> None:
        super().__init__()
        self.decision = decision
        self._num_classes, self._beta = num_classes, beta

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out = self.decision(rows)
        logits = torch.stack([-out, out], dim=1) if self._num_classes == 2 else out
        return (self._beta * logits).log_softmax(dim=1)


def _forest(model: Any) -> nn.Module:
    trees = []
    for one in model.estimators_:
        tree = one.tree_
        is_leaf = tree.children_left < 0
        itself = np.arange(tree.node_count)
        left = np.where(is_leaf, itself, tree.children_left)
        right = np.where(is_leaf, itself, tree.children_right)
        trees.append((np.maximum(tree.feature, 0), tree.threshold, left, right, tree.value[:, 0, :]))
    depth = max(one.tree_.max_depth for one in model.estimators_)
    return Trees(trees, depth, is_mean=True, is_classifier=hasattr(model, "classes_"))


def _boosting(model: Any) -> nn.Module:
    trees, depth = [], 0
    num_outputs = len(model._predictors[0])
    for iteration in model._predictors:
        for output, predictor in enumerate(iteration):
            nodes = predictor.nodes
            is_leaf, itself = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
            value = np.zeros((len(nodes), num_outputs))
            value[:, output] = nodes["value"]
            left, right = (np.where(is_leaf, itself, nodes[side]) for side in ("left", "right"))
            trees.append((np.maximum(nodes["feature_idx"], 0), nodes["num_threshold"], left, right, value))
            depth = max(depth, int(nodes["depth"].max()))
    constant = np.asarray(model._baseline_prediction).reshape(-1)
    is_classifier = hasattr(model, "classes_")
    return Trees(trees, depth, is_mean=False, is_classifier=is_classifier, constant=constant)


def _pair_weights(model: Any) -> np.ndarray:
    """For each pair of classes the weights of all support vectors, `[pairs, vectors]`, from libsvm's compact form."""
    ends = np.concatenate([[0], np.cumsum(model.n_support_)])
    rows = []
    for i, j in combinations(range(len(model.classes_)), 2):
        row = np.zeros(len(model.support_vectors_))
        row[ends[i] : ends[i + 1]] = model.dual_coef_[j - 1, ends[i] : ends[i + 1]]
        row[ends[j] : ends[j + 1]] = model.dual_coef_[i, ends[j] : ends[j + 1]]
        rows.append(row)
    return np.stack(rows)


def _votes(pairs: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Each class's votes of the pairs, with how sure they are to tell ties apart, as scikit-learn has them."""
    votes: list[Any] = [0.0] * num_classes
    sums: list[Any] = [0.0] * num_classes
    for pair, (i, j) in enumerate(combinations(range(num_classes), 2)):
        is_second = (pairs[:, pair] < 0).double()
        votes[i], votes[j] = votes[i] + 1 - is_second, votes[j] + is_second
        sums[i], sums[j] = sums[i] + pairs[:, pair], sums[j] - pairs[:, pair]
    sure = torch.stack(sums, dim=1)
    return torch.stack(votes, dim=1) + sure / (3 * (sure.abs() + 1))


def _log_probabilities(out: torch.Tensor) -> torch.Tensor:
    """Of two classes there is one output, that of the second."""
    return torch.cat([torch.zeros_like(out), out], 1).log_softmax(1) if out.shape[1] == 1 else out.log_softmax(1)


def _constant(values: Any) -> nn.Parameter:
    array = np.ascontiguousarray(values)
    tensor = torch.from_numpy(array if array.dtype.kind in "iu" else array.astype(np.float64))
    return nn.Parameter(tensor, requires_grad=False)


def _filled(part: np.ndarray, size: int) -> np.ndarray:
    """With rows of zeros up to `size`: a tree is never left for them."""
    return np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
