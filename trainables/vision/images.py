"""Labelled images, uint8 `[n, channels, side, side]`: read and split; knows nothing of models or trials.

A data set is two reads that never meet: `load_development`, whose rows training and validation share, and
`load_test`.
"""

import gzip
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_digits

from trainables.data.labelled import Development, Labelled
from trainables.data.splits import (
    TEST_SHARE,
    VALIDATION_SHARE,
    digest,
    fingerprint,
    merged_groups,
    split_rows,
    stratified_order,
    told_of_leaks,
)
from trainables.data.trees import DATA_ENV, TreePart, read_part, told_unreadable, with_validation
from trainables.vision.cifar10 import CLASSES as CIFAR10_CLASSES
from trainables.vision.cifar10 import read_cifar10

if TYPE_CHECKING:
    from PIL import Image

FASHION_MNIST_ENV = "TUNER_FASHION_MNIST"
FASHION_MNIST_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# The classes of Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747, table 2).
CLOTHES = (
    "T-Shirt/Top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandals",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boots",
)


@dataclass(frozen=True)
class Dataset:
    """How to read the parts of a data set; each argument is the side that images are to have.

    Attributes:
        development: gives the training and the validation set.
    """

    development: Callable[[int], tuple[Labelled, Labelled]]
    test: Callable[[int], Labelled]


def find_dataset(name: str, group: str = "") -> Dataset:
    """The data set called `name`, or the image folder tree at that path; ValueError if there is neither.

    Args:
        group: of the tree's files, as in `TreePart.split`.
    """
    if name in DATASETS:
        return DATASETS[name]
    root = Path(name).expanduser()
    if root.is_dir():

        def development(size: int) -> tuple[Labelled, Labelled]:
            files = read_part(root, False, IMAGE_SUFFIXES, group)
            train, validation = with_validation(root, files, IMAGE_SUFFIXES, group)
            train = train.take(stratified_order(train.labels))
            return _read_files(train, size), _read_files(validation, size)

        return Dataset(development, lambda size: _read_files(read_part(root, True, IMAGE_SUFFIXES, group), size))
    raise ValueError(
        f"dataset {name!r} is neither one of {', '.join(DATASETS)} nor a folder; "
        "give the path of a tree with one folder of images for each class"
    )


def load_development(name: str, image_size: int, train_size: int = 0, group: str = "") -> Development:
    """The training and the validation set: the same rows each time, with all classes in proportion.

    Args:
        image_size: side of the square images, for data sets that are read from image files.
        train_size: rows to train on, 0 for all; smaller training sets are part of the larger ones.
        group: as in `find_dataset`.
    """
    train, validation = find_dataset(name, group).development(image_size)
    if train_size:
        train = train.take(slice(train_size))
    mean, std = _pixel_statistics(train.inputs)
    leaks = told_of_leaks("images", validation.inputs, train.inputs, "validation")
    held_out = fingerprint(image.numpy().tobytes() for image in validation.inputs)
    return Development(train, validation.noted(*leaks), mean, std, held_out)


def load_test(name: str, image_size: int, group: str = "") -> tuple[Labelled, tuple[str, ...]]:
    """The test set, that no search may see, and what there is to tell of it."""
    dataset = find_dataset(name, group)
    test = dataset.test(image_size)
    seen = (image for rows in dataset.development(image_size) for image in rows.inputs)
    return test, (*test.notes, *told_of_leaks("images", test.inputs, seen))


def split_off(rows: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """That share of the rows, and the rest; both with all classes in proportion, wherever they are cut.

    The same images are on one side.
    """
    part, rest = split_rows(rows.labels, share, merged_groups([digest(image) for image in rows.inputs]))
    return rows.take(part), rows.take(rest)


def _pixel_statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, by counting the values: exact, and light on memory."""
    values = torch.arange(256, dtype=torch.float64)
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten().int(), minlength=256) / images[:, channel].numel()
        mean = (share * values).sum()
        means.append(mean)
        stds.append((share * (values - mean) ** 2).sum().sqrt().clamp(min=1.0))
    return torch.stack(means).float(), torch.stack(stds).float()


def _digits() -> Labelled:
    bunch = load_digits()
    # They are stored with 17 shades.
    images = torch.from_numpy((bunch.images * 255 / 16).round().astype(np.uint8))[:, None]
    return Labelled(images, torch.from_numpy(bunch.target.astype(np.int64)), tuple("0123456789"))


def fashion_mnist_folder() -> Path:
    """Where Fashion-MNIST's four IDX files are; downloads them where they are nowhere yet."""
    given = os.environ.get(FASHION_MNIST_ENV)
    if given:
        return Path(given)
    if FASHION_MNIST_DEBIAN.is_dir():
        return FASHION_MNIST_DEBIAN
    cached = Path.home() / ".cache" / "tuner" / "fashion-mnist"
    if not cached.is_dir():
        _download_fashion_mnist(cached)
    return cached


def _download_fashion_mnist(target: Path) -> None:
    from torchvision.datasets import FashionMNIST  # only here: the rest does without torchvision

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        try:
            FashionMNIST(scratch, download=True)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"Fashion-MNIST is not on this machine and can't be downloaded ({error}); install Debian's "
                f"dataset-fashion-mnist, or set {FASHION_MNIST_ENV} to a folder with its four .gz files"
            ) from error
        raw = Path(scratch) / "FashionMNIST" / "raw"
        try:
            raw.replace(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster
                raise


def _fashion_mnist(prefix: str) -> Labelled:
    folder = fashion_mnist_folder()
    images = _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", 3)
    labels = _read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 1)
    return Labelled(images[:, None], labels.long(), CLOTHES)


def _read_idx(path: Path, num_dimensions: int) -> torch.Tensor:
    """The uint8 tensor in a gzipped IDX file (told at the foot of yann.lecun.com/exdb/mnist)."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: Fashion-MNIST is four files named *-ubyte.gz in one folder")
    try:
        content = gzip.decompress(path.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + num_dimensions}I", content)
        if magic != 0x0800 + num_dimensions:
            raise ValueError(f"magic number {magic:#x}")
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * num_dimensions).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise ValueError(f"{path} is no gzipped IDX file of {num_dimensions} dimensions: {error}") from error
    return torch.from_numpy(values.copy())


def _read_files(part: TreePart, size: int) -> Labelled:
    return Labelled(read_images(part.files, size), part.labels, part.class_names, part.notes)


def read_images(files: Sequence[Path], size: int, channels: int = 3) -> torch.Tensor:
    """The middle square of each, in colour or grey, `[n, channels, size, size]`; one ValueError for all unreadable."""
    from PIL import Image, ImageOps  # comes with torchvision, and is needed by image files alone

    images = torch.empty(len(files), channels, size, size, dtype=torch.uint8)
    unreadable = []
    for row, path in enumerate(files):
        try:
            with Image.open(path) as given:
                image = _in_eight_bits(ImageOps.exif_transpose(given))  # cameras tell which side is up
                coloured = image.convert("RGB" if channels == 3 else "L")
                pixels = np.array(ImageOps.fit(coloured, (size, size), Image.Resampling.BILINEAR))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            unreadable.append(f"{path} ({error})")
            continue
        images[row] = torch.from_numpy(pixels.reshape(size, size, channels)).movedim(-1, 0)
    if unreadable:
        raise ValueError(told_unreadable("images", unreadable))
    return images


def _in_eight_bits(image: "Image.Image") -> "Image.Image":
    """Pillow would cut off what is brighter than 255 shades of 65,536."""
    if image.mode.startswith("I;16"):
        from PIL import Image

        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no largest value; save it with 8 or 16 bits")
    return image


def _cifar10(part: str) -> Labelled:
    folder = os.environ.get(DATA_ENV)
    images, labels = read_cifar10(Path(folder) if folder else None, part)
    return Labelled(images, labels, CIFAR10_CLASSES)


def _in_two(rows: Labelled) -> tuple[Labelled, Labelled]:
    """The training and the validation set."""
    validation, train = split_off(rows, VALIDATION_SHARE)
    return train, validation


DATASETS = {
    "digits": Dataset(
        lambda _: _in_two(split_off(_digits(), TEST_SHARE)[1]),
        lambda _: split_off(_digits(), TEST_SHARE)[0],
    ),
    "fashion-mnist": Dataset(
        lambda _: _in_two(_fashion_mnist("train")),
        lambda _: _fashion_mnist("t10k"),
    ),
    "cifar10": Dataset(lambda _: _in_two(_cifar10("train")), lambda _: _cifar10("test")),
}
