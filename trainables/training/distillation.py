"""Learning from a larger model, the teacher, besides the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

from trainables.training.settings import POSITIVE, Allowed, Range
from tuner.trial.portable import Model, load_exported, read_exported


@dataclass(frozen=True)
class Distillation:
    """The parameters of a trial that may have a teacher.

    Attributes:
        teacher: the folder of a model that `tuner export` has written, of the same task; empty for none.
        temperature: that the logits of both are divided by, before they are compared.
        teacher_weight: of the difference from the teacher in the loss; the rest is of the labels.
    """

    teacher: str = ""
    temperature: float = 2.0
    teacher_weight: float = 0.5

    def distil(
        self, loss: torch.Tensor, logits: torch.Tensor, taught: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss of a batch.

        Args:
            loss: that of the labels.
            logits, taught: the model's and the teacher's, `[n, classes]`.
            weights: what each counts for, `[n]`; all alike if None.
        """
        own, wanted = (log_softmax(one.float() / self.temperature, dim=1) for one in (logits, taught))
        differences = kl_div(own, wanted, reduction="none", log_target=True).sum(dim=1) * self.temperature**2
        if weights is None:
            difference = differences.mean()
        else:
            difference = (differences * weights).sum() / weights.sum().clamp(min=1e-6)
        return (1 - self.teacher_weight) * loss + self.teacher_weight * difference


def find_teacher(path: str) -> None:
    """Raises ValueError where there is no exported model; nothing is no teacher."""
    if path:
        read_exported(Path(path).expanduser())


DISTILLATION: dict[str, Allowed] = {
    "teacher": find_teacher,
    "temperature": POSITIVE,
    "teacher_weight": Range(0, 1),
}


def load_teacher(path: str, device: torch.device | str) -> tuple[Mapping[str, Any], Model]:
    """The config and the model of a teacher."""
    return load_exported(Path(path).expanduser(), device)


def check_teacher(path: str, known: Sequence[str], classes: Sequence[str]) -> None:
    """Raises ValueError where it knows other classes."""
    if list(known) != list(classes):
        raise ValueError(f"teacher {path} knows other classes than those of the data, or in another order")


def told_of_teacher(path: str, held_out: str) -> list[str]:
    """A sentence on a teacher that may have been trained on the rows that its pupil is judged by; none if it was not.

    Args:
        held_out: the fingerprint of the validation rows, which an exported model has of its own.
    """
    if not path or (own := read_exported(Path(path).expanduser())["config"].get("held_out", "")) == held_out:
        return []
    why = "was validated with other rows than these" if own else "does not tell which rows it was validated with"
    return [
        f"teacher {path} {why}: it may have been trained on some of these and of the test, which flatters its pupil"
    ]
