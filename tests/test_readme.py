"""README's examples run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tuner.cli.main import cli
from tuner.results.results import Results
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.yaml_text import load_yaml

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def example(language: str, mark: str) -> str:
    """The one that holds this text."""
    (found,) = [text for text in examples(language) if mark in text]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with README's own trainable and its sweep file."""
    (tmp_path / "mytask.py").write_text(example("python", "# mytask.py"))
    (tmp_path / "mytask.yaml").write_text(example("yaml", "# mytask.yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mytask", None)


@pytest.mark.parametrize("text", examples("yaml"), ids=lambda text: text.splitlines()[0])
def test_each_sweep_file_is_right(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    spec = SweepSpec.from_dict(load_yaml(path))
    assert SweepSpec.from_dict(spec.to_dict()) == spec


def test_the_trainable_is_checked_and_tried(folder: Path) -> None:
    checked = CliRunner().invoke(cli, ["check", "mytask.yaml"])
    assert checked.exit_code == 0, checked.output
    tried = CliRunner().invoke(cli, ["try", "mytask.yaml", "--set", "lr=0.01"])
    assert tried.exit_code == 0, (tried.output, tried.exception)
    assert "loss" in tried.output


@pytest.mark.slow
def test_the_programs_run(folder: Path, cluster_address: str) -> None:
    # Shorter: what is shown is how to write it. The second one makes a sweep and leaves it at that.
    first = example("python", "results = sweep.run()").replace("run_cap=30", "run_cap=4")
    second = example("python", "HyperBandScheduler(").replace("run_cap=30", "run_cap=4") + "assert sweep.run().best\n"
    loop = example("python", "tuner.from_ray_train(loop)")
    assert "tuner.from_ray_train" in loop
    (folder / "program.py").write_text(f"{first}\n{second}\n{loop}\nprint('all of it')\n")
    done = subprocess.run(
        [sys.executable, "program.py"],
        env={**os.environ, "RAY_ADDRESS": cluster_address},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all of it" in done.stdout
    assert "run_cap" in done.stdout, "results.summary['ended_by']"
    runs = [Results(path.parent) for path in folder.glob("runs/*/sweep.yaml")]
    assert [len(results.trials) for results in runs] == [4, 4]
