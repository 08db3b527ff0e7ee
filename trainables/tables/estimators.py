"""Scikit-learn's models by name, fitted to a matrix; knows nothing of columns or trials."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC, SVR

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]


class Estimator(NamedTuple):
    """How to make the classifier and the regressor of a name, and the arguments that may be given to both."""

    classifier: Callable[..., Any]
    regressor: Callable[..., Any]
    arguments: tuple[str, ...]


def _svc(random_state: int, **arguments: Any) -> Any:
    # A temperature found on three folds of the rows makes probabilities of distances, and leaves their order alone.
    return CalibratedClassifierCV(SVC(**arguments), method="temperature", ensemble=False, cv=3)


def _ridge(random_state: int, C: float | None = None) -> Any:
    return Ridge() if C is None else Ridge(alpha=1 / C)


ESTIMATORS: dict[str, Estimator] = {
    "hist_gradient_boosting": Estimator(
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        ("learning_rate", "max_iter", "max_leaf_nodes", "min_samples_leaf", "l2_regularization", "max_features"),
    ),
    "random_forest": Estimator(
        RandomForestClassifier,
        RandomForestRegressor,
        ("n_estimators", "max_features", "min_samples_leaf"),
    ),
    "svm": Estimator(_svc, lambda random_state, **arguments: SVR(**arguments), ("C", "gamma")),
    # A hundred steps, the default, are too few for some data.
    "linear": Estimator(lambda **arguments: LogisticRegression(max_iter=1000, **arguments), _ridge, ("C",)),
}


@dataclass(frozen=True)
class Fitted:
    """From rows `[n, inputs]` to class probabilities `[n, num_classes]`, or values `[n]` where that is 0."""

    model: Any
    num_classes: int

    def __call__(self, x: Matrix) -> Floats:
        if not self.num_classes:
            return np.asarray(self.model.predict(x), np.float64)
        probabilities = np.zeros((len(x), self.num_classes))
        probabilities[:, self.model.classes_] = self.model.predict_proba(x)  # a fold may lack a class
        return probabilities


def fit_estimator(
    name: str,
    x: Matrix,
    y: npt.NDArray[Any],
    num_classes: int,
    *,
    given: Mapping[str, Any],
    class_weight: str | None,
    seed: int,
) -> Fitted:
    """A model of all of `x`, `[n, inputs]`.

    Args:
        y: class indices, or float values where `num_classes` is 0, `[n]`.
        given: arguments by name, those that the model does not have among them; the others have their defaults.
    """
    estimator = ESTIMATORS[name]
    arguments = {key: value for key, value in given.items() if key in estimator.arguments}
    if not num_classes:
        return Fitted(estimator.regressor(random_state=seed, **arguments).fit(x, y), 0)
    classifier = estimator.classifier(random_state=seed, class_weight=class_weight, **arguments)
    return Fitted(classifier.fit(x, y), num_classes)
