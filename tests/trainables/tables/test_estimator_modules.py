import numpy as np
import pytest
import torch

from trainables.tables.estimator_modules import as_module
from trainables.tables.estimators import ESTIMATORS, fit_estimator

QUICK = {"n_estimators": 10, "max_iter": 10}


@pytest.mark.parametrize("num_classes", [0, 2, 4])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_module_gives_what_the_model_gives(name: str, num_classes: int) -> None:
    random = np.random.default_rng(0)
    # Of few different values, so that many rows lie on a threshold.
    x = random.integers(0, 8, (200, 5)).astype(np.float32) / 4
    score = x[:, 0] + 2 * x[:, 1] * (x[:, 2] > 1) + 0.3 * random.normal(size=200)
    y = np.digitize(score, np.quantile(score, np.linspace(0, 1, num_classes + 1)[1:-1])) if num_classes else score
    fitted = fit_estimator(name, x, y, num_classes, given=QUICK, class_weight=None, seed=0)
    other = random.integers(0, 8, (500, 5)).astype(np.float32) / 4
    with torch.no_grad():
        out = as_module(fitted.model)(torch.from_numpy(other)).numpy()
    assert out.shape == ((500, num_classes) if num_classes else (500,))
    assert np.allclose(np.exp(out) if num_classes else out, fitted(other), atol=1e-6)
