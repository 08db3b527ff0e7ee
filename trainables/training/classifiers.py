"""The evaluation of a classifier whose inputs lie in memory; knows no task."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.data.labelled import Labelled
from trainables.data.metrics import classification_metrics, classification_report
from trainables.training.training import Judge, Training

EVALUATION_BATCH = 256


def judged_by(training: Training, held_out: Labelled) -> Judge:
    """Judges a classifier by its scores on the validation rows."""

    def scores() -> tuple[dict[str, float], dict[str, Any]]:
        logits = training.outputs(len(held_out), lambda rows: _logits(training.model, held_out, rows))
        return _scores("val", held_out, logits), {}

    return scores


def judge(model: nn.Module, test: Labelled, notes: Sequence[str]) -> dict[str, Any]:
    """The metrics on the test set, which is where the model is; `report` among them is the whole classification report.

    Args:
        notes: sentences on the rows, for the report.
    """
    logits = _logits(model, test, torch.arange(len(test)))
    probabilities = logits.softmax(dim=1).cpu().numpy()
    report = classification_report(test.labels.cpu().numpy(), probabilities, test.class_names, notes)
    return {**_scores("test", test, logits), "report": report}


@torch.no_grad()
def _logits(model: nn.Module, held_out: Labelled, rows: torch.Tensor) -> torch.Tensor:
    """What the model gives in evaluation mode for rows, from their numbers `[n]`: `[n, classes]`."""
    model.eval()
    return torch.cat([model(held_out.batch(part)) for part in torch.split(rows, EVALUATION_BATCH)])


def _scores(prefix: str, rows: Labelled, logits: torch.Tensor) -> dict[str, float]:
    metrics = classification_metrics(prefix, rows.labels.cpu().numpy(), logits.softmax(dim=1).cpu().numpy())
    return metrics | {f"{prefix}_loss": float(cross_entropy(logits, rows.labels))}
