import numpy as np
import pytest

from trainables.metrics import classification_metrics


def test_macro_averages_count_each_class_alike() -> None:
    metrics = classification_metrics("val", np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert metrics == pytest.approx(
        {
            "val_accuracy": 3 / 4,
            "val_precision": (1 + 1 / 2) / 2,
            "val_recall": (2 / 3 + 1) / 2,
            "val_f1": (4 / 5 + 2 / 3) / 2,
        }
    )
    assert all(type(value) is float for value in metrics.values())


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    metrics = classification_metrics("test", np.array([0, 1]), np.array([0, 0]))
    assert metrics["test_precision"] == 1 / 4
    assert metrics["test_recall"] == 1 / 2
