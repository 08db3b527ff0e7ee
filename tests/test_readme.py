"""README is short and its links lead somewhere; the examples of README and docs/ run as they stand there."""

import ast
import os
import re
import runpy
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tuner.cli.main import cli
from tuner.results.results import Results
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.yaml_text import load_yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
MAX_README_BYTES = 8 * 1024


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path, language: str) -> list[str]:
    """The blocks of code, with the files that they include."""
    blocks = [textwrap.dedent(text) for _, kind, text in FENCE.findall(page.read_text()) if kind == language]
    return [
        re.sub(r"^--8<--\n(.*)\n--8<--$", lambda found: (ROOT / found[1]).read_text(), text, flags=re.M)
        for text in blocks
    ]


def example(page: str, language: str, mark: str) -> str:
    """The one that holds this text."""
    (found,) = [text for text in examples(ROOT / page, language) if mark in text]
    return found


SWEEP_FILES = [(page, text) for page in PAGES for text in examples(page, "yaml") if "trainable:" in text]


def sentences(markdown: str) -> list[str]:
    """The sentences of a page, without code, tables and headings."""
    text = FENCE.sub("", markdown)
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("|", "#", "!", "<")))
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text))
    parts = [re.split(r"(?<=[.!?:])\s+", paragraph) for paragraph in re.split(r"\n\s*\n|\n- ", text)]
    return [one for some in parts for one in (" ".join(part.split()) for part in some) if " · " not in one and one]


def test_readme_is_read_in_two_minutes() -> None:
    text = README.read_text()
    assert len(text.encode()) <= MAX_README_BYTES
    lengths = [len(one.split()) for one in sentences(text)]
    assert len(lengths) > 20
    assert statistics.median(lengths) <= 13
    assert max(lengths) <= 25, max(sentences(text), key=lambda one: len(one.split()))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    dead = [target for target in targets if not (page.parent / target.partition("#")[0]).resolve().exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_can_be_read(page: Path) -> None:
    for text in examples(page, "python"):
        ast.parse(text)


@pytest.mark.parametrize(("page", "text"), SWEEP_FILES, ids=[name(page) for page, _ in SWEEP_FILES])
def test_each_sweep_file_is_right(tmp_path: Path, page: Path, text: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    spec = SweepSpec.from_dict(load_yaml(path))
    assert SweepSpec.from_dict(spec.to_dict()) == spec


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory from which modules are imported."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for module in ("mytask", "sine"):
        if module not in before:
            sys.modules.pop(module, None)


@pytest.fixture
def folder(workplace: Path) -> Path:
    """With the trainable of `Your own training loop`, and its sweep file."""
    page = "docs/start/your-own-loop.md"
    (workplace / "mytask.py").write_text(example(page, "python", "# mytask.py"))
    (workplace / "mytask.yaml").write_text(example(page, "yaml", "# mytask.yaml"))
    return workplace


def test_the_trainable_is_checked_and_tried(folder: Path) -> None:
    checked = CliRunner().invoke(cli, ["check", "mytask.yaml"])
    assert checked.exit_code == 0, checked.output
    tried = CliRunner().invoke(cli, ["try", "mytask.yaml", "--set", "lr=0.01"])
    assert tried.exit_code == 0, (tried.output, tried.exception)
    assert "loss" in tried.output


def test_the_script_runs_before_and_after(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = example("README.md", "diff", "# sine.py").splitlines()
    script = workplace / "sine.py"
    script.write_text("\n".join(line[1:] for line in lines if not line.startswith("+")) + "\n")
    monkeypatch.setattr(sys, "argv", ["sine.py", "--epochs", "2"])
    runpy.run_path(str(script), run_name="__main__")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["0", "1"]

    script.write_text("\n".join(line[1:] for line in lines if not line.startswith("-")) + "\n")
    (workplace / "sine.yaml").write_text(example("README.md", "yaml", "# sine.yaml"))
    for command in ("check", "try"):
        done = CliRunner().invoke(cli, [command, "sine.yaml"])
        assert done.exit_code == 0, (done.output, done.exception)
    assert "loss" in done.output


@pytest.mark.slow
def test_the_programs_run(folder: Path, cluster_address: str) -> None:
    # Shorter: what is shown is how to write it. The second one makes a sweep and leaves it at that.
    page = "docs/guides/python.md"
    first = example(page, "python", "results = sweep.run()  # blocks").replace("run_cap=30", "run_cap=4")
    second = example(page, "python", "HyperBandScheduler(").replace("run_cap=30", "run_cap=4")
    loop = example("docs/guides/ray-train.md", "python", "train = tuner.from_ray_train(loop)")
    program = f"{first}\n{second}assert sweep.run().best\n\n{loop}\nprint('all of it')\n"
    (folder / "program.py").write_text(program)
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
