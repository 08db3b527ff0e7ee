"""Metrics of a classifier, from labels and predictions; knows nothing of models or trials."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

Classes = npt.NDArray[np.int64]


def classification_metrics(prefix: str, labels: Classes, predictions: Classes) -> dict[str, float]:
    """Accuracy, and macro-averaged precision, recall and F1, each under `prefix`_name.

    The classes averaged over are those among labels and predictions; a class that was never predicted has
    precision 0.

    Args:
        labels, predictions: class indices, `[n]`.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    return {
        f"{prefix}_accuracy": float(accuracy_score(labels, predictions)),
        f"{prefix}_precision": float(precision),
        f"{prefix}_recall": float(recall),
        f"{prefix}_f1": float(f1),
    }
