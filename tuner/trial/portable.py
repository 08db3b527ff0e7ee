"""What a trainable hands over to be exported: a model, examples of what it takes, and what its use needs beside it.

And what has become of it, to be used again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

# Of an exported model. Not config.json, which is the name that tokenizers and transformers give theirs.
EXPORT_FILE, PROGRAM_FILE = "export.json", "model.pt2"

Model = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Portable:
    """A trained model, ready for use: what a trainable's `export(params, state)` gives to `tuner export`.

    Attributes:
        model: in evaluation mode, on the CPU; takes the inputs in their order and gives one tensor.
        inputs: an example of each, with two rows or more, by name.
        sizes: of each input the names of the dimensions that may have any size, by their places.
        config: what the trainable's `predict` needs beside the model; can be written as JSON.
        save_files: writes what else it needs into a folder, whose path it finds as `folder` in its config.

    Example:
        >>> def export(params, state) -> tuner.Portable:
        ...     model = torch.nn.Linear(4, 2)
        ...     model.load_state_dict(state["model"])
        ...     inputs = {"x": torch.zeros(2, 4)}
        ...     return tuner.Portable(model.eval(), inputs, {"x": {0: "rows"}}, {"classes": ["a", "b"]})
        >>> export({}, {"model": torch.nn.Linear(4, 2).state_dict()}).config
        {'classes': ['a', 'b']}
    """

    model: torch.nn.Module
    inputs: Mapping[str, torch.Tensor]
    sizes: Mapping[str, Mapping[int, str]]
    config: Mapping[str, Any] = field(default_factory=dict)
    save_files: Callable[[Path], object] | None = None


def read_exported(folder: Path) -> dict[str, Any]:
    """What was told of an exported model; raises ValueError where `folder` is none."""
    try:
        told: dict[str, Any] = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
        if "config" in told and (folder / PROGRAM_FILE).is_file():
            return told
    except (OSError, ValueError):
        pass
    raise ValueError(f"{folder} is no exported model; `tuner export DIR {folder}` makes one")


def load_exported(folder: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Any], Model]:
    """The config of an exported model, and the model on a device; raises ValueError where `folder` is none.

    The config holds the `folder`, where the trainable may have written more files.
    """
    config = read_exported(folder)["config"] | {"folder": str(folder)}
    program = torch.export.load(folder / PROGRAM_FILE)
    if torch.device(device).type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, torch.device(device))
    return config, program.module()
