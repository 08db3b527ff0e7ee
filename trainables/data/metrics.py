"""Metrics of classifiers and regressors, from labels and predictions; knows nothing of models or trials."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

Classes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

CALIBRATION_BINS = 15


def classification_metrics(prefix: str, labels: Classes, probabilities: Floats) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro precision, recall and F1, AUC and calibration error, each `prefix`_name.

    Precision, recall and F1 are averaged over the classes among labels and predictions; a class that was never
    predicted has precision 0. All are NaN where a probability is.

    Args:
        labels: class indices, `[n]`.
        probabilities: `[n, classes]`.
    """
    names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "calibration_error")
    if not np.isfinite(probabilities).all():
        return {f"{prefix}_{name}": float("nan") for name in names}
    predictions = probabilities.argmax(axis=1)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    values = (
        sk.accuracy_score(labels, predictions),
        np.mean([(predictions[labels == label] == label).mean() for label in np.unique(labels)]),
        precision,
        recall,
        f1,
        macro_auc(labels, probabilities),
        calibration_error(labels, probabilities),
    )
    return {f"{prefix}_{name}": float(value) for name, value in zip(names, values, strict=True)}


def macro_auc(labels: Classes, probabilities: Floats) -> float:
    """Mean over the classes of the area under the ROC curve of one against the rest.

    A class that none or all of the rows have is left out; NaN where no other is left.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([sk.roc_auc_score(labels == label, probabilities[:, label]) for label in present]))


def calibration_error(labels: Classes, probabilities: Floats) -> float:
    """Expected calibration error: of 15 equal bins of the highest probability, weighted by their rows, the mean
    distance between it and the accuracy (Guo et al. 2017, eq. 3)."""
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    distances = np.bincount(bins, weights=confidence - is_right, minlength=CALIBRATION_BINS)
    return float(np.abs(distances).sum() / len(labels))


def log_loss(labels: Classes, probabilities: Floats) -> float:
    """Mean negative logarithm of the right class's probability, held above 1e-7; NaN where a probability is."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-7)).mean())


def regression_metrics(prefix: str, targets: Floats, predictions: Floats) -> dict[str, float]:
    """R², root mean squared error and mean absolute error, each `prefix`_name; NaN where a prediction is."""
    residuals = predictions - targets
    spread = ((targets - targets.mean()) ** 2).sum()
    return {
        f"{prefix}_r2": float(1.0 - (residuals**2).sum() / spread) if spread > 0 else float("nan"),
        f"{prefix}_rmse": float(np.sqrt((residuals**2).mean())),
        f"{prefix}_mae": float(np.abs(residuals).mean()),
    }


def classification_report(
    labels: Classes, probabilities: Floats, class_names: Sequence[str], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """All there is to say of a classifier: per class, averaged (macro, micro, weighted), the confusion matrix.

    Its `text` is the same for people. A row of the confusion matrix is a true class, a column a predicted one; `notes`
    are sentences on the rows.
    """
    predictions = probabilities.argmax(axis=1)
    indices = list(range(len(class_names)))
    arguments = {"labels": indices, "target_names": list(class_names), "zero_division": 0}
    averages = {average: _averaged(labels, predictions, average, indices) for average in ("macro", "micro", "weighted")}
    columns = sk.precision_recall_fscore_support(labels, predictions, labels=indices, average=None, zero_division=0)
    measures = ("precision", "recall", "f1-score", "support")
    table = [dict(zip(measures, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
    matrix = sk.confusion_matrix(labels, predictions, labels=indices)
    scores = classification_metrics("test", labels, probabilities)
    text = sk.classification_report(labels, predictions, digits=4, **arguments)
    return {
        "rows": len(labels),
        "classes": dict(zip(class_names, table, strict=True)),
        "averages": averages,
        "scores": scores,
        "confusion_matrix": {"classes": list(class_names), "rows": matrix.tolist()},
        "notes": list(notes),
        "text": f"{text}\n{_as_text(scores)}\n\n{_matrix_as_text(matrix, class_names)}{as_lines(notes)}",
    }


def as_lines(notes: Sequence[str]) -> str:
    """Sentences for the end of a report's text."""
    return "".join(f"{note}\n" for note in notes)


def _averaged(labels: Classes, predictions: Classes, average: str, indices: list[int]) -> dict[str, float]:
    found = sk.precision_recall_fscore_support(labels, predictions, labels=indices, average=average, zero_division=0)
    return {name: float(value) for name, value in zip(("precision", "recall", "f1"), found[:3], strict=True)}


def _as_text(scores: dict[str, float]) -> str:
    return "\n".join(f"{name}: {value:.4f}" for name, value in scores.items())


def _matrix_as_text(matrix: npt.NDArray[np.int64], class_names: Sequence[str]) -> str:
    width = max(len(str(matrix.max())), *(len(name) for name in class_names)) + 2
    head = " " * width + "".join(f"{name:>{width}}" for name in class_names)
    rows = [
        f"{name:>{width}}" + "".join(f"{count:>{width}}" for count in row)
        for name, row in zip(class_names, matrix, strict=True)
    ]
    return "\n".join(["confusion matrix (rows: true, columns: predicted)", head, *rows]) + "\n"
