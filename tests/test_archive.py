"""A run folder as one file: what comes out is what went in, and nothing lands anywhere else."""

import io
import tarfile
from pathlib import Path

import pytest

from tuner.archive import pack, unpack
from tuner.errors import ControlError


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    trial = folder / "trials" / "0000"
    trial.mkdir(parents=True)
    (folder / "sweep.yaml").write_text("name: a\n")
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
    with pytest.raises(ControlError, match="was not fetched: what was sent "):
        unpack(tmp_path / "packed", folder)
    assert files(tmp_path) == before
    assert not (tmp_path / "evil").exists()


def test_a_file_that_is_no_archive_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").write_text("no archive")
    before = files(folder)
    with pytest.raises(ControlError, match="was not fetched"):
        unpack(tmp_path / "packed", folder)
    assert files(folder) == before
