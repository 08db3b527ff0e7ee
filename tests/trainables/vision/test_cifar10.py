import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainables.vision.cifar10 import ARCHIVE, CLASSES, read_cifar10

DATA = Path(__file__).parents[4] / "shared" / "data"


def write_archive(folder: Path, content: bytes | None = None) -> None:
    """Two images of each class in each part, of shades that tell them apart, in an order that is not that of names."""
    path = folder / ARCHIVE
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:xz") as archive:
        for number in (1, 0):
            for part in ("test", "train"):
                for label, name in enumerate(CLASSES):
                    image = io.BytesIO()
                    Image.new("RGB", (32, 32), (20 * label, 100 * number, 0)).save(image, "png")
                    member = tarfile.TarInfo(f"{part}/{name}/{number:04d}.jpg")
                    member.size = len(content if content is not None else image.getvalue())
                    archive.addfile(member, io.BytesIO(content if content is not None else image.getvalue()))


def test_an_archive_is_read_by_part_and_in_order(tmp_path: Path) -> None:
    write_archive(tmp_path)
    images, labels = read_cifar10(tmp_path, "train")
    assert (images.shape, images.dtype) == ((20, 3, 32, 32), torch.uint8)
    assert labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert images[:, 0, 0, 0].tolist() == [20 * label for label in labels.tolist()]
    assert images[:, 1, 5, 5].tolist() == [0, 100] * 10


def test_a_spoilt_archive_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path, b"no image")
    with pytest.raises(
        ValueError, match=r"cifar10-images\.tar\.xz can't be read as CIFAR-10's images: cannot identify"
    ):
        read_cifar10(tmp_path, "test")


def test_where_it_is_nowhere_to_be_had_it_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", unreachable)
    with pytest.raises(FileNotFoundError, match=r"can't be downloaded \(no network\); let TUNER_DATA name a folder"):
        read_cifar10(tmp_path, "train")


@pytest.mark.slow  # reads all of the archive
@pytest.mark.skipif(not (DATA / ARCHIVE).is_file(), reason="needs CIFAR-10, which is beside the project")
def test_the_real_one_is_whole() -> None:
    images, labels = read_cifar10(DATA, "test")
    assert torch.bincount(labels).tolist() == [1000] * 10
    # As published for the training set, to a shade or two: 125.3, 123.0, 113.9.
    assert images.float().mean(dim=(0, 2, 3)).tolist() == pytest.approx([125.3, 123.0, 113.9], abs=2.5)
