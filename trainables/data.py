"""Labelled images in memory: read, split, batched, augmented; knows nothing of models or trials.

A data set is two reads that never meet: `load_development`, whose rows training and validation share, and
`load_test`.
"""

import gzip
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

# Every split is a function of this and of the labels, never of a trial's seed.
SPLIT_SEED = 20260101
TEST_SHARE = 1 / 5  # of a data set that comes in one piece
VALIDATION_SHARE = 1 / 6  # of what is not the test set

FASHION_MNIST_ENV = "TUNER_FASHION_MNIST"
FASHION_MNIST_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MOST_NAMED = 5

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

# Where rows of a batch are to have the same length, they are picked from so many batches' rows.
SORTED_BATCHES = 16


@dataclass(frozen=True)
class Labelled:
    """Images and their classes.

    Attributes:
        images: uint8 `[n, channels, side, side]`.
        labels: int64 `[n]`, indices of `class_names`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor | slice) -> "Labelled":
        return Labelled(self.images[rows], self.labels[rows], self.class_names)

    def to(self, device: torch.device | str) -> "Labelled":
        return Labelled(self.images.to(device), self.labels.to(device), self.class_names)


@dataclass(frozen=True)
class Development:
    """What training and the search see.

    Attributes:
        mean, std: of the training rows, in pixel values, `[channels]`.
    """

    train: Labelled
    validation: Labelled
    mean: torch.Tensor
    std: torch.Tensor

    def to(self, device: torch.device | str) -> "Development":
        return Development(self.train.to(device), self.validation.to(device), self.mean.to(device), self.std.to(device))


@dataclass(frozen=True)
class Dataset:
    """How to read the two parts of a data set; each argument is the side that images are to have."""

    development: Callable[[int], Labelled]
    test: Callable[[int], Labelled]


def find_dataset(name: str) -> Dataset:
    """The data set called `name`, or the image folder tree at that path; ValueError if there is neither."""
    if name in DATASETS:
        return DATASETS[name]
    root = Path(name).expanduser()
    if root.is_dir():
        return Dataset(lambda size: _read_tree(root, size, False), lambda size: _read_tree(root, size, True))
    raise ValueError(
        f"dataset {name!r} is neither one of {', '.join(DATASETS)} nor a folder; "
        "give the path of a tree with one folder of images for each class"
    )


def load_development(name: str, image_size: int, train_size: int = 0) -> Development:
    """The training and the validation set: the same rows each time, with all classes in proportion.

    Args:
        image_size: side of the square images, for data sets that are read from image files.
        train_size: rows to train on, 0 for all; smaller training sets are part of the larger ones.
    """
    rows = find_dataset(name).development(image_size)
    validation, train = split_off(rows, VALIDATION_SHARE)
    if train_size:
        train = train.take(slice(train_size))
    mean, std = _pixel_statistics(train.images)
    return Development(train, validation, mean, std)


def load_test(name: str, image_size: int) -> Labelled:
    """The test set, that no search may see."""
    return find_dataset(name).test(image_size)


def split_off(rows: Labelled, share: float) -> tuple[Labelled, Labelled]:
    """That share of the rows, and the rest; both with all classes in proportion, wherever they are cut."""
    order = stratified_order(rows.labels)
    cut = round(len(rows) * share)
    if not 0 < cut < len(rows):
        raise ValueError(f"{len(rows)} images are too few to set {share:.0%} of them apart")
    return rows.take(order[:cut]), rows.take(order[cut:])


def stratified_order(labels: torch.Tensor) -> torch.Tensor:
    """Row numbers in an order whose every stretch has the classes in proportion, to within a row or two."""
    random = np.random.default_rng(SPLIT_SEED)
    classes = labels.numpy()
    position = np.empty(len(classes))
    for label in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == label))
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
    return torch.from_numpy(np.argsort(position, kind="stable"))


def balanced_weights(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Weights of the loss, `[num_classes]`, by which each class counts alike; the mean over the rows is 1."""
    counts = torch.bincount(labels, minlength=num_classes)
    return len(labels) / (num_classes * counts.clamp(min=1).float())


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """A CPU generator that depends on the arguments alone, so that a continued run draws the same."""
    mixed = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) % 2**63)


def epoch_batches(
    num_rows: int,
    batch_size: int,
    generator: torch.Generator,
    rank: int = 0,
    world_size: int = 1,
    *,
    lengths: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Row numbers of each batch of an epoch, shuffled; rows that fill no batch wait for another epoch.

    Of several workers, whose generators must be alike, each gets an equal share of each batch: the same settings mean
    the same training, whatever their number.

    Args:
        lengths: of the rows, `[num_rows]`: those of a batch then have about the same, so that little is padded.
    """
    order = torch.randperm(num_rows, generator=generator)
    count = count_batches(num_rows, batch_size)
    order = order[: count * batch_size]
    batches = order.chunk(count)
    if lengths is not None:
        pools = [pool[lengths[pool].argsort(stable=True)] for pool in torch.split(order, SORTED_BATCHES * batch_size)]
        batches = torch.cat(pools).chunk(count)
        batches = tuple(batches[i] for i in torch.randperm(count, generator=generator).tolist())
    for batch in batches:
        yield batch[rank : len(batch) - len(batch) % world_size : world_size]


def count_batches(num_rows: int, batch_size: int) -> int:
    """How many batches `epoch_batches` yields: at least one."""
    return max(1, num_rows // batch_size)


def random_crop(images: torch.Tensor, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Each image shifted by up to an eighth of its side, and mirrored half of the time if `flip`."""
    count, _, side, _ = images.shape
    margin = max(1, side // 8)
    padded = torch.nn.functional.pad(images, (margin,) * 4)
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


def _read_tree(root: Path, size: int, test: bool) -> Labelled:
    """A part of an image folder tree: its train/ or test/ folder, or some rows of one that has neither."""
    if (root / "train").is_dir():
        return _read_classes(root / ("test" if test else "train"), _class_names(root / "train"), size)
    names = _class_names(root)
    files, labels = _list_images(root, names)
    index = Labelled(torch.arange(len(files)), labels, tuple(names))
    part = split_off(index, TEST_SHARE)[0 if test else 1]
    return Labelled(read_images([files[i] for i in part.images.tolist()], size), part.labels, part.class_names)


def _class_names(root: Path) -> list[str]:
    names = _subfolders(root)
    if len(names) < 2:
        raise ValueError(f"{root} must hold a folder of images for each of two or more classes; it has {len(names)}")
    return names


def _subfolders(folder: Path) -> list[str]:
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    return sorted(name for name in names if not name.startswith("."))


def _read_classes(folder: Path, names: list[str], size: int) -> Labelled:
    files, labels = _list_images(folder, names)
    return Labelled(read_images(files, size), labels, tuple(names))


def _list_images(folder: Path, names: list[str]) -> tuple[list[Path], torch.Tensor]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing: a tree with train/ needs test/ beside it")
    if unknown := set(_subfolders(folder)) - set(names):
        raise ValueError(f"{folder} has classes that the training images have not: {', '.join(sorted(unknown))}")
    files, labels, empty = [], [], []
    for label, name in enumerate(names):
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        files += found
        labels += [label] * len(found)
        if not found:
            empty.append(name)
    if empty:
        raise ValueError(f"{folder} has no images of {', '.join(empty)} ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files, torch.tensor(labels)


def read_images(files: Sequence[Path], size: int, channels: int = 3) -> torch.Tensor:
    """The middle square of each, in colour or grey, `[n, channels, size, size]`; one ValueError for all unreadable."""
    from PIL import Image, ImageOps  # comes with torchvision, and is needed by image files alone

    images = torch.empty(len(files), channels, size, size, dtype=torch.uint8)
    unreadable = []
    for row, path in enumerate(files):
        try:
            with Image.open(path) as image:
                coloured = image.convert("RGB" if channels == 3 else "L")
                pixels = np.array(ImageOps.fit(coloured, (size, size), Image.Resampling.BILINEAR))
        except (OSError, ValueError, SyntaxError) as error:
            unreadable.append(f"{path} ({error})")
            continue
        images[row] = torch.from_numpy(pixels.reshape(size, size, channels)).movedim(-1, 0)
    if unreadable:
        more = f" and {len(unreadable) - MOST_NAMED} more" if len(unreadable) > MOST_NAMED else ""
        raise ValueError(f"unreadable images, mend or remove them: {'; '.join(unreadable[:MOST_NAMED])}{more}")
    return images


DATASETS = {
    "digits": Dataset(
        lambda _: split_off(_digits(), TEST_SHARE)[1],
        lambda _: split_off(_digits(), TEST_SHARE)[0],
    ),
    "fashion-mnist": Dataset(
        lambda _: _fashion_mnist("train"),
        lambda _: _fashion_mnist("t10k"),
    ),
}
