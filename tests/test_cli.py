"""The command line without Ray: what is refused, what `try`, `check`, `show`, `best` and `list` print."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import ACCURACY, report
from tuner.cli import cli
from tuner.files import TrialFiles, trial_dir
from tuner.results import Results
from tuner.study import Study
from tuner.sweep import Sweep
from tuner.trial import FailureReason, TrialState

SWEEP = """
name: small
trainable: tests.loops:descent
metric: {name: loss}
parameters:
  lr: {min: 0.01, max: 0.6, distribution: log_uniform_values}
  epochs: {value: 3}
run_cap: 4
"""


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tuner.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder as a sweep leaves it, made by the very classes that make it."""
    sweep = Sweep(
        "tests.loops:ends",
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "accuracy", "goal": "maximize"},
        run_cap=3,
        seed=1,
        output=tmp_path / "runs",
    )
    path, seed = sweep._create()
    study = Study(path, path.name, None, (ACCURACY,), sweep.spec.parameters, write=True)
    for values in ([0.5, 0.9, 0.7], [0.6], [0.1, 0.2]):
        asked = study.ask("random", seed)
        assert asked is not None
        files = TrialFiles(trial_dir(path, asked.number))
        reports = [report(step, value) for step, value in enumerate(values, start=1)]
        files.append(reports)
        study.report(asked.number, reports)
    study.tell(0, TrialState.COMPLETED, values=[0.9], last_step=3)
    study.tell(1, TrialState.PRUNED, last_step=1)
    study.tell(2, TrialState.FAILED, reason=FailureReason.OOM, message="too large", last_step=2)
    study.set_summary({"ended_by": "run_cap", "message": "run_cap is reached", "elapsed_s": 9.0, "slots": 2})
    study.close()
    return path


def test_a_file_with_mistakes_is_refused_with_all_of_them_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(SWEEP.replace("run_cap: 4", "run_cap: 0\nmetod: bayes").replace("min: 0.01", "min: 2.0"))
    before = set(tmp_path.iterdir())
    for command in (["check"], ["run", "--output", str(tmp_path / "runs")]):
        done = run(command[0], str(path), *command[1:])
        assert done.returncode == 2
        lines = done.stderr.splitlines()
        assert len(lines) == 3
        assert all(line.startswith("error: ") for line in lines)
        assert "metod" in done.stderr
        assert "method" in done.stderr
        assert "Traceback" not in done.stderr
    assert set(tmp_path.iterdir()) == before


def test_a_trainable_that_is_not_there_is_refused(spec: Path) -> None:
    spec.write_text(SWEEP.replace("loops:descent", "loops:descend"))
    done = run("check", str(spec))
    assert done.returncode == 2
    assert "descent" in done.stderr


def test_a_trainable_that_is_no_name_is_told_once(spec: Path) -> None:
    spec.write_text(SWEEP.replace("tests.loops:descent", "tests.loops").replace("run_cap: 4", "run_cap: 0"))
    lines = run("check", str(spec)).stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["trainable", "run_cap"]


def test_a_good_file_is_told(spec: Path) -> None:
    done = run("check", str(spec))
    assert (done.returncode, done.stderr) == (0, "")
    assert "is right" in done.stdout


def test_try_runs_one_trial_here_with_what_was_set(spec: Path) -> None:
    result = CliRunner().invoke(cli, ["try", str(spec), "--set", "lr=1e-1", "--set", "epochs=3"])
    assert result.exit_code == 0, result.output
    assert "lr=0.1" in result.output
    assert [line.split()[1] for line in result.output.splitlines() if line.startswith("step")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [("well", 0, "ended after 2"), ("silent", 1, "ended without"), ("nan", 1, "loss is nan")],
)
def test_try_tells_how_it_ended(tmp_path: Path, how: str, code: int, told: str) -> None:
    path = tmp_path / "ends.yaml"
    path.write_text("trainable: tests.loops:ends\nmetric: {name: loss}\nparameters: {how: well}\n")
    result = CliRunner().invoke(cli, ["try", str(path), "--set", f"how={how}"])
    assert (result.exit_code, told in result.output) == (code, True)


def test_try_refuses_a_parameter_that_is_not_there(spec: Path) -> None:
    done = run("try", str(spec), "--set", "lrr=0.1")
    assert done.returncode == 2
    assert "lrr" in done.stderr
    assert "lr" in done.stderr


def test_show_and_best_and_list_read_a_run(folder: Path) -> None:
    shown = json.loads(CliRunner().invoke(cli, ["show", str(folder), "--json"]).output)
    assert shown["counts"] == {"completed": 1, "pruned": 1, "failed": 1}
    assert [t["best_value"] for t in shown["trials"]] == [0.9, 0.6, 0.2]
    assert shown["trials"][2]["reason"] == "oom"
    assert shown["trials"][0]["curve"] == {"1": 0.5, "2": 0.9, "3": 0.7}
    best = json.loads(CliRunner().invoke(cli, ["best", str(folder), "--json"]).output)
    assert (best["trial"], best["step"], best["value"]) == (0, 2, 0.9)
    listed = json.loads(CliRunner().invoke(cli, ["list", "--output", str(folder.parent), "--json"]).output)
    assert [row["folder"] for row in listed] == [str(folder)]
    told = CliRunner().invoke(cli, ["show", str(folder)]).output
    assert "0.9" in told
    assert "trial 0002: too large" in told
    assert "step 2" in CliRunner().invoke(cli, ["best", str(folder)]).output
    assert "run_cap" in CliRunner().invoke(cli, ["list", "--output", str(folder.parent)]).output


def test_results_hold_a_table(folder: Path) -> None:
    table = Results.read(folder).table()
    assert list(table["trial"]) == [0, 1, 2]
    assert list(table["accuracy"]) == [0.9, 0.6, 0.2]
    assert list(table["best_step"]) == [2, 1, 2]


def test_the_description_is_kept_with_where_it_came_from(folder: Path) -> None:
    results = Results.read(folder)
    assert results.provenance["seed"] == 1
    assert {"python", "ray", "optuna", "torch"} <= set(results.provenance["versions"])
    assert results.spec.run_cap == 3


@pytest.mark.parametrize("command", ["show", "best", "resume", "board"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, command: str) -> None:
    done = run(command, str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
