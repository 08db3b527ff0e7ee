"""The examples of the documentation run as they stand there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.results.results import Results, SweepState

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
FILES = sorted(path for path in EXAMPLES.iterdir() if path.is_file())
PROGRAMS = [path for path in FILES if "__main__" in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_fits_on_a_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path, cluster_address: str) -> None:
    shutil.copy(path, tmp_path)
    done = subprocess.run(
        [sys.executable, path.name],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": cluster_address},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = [Results(found.parent) for found in tmp_path.glob("runs/*/sweep.yaml")]
    assert results.state is SweepState.FINISHED
    assert results.counts().keys() <= {"completed", "pruned"}, results.counts()
    assert results.best is not None
