import json
import math

import numpy as np
import pytest

from trainables.data.metrics import (
    calibration_error,
    classification_metrics,
    classification_report,
    log_loss,
    macro_auc,
    regression_metrics,
)


def sure(*predictions: int, classes: int = 2) -> np.ndarray:
    """Probabilities of somebody who is always sure."""
    return np.eye(classes)[list(predictions)]


def test_macro_averages_count_each_class_alike() -> None:
    metrics = classification_metrics("val", np.array([0, 0, 0, 1]), sure(0, 0, 1, 1))
    assert metrics == pytest.approx(
        {
            "val_accuracy": 3 / 4,
            "val_balanced_accuracy": (2 / 3 + 1) / 2,
            "val_precision": (1 + 1 / 2) / 2,
            "val_recall": (2 / 3 + 1) / 2,
            "val_f1": (4 / 5 + 2 / 3) / 2,
            "val_auc": 5 / 6,
            "val_calibration_error": 1 / 4,
        }
    )
    assert all(type(value) is float for value in metrics.values())


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    metrics = classification_metrics("test", np.array([0, 1]), sure(0, 0))
    assert metrics["test_precision"] == 1 / 4
    assert metrics["test_recall"] == 1 / 2


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_predicted_and_absent_counts_for_precision_alone() -> None:
    metrics = classification_metrics("val", np.array([0, 0, 1, 1]), sure(0, 2, 1, 1, classes=3))
    assert metrics["val_balanced_accuracy"] == 3 / 4
    assert metrics["val_auc"] == pytest.approx((3 / 4 + 1) / 2)


def test_probabilities_that_are_no_numbers_make_the_metrics_so() -> None:
    assert all(map(math.isnan, classification_metrics("val", np.array([0, 1]), np.full((2, 2), np.nan)).values()))
    assert math.isnan(log_loss(np.array([0, 1]), np.full((2, 2), np.nan)))
    assert math.isnan(regression_metrics("val", np.array([1.0, 2.0]), np.array([1.0, np.nan]))["val_rmse"])


def test_the_auc_of_one_class_alone_is_not_there() -> None:
    assert math.isnan(macro_auc(np.array([1, 1]), sure(1, 1)))


def test_calibration_error_is_the_distance_between_confidence_and_accuracy() -> None:
    labels = np.array([0] * 9 + [1])
    assert calibration_error(labels, np.tile([0.9, 0.1], (10, 1))) == pytest.approx(0.0)
    assert calibration_error(labels, np.tile([0.6, 0.4], (10, 1))) == pytest.approx(0.3)
    assert calibration_error(labels, sure(*[0] * 10)) == pytest.approx(0.1)


def test_log_loss_of_a_sure_error_is_bounded() -> None:
    assert log_loss(np.array([0]), np.array([[0.25, 0.75]])) == pytest.approx(math.log(4))
    assert log_loss(np.array([0]), sure(1)) == pytest.approx(7 * math.log(10))


def test_regression_metrics_of_the_mean_and_of_the_truth() -> None:
    targets = np.array([1.0, 2.0, 6.0])
    assert regression_metrics("val", targets, targets) == {"val_r2": 1.0, "val_rmse": 0.0, "val_mae": 0.0}
    mean = regression_metrics("val", targets, np.full(3, 3.0))
    assert mean == pytest.approx({"val_r2": 0.0, "val_rmse": math.sqrt(14 / 3), "val_mae": 2.0})


def test_the_report_has_classes_averages_and_the_confusion_matrix() -> None:
    report = classification_report(np.array([0, 0, 0, 1]), sure(0, 0, 1, 1, classes=3), ["cat", "dog", "emu"])
    assert json.loads(json.dumps(report)) == report
    assert report["classes"]["cat"]["recall"] == pytest.approx(2 / 3)
    assert report["classes"]["emu"]["support"] == 0
    named = classification_report(np.array([0, 0, 0, 1]), sure(0, 0, 1, 1), ["accuracy", "macro avg"])
    assert named["classes"]["accuracy"] == {
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1-score": pytest.approx(0.8),
        "support": 3.0,
    }
    assert report["averages"]["micro"]["f1"] == pytest.approx(3 / 4)
    assert set(report["averages"]) == {"macro", "micro", "weighted"}
    assert report["confusion_matrix"] == {
        "classes": ["cat", "dog", "emu"],
        "rows": [[2, 1, 0], [0, 1, 0], [0, 0, 0]],
    }
    assert "emu" in report["text"]
