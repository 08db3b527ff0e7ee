"""Where a machine lacks what Ray needs, and what is done about it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.engine.cluster import connected
from tuner.engine.surroundings import check_loopback, temp_dir
from tuner.errors import ClusterError

ABSENT = f"/absent-{os.getpid()}"


@pytest.fixture
def long_path(tmp_path: Path) -> Path:
    path = tmp_path / ("x" * 100)
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_temporary_folder_that_is_right_is_rays_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert temp_dir() is None
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert temp_dir() is None


def test_tmp_takes_the_place_of_one_that_is_too_long_or_not_there(
    monkeypatch: pytest.MonkeyPatch, long_path: Path
) -> None:
    for given in (str(long_path), ABSENT):
        monkeypatch.setenv("TMPDIR", given)
        assert temp_dir() == "/tmp/ray"
        assert not Path(ABSENT).exists()


def test_rays_own_variable_is_refused_where_it_can_not_be_used(
    monkeypatch: pytest.MonkeyPatch, long_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(long_path))
    with pytest.raises(ClusterError, match=rf"^RAY_TMPDIR={long_path}: the path has \d+ characters, and Ray's sockets"):
        temp_dir()
    monkeypatch.setenv("RAY_TMPDIR", ABSENT)
    with pytest.raises(ClusterError, match=r"Ray can't write its files there \(No such file or directory\)"):
        temp_dir()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_nobody_answers_at_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    given = f"{scheme}127.0.0.1:1"  # where nothing is ever served
    for address, variable, source in ((None, given, "RAY_ADDRESS="), (given, "", "--address ")):
        monkeypatch.setenv("RAY_ADDRESS", variable)
        sentence = f"^{source}{given}: no Ray cluster could be reached there"
        with pytest.raises(ClusterError, match=sentence) as caught, connected(address, verbose=False):
            pass
        assert ("--address" in str(caught.value)) == (address is not None)


def test_a_machine_that_can_not_reach_itself_is_told_at_once() -> None:
    check_loopback()
    alone = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this user can't make a network of its own")
    program = "from tuner.engine.surroundings import check_loopback; check_loopback()"
    done = subprocess.run(
        [*alone, sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert "this machine can't reach itself at 127.0.0.1" in done.stderr
