"""A run folder as one file: what comes out is what went in, and nothing lands anywhere else."""

import io
import tarfile
from pathlib import Path

import pytest

from tuner.errors import ControlError, OccupiedError
from tuner.remote.folder_archive import pack, unpack

SPEC = "name: a\nprovenance: {study: a, seed: 1}\n"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    trial = folder / "trials" / "0000"
    trial.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(SPEC)
    (trial / "a\\b").write_text("a backslash is a letter here")
    return folder


def test_links_within_the_folder_stay_and_those_that_lead_out_of_it_are_left_out(folder: Path, tmp_path: Path) -> None:
    trial = folder / "trials" / "0000"
    (trial / "within").symlink_to("../../sweep.yaml")
    before = files(folder)
    (tmp_path / "secret").write_text("secret")
    (trial / "outside").symlink_to("../../../secret")
    (trial / "absolute").symlink_to(folder / "sweep.yaml")
    pack(folder, tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "here")
    assert files(tmp_path / "here") == before
    assert (tmp_path / "here" / "trials" / "0000" / "within").is_symlink()


@pytest.mark.parametrize("name", ["../evil", "/evil", "trials/../../evil", "trials//x", "./x", "link/evil"])
def test_an_archive_that_would_write_elsewhere_is_refused_and_leaves_what_is_there(
    folder: Path, tmp_path: Path, name: str
) -> None:
    with tarfile.open(tmp_path / "packed", "w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, ".."
        for member in (
            tarfile.TarInfo("sweep.yaml"),
            *([link] if name.startswith("link") else ()),
            tarfile.TarInfo(name),
        ):
            archive.addfile(member, io.BytesIO())
    before = files(tmp_path)
    with pytest.raises(ControlError, match="was not fetched: the archive "):
        unpack(tmp_path / "packed", folder)
    assert files(tmp_path) == before
    assert not (tmp_path / "evil").exists()


def test_a_file_that_is_no_archive_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").write_text("no archive")
    before = files(folder)
    with pytest.raises(ControlError, match="was not fetched"):
        unpack(tmp_path / "packed", folder)
    assert files(folder) == before


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_is_fetched_again_takes_the_place_of_what_was_fetched_and_of_nothing_else(
    folder: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    for name in (
        "trials/0000/metrics.jsonl",
        "trials/0000/kept.txt",
        "trials/0000/dropped.txt",
        "trials/0000/edited.txt",
    ):
        put(folder / name, "first")
    pack(folder, tmp_path / "packed")
    unpack(tmp_path / "packed", here)
    put(folder / "trials/0000/metrics.jsonl", "second")
    put(folder / "trials/0000/edited.txt", "second")
    (folder / "trials/0000/dropped.txt").unlink()
    put(here / "notes/a.txt", "mine")
    put(here / "trials/0000/.hidden", "mine")
    put(here / "trials/0000/edited.txt", "mine too")
    pack(folder, tmp_path / "packed")
    unpack(tmp_path / "packed", here)
    found = files(here)
    (aside,) = [name for name in found if "aside" in name]
    assert found.pop(aside) == b"mine too"
    assert found.pop("notes/a.txt") == b"mine"
    assert found == files(folder)
    assert (here / "trials/0000/.hidden").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".here")]


def test_the_place_of_something_else_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "packed")
    put(tmp_path / "theirs" / "a.txt", "theirs")
    put(tmp_path / "other" / "sweep.yaml", SPEC.replace("seed: 1", "seed: 2"))
    before = files(tmp_path)
    with pytest.raises(OccupiedError, match="was not made by a sweep"):
        unpack(tmp_path / "packed", tmp_path / "theirs")
    with pytest.raises(OccupiedError, match="holds another sweep"):
        unpack(tmp_path / "packed", tmp_path / "other")
    assert files(tmp_path) == before


def test_a_sweep_that_was_packed_without_checkpoints_keeps_what_a_trial_calls_so(folder: Path, tmp_path: Path) -> None:
    trial = folder / "trials" / "0000"
    for name in ("checkpoints/step-0001/state.pt", "export/checkpoints/a", "control.json"):
        put(trial / name, "a")
    put(folder / "control.json", "{}")
    pack(folder, tmp_path / "packed", best_only=True)
    unpack(tmp_path / "packed", tmp_path / "here")
    found = files(tmp_path / "here")
    assert {"trials/0000/export/checkpoints/a", "trials/0000/control.json"} < found.keys()
    assert not {"trials/0000/checkpoints/step-0001/state.pt", "control.json"} & found.keys()
