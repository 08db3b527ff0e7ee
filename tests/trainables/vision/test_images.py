import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data.labelled import Labelled
from trainables.vision import images
from trainables.vision.images import FASHION_MNIST_ENV, find_dataset, load_development, load_test


def write_image(path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def write_tree(root: Path, count: int) -> Path:
    """`count` images of each of two classes, red a little, each with a shade of its own."""
    for shade in range(count):
        write_image(root / "red" / f"{shade}.png", (200, shade, 0))
        write_image(root / "blue" / f"{shade}.png", (shade, 0, 200))
    return root


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def write_fashion_mnist(folder: Path, count: int = 60) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, shade in (("train", 10), ("t10k", 20)):
        images = np.full((count, 28, 28), shade)
        images[:, 0, :8] = (np.arange(count)[:, None] >> np.arange(8)) % 2  # so that each is another
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    return folder


def pixels_of(rows: Labelled) -> set[bytes]:
    return {image.numpy().tobytes() for image in rows.inputs}


def test_the_three_parts_of_digits_are_disjoint_and_stratified() -> None:
    development, test = load_development("digits", image_size=32), load_test("digits", image_size=32)[0]
    parts = [development.train, development.validation, test]
    assert [len(part) for part in parts] == [1198, 240, 359]
    pixels = [pixels_of(part) for part in parts]
    assert not pixels[0] & pixels[1]
    assert not (pixels[0] | pixels[1]) & pixels[2]
    for part in parts:
        assert part.inputs.shape[1:] == (1, 8, 8)
        share = torch.bincount(part.labels, minlength=10) / len(part)
        assert (share - 0.1).abs().max() < 0.01


def test_the_development_part_never_calls_for_the_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> Labelled:
        raise AssertionError("the test set was read")

    guarded = images.Dataset(images.DATASETS["digits"].development, refuse)
    monkeypatch.setitem(images.DATASETS, "digits", guarded)
    assert len(load_development("digits", 32).train) == 1198


def test_the_figures_to_normalise_with_are_the_training_rows_alone() -> None:
    development = load_development("digits", 32, train_size=100)
    pixels = development.train.inputs.float()
    assert len(development.train) == 100
    assert development.mean.item() == pytest.approx(pixels.mean().item(), rel=1e-5)
    assert development.std.item() == pytest.approx(pixels.std(correction=0).item(), rel=1e-5)


def test_smaller_training_sets_are_part_of_larger_ones_and_leave_the_validation_set_alone() -> None:
    small, large = (load_development("digits", 32, size) for size in (50, 100))
    assert torch.equal(small.train.inputs, large.train.inputs[:50])
    assert torch.equal(small.validation.inputs, large.validation.inputs)
    counts = torch.bincount(small.train.labels, minlength=10)
    assert counts.min() >= 4
    assert counts.max() <= 6


def test_a_training_size_above_what_there_is_means_all() -> None:
    assert len(load_development("digits", 32, train_size=5000).train) == 1198


def test_an_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'digitz' is neither one of digits, fashion-mnist, cifar10 nor a folder"):
        find_dataset("digitz")


def test_a_tree_with_train_and_test_is_read_as_it_is(tmp_path: Path) -> None:
    write_tree(tmp_path / "train", 12)
    write_tree(tmp_path / "test", 3)
    development, test = load_development(str(tmp_path), 8), load_test(str(tmp_path), 8)[0]
    assert (len(development.train), len(development.validation), len(test)) == (20, 4, 6)
    assert test.inputs.shape == (6, 3, 8, 8)
    assert test.labels.tolist() == [0, 0, 0, 1, 1, 1]  # blue, red
    assert test.inputs[0, :, 4, 4].tolist() == [0, 0, 200]
    assert torch.bincount(development.validation.labels).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["val", "valid"])
def test_a_tree_with_validation_images_is_validated_with_them(tmp_path: Path, name: str) -> None:
    for part, count in (("train", 12), ("test", 3), (name, 5)):
        write_tree(tmp_path / part, count)
    development = load_development(str(tmp_path), 8)
    assert (len(development.train), len(development.validation)) == (24, 10)


def test_images_of_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    shades = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    Image.fromarray(shades).save(tmp_path / "deep.png")
    read = images.read_images([tmp_path / "deep.png"], 8, channels=1)
    assert read[0, 0].flatten().tolist() == [shade // 257 for shade in shades.flatten().tolist()]
    Image.fromarray(shades.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match="mode F has no largest value; save it with 8 or 16 bits"):
        images.read_images([tmp_path / "float.tiff"], 8)


def test_photographs_are_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    photograph = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 2, axis=1))
    how = Image.Exif()
    how[0x0112] = 3  # upside down
    photograph.save(tmp_path / "turned.png", exif=how)
    assert images.read_images([tmp_path / "turned.png"], 2, channels=1)[0, 0].tolist() == [[255, 255], [0, 0]]


def test_images_with_the_same_name_in_part_are_not_parted_where_asked(tmp_path: Path) -> None:
    for name, colour in (("red", 0), ("blue", 2)):
        for person in range(12):
            for shot in range(3):
                pixel = [person, shot, 0]
                pixel[colour] = 200 + person
                write_image(tmp_path / name / f"{person}-{shot}.png", (pixel[0], pixel[1], pixel[2]))
    development, (test, _) = load_development(str(tmp_path), 8, group=r"^\d+"), load_test(str(tmp_path), 8, r"^\d+")
    parts = (development.train, development.validation, test)
    people = [{int(image[:, 4, 4].max()) for image in part.inputs} for part in parts]
    assert sum(map(len, people)) == 12
    assert all(people)


def test_a_class_of_one_group_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, 12)
    with pytest.raises(ValueError, match=r"group 'p' puts all files of blue, red on one side of a split|too few"):
        load_development(str(tmp_path), 8, group="p")  # which all names have
    assert len(load_development(str(tmp_path), 8, group="[x]*").train) == 16, "no text is no group"


def test_what_is_in_no_class_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path, 10)
    write_image(tmp_path / "loose.png")
    (tmp_path / "_drafts").mkdir()
    assert load_development(str(tmp_path), 8).notes == (
        f"1 files in {tmp_path} are in no class's folder and were left out",
        "no classes, by their first character: _drafts",
    )


def test_copies_are_on_one_side_of_each_split_and_told(tmp_path: Path) -> None:
    write_tree(tmp_path, 10)
    for shade in range(6):
        for copy in ("a", "b"):
            write_image(tmp_path / "red" / f"{shade}{copy}.png", (200, shade, 0))
    write_image(tmp_path / "blue" / "other.png", (200, 0, 0))
    development, (test, notes) = load_development(str(tmp_path), 8), load_test(str(tmp_path), 8)
    parts = [pixels_of(part) for part in (development.train, development.validation, test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert all(parts)
    (told,) = notes
    assert development.notes == notes
    assert told.startswith(
        f"19 of 33 files below {tmp_path} have copies among them, which no split made here parts; 1 of "
    )
    write_tree(tmp_path / "val", 2)
    (tmp_path / "train").mkdir()
    for name in ("red", "blue"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    assert (
        "4 of 4 validation images stand among the training images as well" in load_development(str(tmp_path), 8).notes
    )


def test_given_images_of_groups_that_are_trained_on_are_told(tmp_path: Path) -> None:
    for part, people in (("train", range(6)), ("val", range(5, 7)), ("test", range(4, 7))):
        for number in people:
            write_image(tmp_path / part / "red" / f"p{number}-{part}.png", (200, number, len(part)))
            write_image(tmp_path / part / "blue" / f"p{number}-{part}.png", (number, len(part), 200))
    development, (_, notes) = load_development(str(tmp_path), 8, group=r"^p\d"), load_test(str(tmp_path), 8, r"^p\d")
    assert development.notes == ("2 of 4 validation files are of groups that training files are of as well",)
    assert notes == ("4 of 6 test files are of groups that training files are of as well",)
    assert load_test(str(tmp_path), 8)[1] == ()


def test_test_images_need_training_images_beside_them(tmp_path: Path) -> None:
    write_tree(tmp_path / "test", 3)
    with pytest.raises(ValueError, match="has test/ but no train/ beside it"):
        load_development(str(tmp_path), 8)


def test_a_tree_in_one_piece_is_split(tmp_path: Path) -> None:
    write_tree(tmp_path, 20)
    development, test = load_development(str(tmp_path), 8), load_test(str(tmp_path), 8)[0]
    parts = [pixels_of(part) for part in (development.train, development.validation, test)]
    assert [len(part) for part in parts] == [27, 5, 8]
    assert len(set.union(*parts)) == 40


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_images_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    write_tree(tmp_path, 10)
    Image.new("RGB", (20, 9), (0, 0, 200)).convert(mode).save(tmp_path / "blue" / "other.png")
    assert load_development(str(tmp_path), 8).train.inputs.shape[1:] == (3, 8, 8)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path, 10)
    bad = [tmp_path / "red" / "torn.png", tmp_path / "blue" / "empty.jpg"]
    bad[0].write_bytes((tmp_path / "red" / "0.png").read_bytes()[:40])
    bad[1].touch()
    told = ""
    for load in (load_development, load_test):
        try:
            load(str(tmp_path), 8)
        except ValueError as error:
            told += str(error)
    assert all(str(path) in told for path in bad)
    assert "unreadable images, mend or remove them" in told


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path, 10)
    (tmp_path / "green").mkdir()
    with pytest.raises(ValueError, match="has no files of green"):
        load_development(str(tmp_path), 8)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a folder of files for each of two or more classes; it has 0"):
        load_development(str(tmp_path), 8)


def test_classes_of_the_test_images_alone_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "train", 2)
    write_tree(tmp_path / "test", 2)
    write_image(tmp_path / "test" / "green" / "0.png")
    with pytest.raises(ValueError, match="classes that the training files have not: green"):
        load_test(str(tmp_path), 8)


@pytest.mark.parametrize("load", [load_development, load_test])
def test_classes_too_small_to_be_split_are_refused_before_the_sweep_and_after(tmp_path: Path, load: Any) -> None:
    write_tree(tmp_path / "train", 2)
    with pytest.raises(ValueError, match="train has fewer than 3 files of blue, red: too few to set some apart"):
        load(str(tmp_path), 8)


def test_of_train_without_test_a_part_is_set_apart(tmp_path: Path) -> None:
    write_tree(tmp_path / "train", 15)
    write_tree(tmp_path / "val", 4)
    development, (test, _) = load_development(str(tmp_path), 8), load_test(str(tmp_path), 8)
    assert (len(development.train), len(development.validation), len(test)) == (24, 8, 6)


def test_fashion_mnist_is_read_from_the_folder_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FASHION_MNIST_ENV, str(write_fashion_mnist(tmp_path)))
    development, test = load_development("fashion-mnist", 32), load_test("fashion-mnist", 32)[0]
    assert (len(development.train), len(development.validation), len(test)) == (50, 10, 60)
    assert development.train.inputs.shape[1:] == (1, 28, 28)
    assert set(development.train.inputs.unique().tolist()) == {0, 1, 10}
    assert set(test.inputs.unique().tolist()) == {0, 1, 20}


def test_a_missing_file_of_fashion_mnist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FASHION_MNIST_ENV, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz is missing"):
        load_development("fashion-mnist", 32)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b""), gzip.compress(b"\0\0\x08\x01" + b"\0\0\0\x05" * 3)],
    ids=["no gzip", "empty", "one dimension"],
)
def test_a_spoilt_file_of_fashion_mnist_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv(FASHION_MNIST_ENV, str(write_fashion_mnist(tmp_path)))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is no gzipped IDX file of 3 dimensions"):
        load_development("fashion-mnist", 32)


def test_fashion_mnist_is_downloaded_once_where_it_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = []

    def download(root: str, download: bool) -> None:
        assert download
        downloads.append(root)
        write_fashion_mnist(Path(root) / "FashionMNIST" / "raw")

    monkeypatch.delenv(FASHION_MNIST_ENV, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(images, "FASHION_MNIST_DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    for _ in range(2):
        assert len(load_test("fashion-mnist", 32)[0]) == 60
    assert len(downloads) == 1
    assert [path.name for path in (tmp_path / ".cache" / "tuner").iterdir()] == ["fashion-mnist"]


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, download: bool) -> None:
        raise RuntimeError("no network")

    monkeypatch.delenv(FASHION_MNIST_ENV, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(images, "FASHION_MNIST_DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    with pytest.raises(FileNotFoundError, match=r"no network.*dataset-fashion-mnist, or set TUNER_FASHION_MNIST"):
        load_test("fashion-mnist", 32)
