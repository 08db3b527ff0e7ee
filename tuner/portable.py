"""What a trainable hands over to be exported: a model, examples of what it takes, and what its use needs beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Portable:
    """A trained model, ready for use.

    Attributes:
        model: in evaluation mode, on the CPU; takes the inputs in their order and gives one tensor.
        inputs: an example of each, with two rows or more, by name.
        sizes: of each input the names of the dimensions that may have any size, by their places.
        config: what the trainable's `predict` needs beside the model; can be written as JSON.
        save_files: writes what else it needs into a folder, whose path it finds as `folder` in its config.
    """

    model: torch.nn.Module
    inputs: Mapping[str, torch.Tensor]
    sizes: Mapping[str, Mapping[int, str]]
    config: Mapping[str, Any] = field(default_factory=dict)
    save_files: Callable[[Path], object] | None = None
