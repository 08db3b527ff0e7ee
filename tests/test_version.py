"""What tuner is called: `tuner` where it is imported and run, and never where it is installed from a registry.

And which versions of Python and Ray it promises to work with.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from click.testing import CliRunner
from packaging.requirements import Requirement

from tests.matrix import CELLS
from tuner.cli.main import cli
from tuner.run_folder.provenance import versions
from tuner.version import VERSION

ROOT = Path(__file__).parents[1]
TEXTS = sorted(
    path
    for top in ("tuner", "trainables", "search_spaces", "benchmarks", "docs", "scripts", "README.md", "CONTRIBUTING.md")
    for path in [ROOT / top, *(ROOT / top).rglob("*")]
    if path.suffix in (".py", ".md", ".yaml", "") and path.is_file()
)
# `pip install tuner` would install a stranger's package; what is installed from is a checkout.
STRANGERS = re.compile(r"\binstall\b[^\n]*?[\s'\"]tuner(\[|==|'|\"|`|$)", re.MULTILINE)


def test_no_hint_names_a_package_of_somebody_else() -> None:
    for text in ("pip install 'tuner[text]'", "pip install -U tuner", "`uv pip install tuner`", 'install "tuner==1"'):
        assert STRANGERS.search(text), text
    for text in ("pip install .", "pip install ~/tuner", "pip install 'tuner-ray[text]'", "installs tuner for you"):
        assert not STRANGERS.search(text), text
    assert len(TEXTS) > 100
    assert [path.name for path in TEXTS if STRANGERS.search(path.read_text())] == []
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == "tuner-ray"


def test_the_command_tells_the_version_of_the_code_that_runs() -> None:
    assert CliRunner().invoke(cli, ["--version"], prog_name="tuner").output == f"tuner, version {VERSION}\n"
    assert versions()["tuner"] == VERSION


def test_the_versions_that_are_promised_are_those_that_the_matrix_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert pythons == sorted({cell.python for cell in CELLS})
    assert project["requires-python"] == f">={pythons[0]}"
    (ray,) = [Requirement(text) for text in project["dependencies"] if text.startswith("ray[")]
    oldest, newest = (tuple(map(int, CELLS[at].ray.split("."))) for at in (0, -1))
    assert str(ray.specifier) == f"<{newest[0]}.{newest[1] + 1},>={oldest[0]}.{oldest[1]}"


def test_an_interpreter_without_what_tuner_needs_is_told_by_its_path() -> None:
    # Without its site-packages, as the system's own Python is.
    command = [sys.executable, "-S", "-m", "tuner", "--version"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"error: {re.escape(sys.executable)} \(Python 3\.[\d.]+\) has no module '\w+', which tuner needs: .*\n",
        done.stderr,
    )
