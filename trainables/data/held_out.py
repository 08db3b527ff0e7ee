"""What is doubtful about the rows that a classifier is judged by; knows nothing of files or models."""

from collections.abc import Sequence

import torch

from tuner.trial.trial import Trial

# With fewer rows a metric says little.
FEWEST_JUDGED = 30


def told_of_held_out(part: str, what: str, labels: torch.Tensor, class_names: Sequence[str]) -> list[str]:
    """Sentences on a held out part that is tiny, or lacks a class; none if it is sound."""
    notes = []
    if len(labels) < FEWEST_JUDGED:
        share = 100 / max(1, len(labels))
        notes.append(f"the {part} set has {len(labels)} {what}, of which each counts for {share:.0f} %")
    if missing := _missing(labels, class_names):
        notes.append(f"the {part} set has no {what} of {missing}")
    return notes


def check_judged(trial: Trial, what: str, labels: torch.Tensor, class_names: Sequence[str]) -> None:
    """Raises ValueError where a metric of the sweep can't be had from the validation rows."""
    if any(metric.name == "val_auc" for metric in trial.metrics) and int((labels.bincount() > 0).sum()) < 2:
        raise ValueError(
            f"val_auc can't be had: the validation set has {len(labels)} {what}, none of them of "
            f"{_missing(labels, class_names)}; add some, or choose another metric"
        )


def _missing(labels: torch.Tensor, class_names: Sequence[str]) -> str:
    counts = labels.bincount(minlength=len(class_names)).tolist()
    return ", ".join(name for name, count in zip(class_names, counts, strict=True) if not count)
