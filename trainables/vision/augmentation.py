"""Training images changed at random, a batch at a time and on the device they are on; knows nothing of trials."""

import torch
from torch.nn.functional import one_hot, pad

AUGMENTATIONS = (
    "none",
    "flip",
    "crop",
    "crop+flip",
    "randaugment",
    "flip+randaugment",
    "crop+randaugment",
    "crop+flip+randaugment",
)
# So many parts of a batch get operations of their own, since torchvision gives all images of a call the same.
RANDAUGMENT_PARTS = 16


class Augmentation:
    """What happens to the images of a batch before the network sees them.

    Args:
        name: one of `AUGMENTATIONS`; RandAugment (Cubuk et al. 2019, arXiv:1909.13719) is as its authors have set it.
        num_classes: of the labels.
        mixup, cutmix: the alpha of mixup (Zhang et al. 2017, arXiv:1710.09412) and of CutMix (Yun et al. 2019,
            arXiv:1905.04899), 0 for never; where both are given each batch gets one of them.
    """

    def __init__(self, name: str, num_classes: int, *, mixup: float = 0.0, cutmix: float = 0.0) -> None:
        self._crops, self._flips = "crop" in name, "flip" in name
        self._num_classes = num_classes
        self._operations, self._mixes = None, []
        if "randaugment" in name or mixup or cutmix:
            from torchvision.transforms import v2  # takes a second, which the others do without

            self._operations = v2.RandAugment() if "randaugment" in name else None
            self._mixes += [v2.MixUp(alpha=mixup, num_classes=num_classes)] if mixup else []
            self._mixes += [v2.CutMix(alpha=cutmix, num_classes=num_classes)] if cutmix else []

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The images of a batch, and their classes `[n]`, or shares of the classes `[n, num_classes]` if mixed.

        Mixed images are floats. RandAugment, mixup and CutMix draw from torch's generator, which a checkpoint holds.

        Args:
            images: uint8 `[n, channels, side, side]`.
            generator: for crops and flips, and for which mix it is.
        """
        if self._crops or self._flips:
            margin = max(1, images.shape[-1] // 8) if self._crops else 0
            images = random_crop(images, margin, self._flips, generator)
        if self._operations is not None:
            images = torch.cat([self._operations(part) for part in images.chunk(RANDAUGMENT_PARTS)])
        if not self._mixes:
            return images, labels
        mix = self._mixes[int(torch.randint(len(self._mixes), (), generator=generator))]
        if len(images) < 2:
            return images, one_hot(labels, self._num_classes).float()
        mixed: tuple[torch.Tensor, torch.Tensor] = mix(images.float(), labels)
        return mixed


def random_crop(images: torch.Tensor, margin: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Each image shifted by up to `margin` pixels, and mirrored half of the time if `flip`."""
    count, _, side, _ = images.shape
    padded = pad(images, (margin,) * 4)
    top, left = torch.randint(0, 2 * margin + 1, (2, count, 1), generator=generator)
    span = torch.arange(side)
    columns = span.expand(count, side)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, side - 1 - columns, columns)
    rows, columns = (top + span).to(images.device), (left + columns).to(images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    # Indices on both sides of the channels put these last: [n, side, side, channels].
    return padded[image, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
