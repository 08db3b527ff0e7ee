"""Folders for one process's files, which no other user can have a hand in."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.errors import OccupiedError
from tuner.trial.scratch import Scratch, runtime_folder

HOLD = """
import sys
from pathlib import Path
from tuner.trial.scratch import Scratch
scratch = Scratch(sys.argv[2], Path(sys.argv[1]))
(scratch.path / "file").touch()
print("held", flush=True)
sys.stdin.read()
"""


def holder(parent: Path, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    killed, living = holder(tmp_path, "killed"), holder(tmp_path, "living")
    killed.kill()
    killed.communicate()
    mine = Scratch("mine", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"living", "mine"}
    assert (tmp_path / "living" / "file").exists()
    living.communicate()
    mine.close()
    mine.close()
    assert {path.name for path in tmp_path.iterdir()} == {"living"}


def test_the_last_of_those_who_share_a_folder_removes_it(tmp_path: Path) -> None:
    first, second = Scratch("shared", tmp_path), Scratch("shared", tmp_path)
    first.close()
    assert second.path.is_dir()
    second.close()
    assert not second.path.exists()


def foreign(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)


def open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def readable_by_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)


def link(path: Path) -> None:
    target = path.with_name("another")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


def file(path: Path) -> None:
    path.touch(mode=0o600)


@pytest.mark.parametrize("plant", [foreign, open_to_others, readable_by_others, link, file])
def test_a_folder_that_others_could_write_to_or_have_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None]
) -> None:
    if plant is foreign and os.geteuid() != 0:
        pytest.skip("only root can make another user's folder")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    plant(tmp_path / f"tuner-{os.geteuid()}")
    before = sorted(tmp_path.rglob("*"))
    for make in (lambda: Scratch("mine"), runtime_folder):
        with pytest.raises(
            PermissionError, match=r"tuner-\d+ is not a folder that you alone .* set TMPDIR to a folder"
        ):
            make()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_folders_are_for_this_user_alone_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    umask = os.umask(0)
    try:
        mine = Scratch("mine")
    finally:
        os.umask(umask)
    assert mine.path.parent == runtime_folder() == tmp_path / f"tuner-{os.geteuid()}"
    assert stat.S_IMODE(mine.path.parent.stat().st_mode) == 0o700
    mine.close()


def test_small_files_are_in_the_folder_of_the_session_where_it_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    assert runtime_folder() == session / "tuner"
    # Large files are not put into memory.
    mine = Scratch("mine")
    assert mine.path.parent == tmp_path / f"tuner-{os.geteuid()}"
    mine.close()
    # After the session's end, and where `sudo` has kept the variable.
    for text in (str(tmp_path / "gone"), "relative", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", text)
        assert runtime_folder() == tmp_path / f"tuner-{os.geteuid()}"


def test_what_others_have_put_beside_is_left(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    (tmp_path / "empty").mkdir()  # of one that died before it could mark it
    with pytest.raises(OccupiedError, match="did not write"):
        Scratch("theirs", tmp_path)
    Scratch("mine", tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert (tmp_path / "theirs" / "file").read_text() == "theirs"
