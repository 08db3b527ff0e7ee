"""Networks that classify spectrograms of any length; they know nothing of files or trials."""

import math

import torch
from torch import nn
from torch.nn.functional import max_pool1d

from trainables.text.text_models import masked_mean

# Frames that a transformer takes as one.
PATCH_FRAMES = 4
HEAD_WIDTH = 32
# Blocks double their width up to here.
WIDEST = 1024
# Of a power: what is less is as silent.
SILENCE = 1e-6
# Frames of which all bands are below are what a recording was filled up with.
SILENT = math.log(SILENCE) + 1e-3


class SpectrogramClassifier(nn.Module):
    """Takes spectrograms `[n, mels, frames]` and gives logits `[n, classes]`.

    Normalises each band with buffers that its state dict carries. What a recording was filled up with does not count.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mels: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(mels, 1))
        self.register_buffer("std", torch.ones(mels, 1))

    def set_normalisation(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Take mean and standard deviation of each band, `[mels]`."""
        self.mean.copy_(mean[:, None])
        self.std.copy_(std[:, None])

    def normal(self, spectrograms: torch.Tensor) -> torch.Tensor:
        return (spectrograms - self.mean) / self.std

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        is_sound = (spectrograms > SILENT).any(dim=1)
        # All of a recording without a sound.
        is_sound = is_sound | ~is_sound.any(dim=1, keepdim=True)
        logits: torch.Tensor = self.network(self.normal(spectrograms), is_sound)
        return logits


class SpectrogramCNN(nn.Module):
    """Convolution blocks of doubling width, each halving both sides, the mean of what is left, a linear classifier.

    Args:
        width: of the first block; no other has more than `WIDEST`, or than this.
        depth: number of blocks.
        dropout: probability, before the classifier.
    """

    def __init__(self, num_classes: int, *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for index in range(depth):
            wider = min(width * 2**index, max(width, WIDEST))
            layers += [
                nn.Conv2d(channels, wider, 3, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            channels = wider
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        self._depth = depth

    def forward(self, spectrograms: torch.Tensor, is_sound: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]` of normalised spectrograms `[n, mels, frames]`; `is_sound`: which frames count."""
        found = self.features(spectrograms[:, None]).mean(dim=2)
        counts = is_sound[:, None].to(found.dtype)
        for _ in range(self._depth):
            counts = max_pool1d(counts, 2, ceil_mode=True)
        logits: torch.Tensor = self.head(masked_mean(found.transpose(1, 2), counts[:, 0] > 0))
        return logits


class SpectrogramTransformer(nn.Module):
    """A transformer encoder over stretches of frames, and a linear classifier of the mean of what it gives.

    After Berg et al. 2021 (arXiv:2104.00769), who take single frames; fixed positions, so that any length will do.

    Args:
        width: of the encoder, a multiple of 32.
        depth: number of its layers.
        dropout: probability, in the encoder and before the classifier.
    """

    def __init__(self, mels: int, num_classes: int, *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        if width % HEAD_WIDTH:
            raise ValueError(f"width of a transformer must be a multiple of {HEAD_WIDTH}; got {width}")
        self._width = width
        self.patches = nn.Conv1d(mels, width, PATCH_FRAMES, stride=PATCH_FRAMES)
        heads = width // HEAD_WIDTH
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, spectrograms: torch.Tensor, is_sound: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]` of normalised spectrograms `[n, mels, frames]`; `is_sound`: which frames count."""
        tokens = self.patches(spectrograms).transpose(1, 2)
        counts = max_pool1d(is_sound[:, None].to(tokens.dtype), PATCH_FRAMES)[:, 0] > 0
        # Sounds may stand in the last frames alone, which fill no patch.
        counts = counts | ~counts.any(dim=1, keepdim=True)
        states = self.encoder(tokens + self._positions(tokens), src_key_padding_mask=~counts)
        logits: torch.Tensor = self.head(masked_mean(states, counts))
        return logits

    def _positions(self, tokens: torch.Tensor) -> torch.Tensor:
        """Sines and cosines (Vaswani et al. 2017, section 3.5), `[length, width]`."""
        places = torch.arange(tokens.shape[1], device=tokens.device)[:, None]
        rates = torch.exp(torch.arange(0, self._width, 2, device=tokens.device) * (-math.log(10_000.0) / self._width))
        return torch.cat([(places * rates).sin(), (places * rates).cos()], dim=1).to(tokens.dtype)
