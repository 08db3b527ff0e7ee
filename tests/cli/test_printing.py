"""What people see of values that look like something else to a terminal, in every table and summary."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import report
from tuner.cli.main import cli
from tuner.command import command_line
from tuner.records import TrialState
from tuner.run_folder.trial_files import TrialFiles, trial_dir
from tuner.study.study import Study
from tuner.sweep import Sweep

METRIC = "[val] acc :x:"
VALUES = {
    "[/data/raw]": "[/data/raw]",
    "[mask]": "[mask]",
    "[red]warm[/red]": "[red]warm[/red]",
    ":x: :warning:": ":x: :warning:",
    "two\nlines": r"two\nlines",
    "\x1b[31mred": r"\x1b[31mred",
    "größe 🎉": "größe 🎉",
    "a=b c&d \\ 'e' \"f\"": "a=b c&d \\ 'e' \"f\"",
}
OTHERS = {"[true, false]": [True, False], '["ä", null]': ["ä", None], "null": None, "true": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose trials have tried all of them."""
    name = "[k] ü\nx"
    sweep = Sweep(
        "tests.loops:ends",
        parameters={name: {"grid": [*VALUES, *OTHERS.values()]}},
        metric={"name": METRIC, "goal": "maximize"},
        method="grid",
        seed=1,
        output=tmp_path / "[old] [/x]",
    )
    path = tmp_path / "[old] [/x]" / "ends-7f3a"
    seed = sweep._create(path, path, path.name)
    study = Study(path, path.name, None, sweep.spec.metrics, sweep.spec.parameters, write=True)
    for _ in range(len(VALUES) + len(OTHERS)):
        asked = study.ask("grid", seed)
        assert asked is not None
        reports = [report(1, 0.5, name=METRIC)]
        TrialFiles(trial_dir(path, asked.number)).append(reports)
        study.report(asked.number, reports)
        study.tell(asked.number, TrialState.COMPLETED, values=[0.5], last_step=1)
    study.close()
    return path


def shown(*args: str, charset: str = "utf-8") -> str:
    done = CliRunner(charset=charset).invoke(cli, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    return done.output


def test_every_character_of_a_value_is_shown(folder: Path) -> None:
    table = shown("show", str(folder))
    assert METRIC in table.splitlines()[0]
    for text in [*VALUES.values(), *OTHERS]:
        assert f"[k] ü\\nx={text}" in table
    assert len([line for line in table.splitlines() if line.strip().startswith("00")]) == len(VALUES) + len(OTHERS)
    assert METRIC in shown("list", "--output", str(folder.parent))
    assert "[old] [/x]/ends-7f3a" in shown("list", "--output", str(folder.parent))
    best = shown("best", str(folder))
    assert f"best: {METRIC}=0.5 (trial 0000, step 1)" in best
    assert any(f"  [k] ü\\nx: {text}\n" in best for text in [*VALUES.values(), *OTHERS])


@pytest.mark.parametrize(("charset", "name"), [("ascii", r"gr\xf6\xdfe \U0001f389"), ("latin-1", r"größe \U0001f389")])
def test_a_terminal_of_few_letters_shows_the_rest_escaped(folder: Path, charset: str, name: str) -> None:
    assert name in shown("show", str(folder), charset=charset)
    for command in (["list", "--output", str(folder.parent)], ["best", str(folder)], ["status", str(folder)]):
        shown(*command, charset=charset)


def test_commands_can_be_pasted() -> None:
    assert command_line("show", Path("runs/my run's")) == """tuner show 'runs/my run'"'"'s'"""
    assert command_line("logs", "-f", "id-1", "--address", "http://head:8265").endswith(
        " logs -f id-1 --address http://head:8265"
    )
