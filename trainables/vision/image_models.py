"""Networks that classify images, by name: small ones of our own and torchvision's, from scratch or from weights.

Knows nothing of data sets or trials.
"""

from pathlib import Path

import torch
from torch import nn

from trainables.vision.cnn import CNN, ClassicCNN

# Of torchvision's models the layer that gives the logits.
_HEADS = {
    "resnet18": "fc",
    "resnet50": "fc",
    "efficientnet_b0": "classifier.1",
    "convnext_tiny": "classifier.2",
    "vit_b_16": "heads.head",
}
MODELS = ("cnn", "classic", *_HEADS)
# ResNets keep the size of smaller images at first, where they would leave little of them (He et al. 2015,
# arXiv:1512.03385, section 4.2).
SMALL_IMAGES = 64
_COLOURS = 3
_PATCH = 16


class ImageClassifier(nn.Module):
    """Takes images `[n, in_channels, side, side]` as they are stored, uint8, and gives logits `[n, classes]`.

    Normalises them with buffers that its state dict carries, and gives a network for colours three times a grey one.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, in_channels: int, network_channels: int, channels_last: bool) -> None:
        super().__init__()
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network
        self._copies = network_channels // in_channels
        self.register_buffer("mean", torch.zeros(1, in_channels, 1, 1))
        self.register_buffer("std", torch.ones(1, in_channels, 1, 1))
        self.to(memory_format=self._layout)

    def set_normalisation(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Take mean and standard deviation of each image channel, `[in_channels]`, in pixel values."""
        self.mean.copy_(mean.view_as(self.mean))
        self.std.copy_(std.view_as(self.std))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        normal = (images.to(self.mean.dtype) - self.mean) / self.std
        if self._copies > 1:
            normal = normal.expand(-1, self._copies, -1, -1)
        logits: torch.Tensor = self.network(normal.contiguous(memory_format=self._layout))
        return logits


def make_image_classifier(
    name: str,
    *,
    in_channels: int,
    image_size: int,
    num_classes: int,
    channels: int,
    depth: int,
    dropout: float,
    weights: str = "",
    channels_last: bool = True,
) -> ImageClassifier:
    """The network called `name`, one of `MODELS`; raises ValueError where it can't be made.

    Args:
        channels, depth: of the networks of our own; torchvision's have theirs.
        dropout: before the layer that gives the logits.
        weights: the file of a state dict of torchvision's network; all but its last layer is taken over.
        channels_last: how images lie in memory; a third faster on a CPU.
    """
    if name in _HEADS:
        if in_channels not in (1, _COLOURS):
            raise ValueError(f"model {name} takes images of 1 or {_COLOURS} channels; these have {in_channels}")
        network = _torchvision(name, image_size, num_classes, dropout, weights)
        return ImageClassifier(network, in_channels, _COLOURS, channels_last)
    if weights:
        raise ValueError(f"weights are for torchvision's models ({', '.join(_HEADS)}); model is {name}")
    small = CNN if name == "cnn" else ClassicCNN
    more = {"depth": depth} if name == "cnn" else {}
    network = small(in_channels, image_size, num_classes, channels=channels, dropout=dropout, **more)
    return ImageClassifier(network, in_channels, in_channels, channels_last)


def find_weights(path: str) -> None:
    """Raises ValueError where there is no such file; nothing is weights from scratch."""
    if path and not Path(path).expanduser().is_file():
        raise ValueError(f"weights {path!r} is no file; give a state dict of torchvision's model, or nothing")


def _torchvision(name: str, image_size: int, num_classes: int, dropout: float, weights: str) -> nn.Module:
    from torchvision.models import get_model  # takes a second, which our own networks do without

    more: dict[str, float] = {}
    if name.startswith("vit"):
        if image_size % _PATCH:
            raise ValueError(
                f"model {name} takes images whose side is a multiple of {_PATCH}; image_size is {image_size}"
            )
        more["image_size"] = image_size
    if name.startswith("efficientnet"):
        more["dropout"] = 0.0  # it has one where the others have none
    network: nn.Module = get_model(name, weights=None, num_classes=num_classes, **more)
    if name.startswith("resnet") and image_size < SMALL_IMAGES:
        if weights:
            raise ValueError(f"weights of {name} are for images of {SMALL_IMAGES} pixels or more, not {image_size}")
        network.conv1 = nn.Conv2d(_COLOURS, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    if weights:
        _load(network, name, Path(weights).expanduser(), image_size)
    parent, _, last = _HEADS[name].rpartition(".")
    holder = network.get_submodule(parent)
    setattr(holder, last, nn.Sequential(nn.Dropout(dropout), holder.get_submodule(last)))
    return network


def _load(network: nn.Module, name: str, path: Path, image_size: int) -> None:
    """Take over all but the last layer."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if name.startswith("vit"):
            from torchvision.models.vision_transformer import interpolate_embeddings

            state = interpolate_embeddings(image_size, _PATCH, state)
        body = {key: value for key, value in state.items() if not key.startswith(f"{_HEADS[name]}.")}
        missing, unknown = network.load_state_dict(body, strict=False)
    except Exception as error:
        raise ValueError(f"weights {path} can't be read as those of {name}: {error}") from error
    missing = [key for key in missing if not key.startswith(f"{_HEADS[name]}.")]
    if missing or unknown:
        told = ", ".join([*missing, *unknown][:5])
        raise ValueError(f"weights {path} are not those of {name}: these are missing, or too many: {told}")
