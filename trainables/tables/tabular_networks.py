"""The MLP and the ResNet for tables of Gorishniy et al. 2021 (arXiv:2106.11959, section 3), and their settings.

Knows nothing of columns or trials.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from trainables.training.batch_norm import share_statistics
from trainables.training.epochs import Epochs
from trainables.training.optim import Descent

# Of the ResNet's hidden layers, against its width.
EXPANSION = 2


@dataclass(frozen=True)
class NetworkSettings(Descent):
    """What a network is built from, and how it is trained.

    Attributes:
        width, depth: of its layers, and the number of these, or of the ResNet's blocks.
        label_smoothing: of classes.
    """

    width: int = 128
    depth: int = 2
    dropout: float = 0.1
    label_smoothing: float = 0.0
    epochs: int = 50
    lr: float = 1e-3
    clip_norm: float = 1.0


def make_mlp(num_inputs: int, num_outputs: int, settings: NetworkSettings) -> nn.Module:
    """Eq. 1: blocks of a linear layer, ReLU and dropout."""
    layers: list[nn.Module] = []
    for index in range(settings.depth):
        layers += [nn.Linear(num_inputs if index == 0 else settings.width, settings.width), nn.ReLU()]
        layers.append(nn.Dropout(settings.dropout))
    return nn.Sequential(*layers, nn.Linear(settings.width, num_outputs))


def make_resnet(num_inputs: int, num_outputs: int, settings: NetworkSettings) -> nn.Module:
    """Eq. 2: a linear layer, residual blocks, and batch norm, ReLU and a linear layer to predict with."""
    blocks = [_ResNetBlock(settings.width, settings.dropout) for _ in range(settings.depth)]
    head = nn.Sequential(nn.BatchNorm1d(settings.width), nn.ReLU(), nn.Linear(settings.width, num_outputs))
    return nn.Sequential(nn.Linear(num_inputs, settings.width), *blocks, head)


class _ResNetBlock(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Linear(width, EXPANSION * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(EXPANSION * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.layers(x)
        return out


NETWORKS: dict[str, Callable[[int, int, NetworkSettings], nn.Module]] = {"mlp": make_mlp, "resnet": make_resnet}


class Workers(NamedTuple):
    """The processes that train a network together, of which this is one; `prepare` wraps it for them."""

    rank: int
    world_size: int
    prepare: Callable[[nn.Module], nn.Module]


def train_network(
    make: Callable[[], nn.Module],
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.generic],
    settings: NetworkSettings,
    *,
    class_weights: npt.NDArray[np.float32] | None,
    seed: int,
    device: torch.device | str,
    workers: Workers | None = None,
) -> nn.Module:
    """A network trained on all of `x`, `[n, inputs]`, in evaluation mode; a function of its arguments alone on a CPU.

    Args:
        y: class indices for cross entropy, or float values for the mean squared error, `[n]`.
        class_weights: of the loss, `[classes]`.
        workers: each must call it with the same data; all get the same network.
    """
    torch.manual_seed(seed)  # for the first weights
    model = make().to(device)
    rank, world_size, prepare = workers or Workers(0, 1, lambda module: module)
    if world_size > 1:
        share_statistics(model)
    network = prepare(model)
    inputs, targets = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    is_classification = not targets.is_floating_point()
    weights = None if class_weights is None else torch.from_numpy(class_weights).to(device)
    row_weights = None if weights is None else weights[targets]
    epochs = Epochs(model, settings, len(inputs), seed=seed, device=device, rank=rank, world_size=world_size)

    def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        out = network(inputs[rows])
        if is_classification:
            return cross_entropy(out, targets[rows], weights, label_smoothing=settings.label_smoothing)
        return mse_loss(out.squeeze(1), targets[rows])

    while epochs.epoch < settings.epochs:
        epochs.run(loss_of, row_weights)
    return model.eval()
