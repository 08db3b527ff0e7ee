"""Inputs in memory with their classes, images and recordings alike; knows nothing of files, models or trials."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Labelled:
    """Inputs `[n, ...]` and their classes: `labels`, int64 `[n]`, are indices of `class_names`.

    The labels are on the device of the training, the inputs there or in the host's memory. `notes` tell what was left
    out.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor | slice) -> "Labelled":
        return Labelled(self.inputs[rows], self.labels[rows], self.class_names, self.notes)

    def noted(self, *notes: str) -> "Labelled":
        return replace(self, notes=(*self.notes, *notes))

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """The inputs of rows, from their numbers `[n]`, on the device of the labels."""
        return self.inputs[rows.to(self.inputs.device)].to(self.labels.device)

    def to(self, device: torch.device | str, *, with_inputs: bool = True) -> "Labelled":
        inputs = self.inputs.to(device) if with_inputs else self.inputs
        return Labelled(inputs, self.labels.to(device), self.class_names, self.notes)


@dataclass(frozen=True)
class Development:
    """What training and the search see.

    Attributes:
        mean, std: of the training rows, of each channel or band.
        held_out: the fingerprint of the validation rows.
    """

    train: Labelled
    validation: Labelled
    mean: torch.Tensor
    std: torch.Tensor
    held_out: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Each once: both may be of the same files."""
        return tuple(dict.fromkeys((*self.train.notes, *self.validation.notes)))

    @property
    def num_bytes(self) -> int:
        """Of the inputs."""
        return self.train.inputs.nbytes + self.validation.inputs.nbytes

    def to(self, device: torch.device | str, *, with_inputs: bool = True) -> "Development":
        train, validation = (rows.to(device, with_inputs=with_inputs) for rows in (self.train, self.validation))
        return Development(train, validation, self.mean.to(device), self.std.to(device), self.held_out)
