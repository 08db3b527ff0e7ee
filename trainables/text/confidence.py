"""How sure a classifier is, and below which confidence an input is of no class that it knows."""

import numpy as np
import torch
from sklearn.metrics import precision_recall_curve

from trainables.text.texts import UNKNOWN

# The largest share of known inputs that the threshold may take for unknown ones.
MOST_REJECTED = 0.05


def confidence_of(logits: torch.Tensor) -> np.ndarray:
    """The highest probability of each row (the baseline of Hendrycks & Gimpel 2017, arXiv:1610.02136), `[n]`."""
    confidence: np.ndarray = logits.cpu().softmax(dim=1).amax(dim=1).numpy()
    return confidence


def threshold_of(labels: torch.Tensor, logits: torch.Tensor) -> float:
    """With less confidence an input is of no class that is known.

    The one with the best F1 at telling the unknown ones among the validation rows; where none are unknown, the one
    that would reject `MOST_REJECTED` of those that are known.
    """
    confidence, unknown = confidence_of(logits), (labels == UNKNOWN).numpy()
    if not np.isfinite(confidence).all():
        return 0.0
    if not unknown.any():
        return float(np.quantile(confidence, MOST_REJECTED))
    precision, recall, bars = precision_recall_curve(unknown, -confidence)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return float(np.nextafter(-bars[int(f1[:-1].argmax())], np.float32(1)))
