"""CIFAR-10 (Krizhevsky 2009): read from an archive of image files, or downloaded; knows nothing of models or trials."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
# In the folder that TUNER_DATA names: `train|test/CLASS/NAME.jpg`, compressed.
ARCHIVE = Path("images") / "cifar10-images.tar.xz"


def read_cifar10(folder: Path | None, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of `part`, train or test, uint8 `[n, 3, 32, 32]`, and their classes, int64 `[n]`.

    Blocks for 10 s, and for a download of 170 MB where there is no archive in `folder` and none was made before. Raises
    FileNotFoundError where it is nowhere to be had, ValueError for an archive that can't be read.
    """
    if folder is not None and (folder / ARCHIVE).is_file():
        return _read_archive(folder / ARCHIVE, part)
    return _download(part)


def _read_archive(path: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    from PIL import Image  # comes with torchvision, and is needed by image files alone

    found: list[tuple[str, int, np.ndarray]] = []
    try:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                top, _, rest = member.name.removeprefix("./").partition("/")
                if not member.isfile() or top != part:
                    continue
                name = rest.partition("/")[0]
                content = archive.extractfile(member)
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as image:
                    found.append((rest, CLASSES.index(name), np.asarray(image.convert("RGB"))))
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise ValueError(f"{path} can't be read as CIFAR-10's images: {error}") from error
    if not found:
        raise ValueError(f"{path} can't be read as CIFAR-10's images: it has none below {part}/")
    found.sort(key=lambda one: one[0])
    images = torch.from_numpy(np.stack([pixels for _, _, pixels in found])).movedim(-1, 1).contiguous()
    return images, torch.tensor([label for _, label, _ in found])


def _download(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    from torchvision.datasets import CIFAR10

    try:
        rows = CIFAR10(str(Path.home() / ".cache" / "tuner" / "cifar10"), train=part == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"CIFAR-10 is not on this machine and can't be downloaded ({error}); let TUNER_DATA name a folder with "
            f"{ARCHIVE}, or give the path of a tree of image folders as `dataset`"
        ) from error
    return torch.from_numpy(rows.data).movedim(-1, 1).contiguous(), torch.tensor(rows.targets)
