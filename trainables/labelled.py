"""Inputs in memory with their classes, images and recordings alike; knows nothing of files, models or trials."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Labelled:
    """Inputs `[n, ...]` and their classes: `labels`, int64 `[n]`, are indices of `class_names`."""

    inputs: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor | slice) -> "Labelled":
        return Labelled(self.inputs[rows], self.labels[rows], self.class_names)

    def to(self, device: torch.device | str) -> "Labelled":
        return Labelled(self.inputs.to(device), self.labels.to(device), self.class_names)


@dataclass(frozen=True)
class Development:
    """What training and the search see.

    Attributes:
        mean, std: of the training rows, of each channel or band.
    """

    train: Labelled
    validation: Labelled
    mean: torch.Tensor
    std: torch.Tensor

    def to(self, device: torch.device | str) -> "Development":
        return Development(self.train.to(device), self.validation.to(device), self.mean.to(device), self.std.to(device))
