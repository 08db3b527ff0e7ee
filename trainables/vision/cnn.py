"""Small convolutional networks that are quick on one CPU thread; they know nothing of data sets or trials."""

import torch
from torch import nn

# Images at least this large are halved by the first convolution, which costs most of a small network's time.
STRIDED_FROM = 24
# Feature maps no larger than this are not halved any more.
SMALLEST_SIDE = 4
# Blocks double their width up to this multiple of the first one's.
WIDEST = 8
# Units of the hidden linear layer of the classic network.
CLASSIC_WIDTH = 128


class CNN(nn.Module):
    """Convolution blocks of doubling width, halved in between, and a linear classifier.

    Takes images `[n, in_channels, side, side]`, normalised.

    Args:
        channels: width of the first block.
        depth: number of blocks.
        dropout: probability, before the classifier.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        num_classes: int,
        *,
        channels: int,
        depth: int,
        dropout: float,
    ) -> None:
        super().__init__()
        blocks, width, side = _blocks(in_channels, image_size, channels, depth)
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(width * side * side, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits


def _blocks(in_channels: int, image_size: int, channels: int, depth: int) -> tuple[list[nn.Module], int, int]:
    """The blocks, and the width and side of what comes out of the last one."""
    blocks: list[nn.Module] = []
    width, side = in_channels, image_size
    for index in range(depth):
        new_width = channels * min(2**index, WIDEST)
        if index == 0 and side >= STRIDED_FROM:
            blocks.append(_block(width, new_width, kernel=5, stride=2))
            side = (side + 1) // 2
        elif side > SMALLEST_SIDE:
            blocks.append(_block(width, new_width, pool=2))
            side //= 2
        else:
            blocks.append(_block(width, new_width))
        width = new_width
    pool = max(1, side // SMALLEST_SIDE)
    if pool > 1:
        blocks.append(nn.AvgPool2d(pool))
    return blocks, width, side // pool


def _block(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, pool: int = 1) -> nn.Sequential:
    """Pooling comes right after the convolution, which leaves the other layers a quarter of the work."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.MaxPool2d(pool) if pool > 1 else nn.Identity(),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ClassicCNN(nn.Module):
    """Two convolutions, each with a pooling, and two linear layers, as in textbooks since LeNet (LeCun et al. 1998).

    Takes images as `CNN` does; `channels` is the width of the first convolution, the second one's is twice that.
    """

    def __init__(self, in_channels: int, image_size: int, num_classes: int, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(in_channels, channels, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
        )
        side = image_size // 4
        self.head = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * channels * side * side, CLASSIC_WIDTH), nn.ReLU()),
            *(nn.Dropout(dropout), nn.Linear(CLASSIC_WIDTH, num_classes)),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits
