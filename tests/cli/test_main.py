"""The command line without Ray: what is refused, what `try`, `check`, `show`, `best` and `list` print."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import ACCURACY, report
from tuner.cli.main import _conclude, cli
from tuner.command import program
from tuner.errors import SpecError, StudyNotFoundError
from tuner.records import FailureReason, Report, TrialState
from tuner.results.results import Results
from tuner.results.sweep_state import SweepState
from tuner.run_folder.place import Uri
from tuner.run_folder.trial_files import TrialFiles, trial_dir
from tuner.spec.file import load_file
from tuner.spec.yaml_text import load_yaml, to_yaml
from tuner.study.study import Study
from tuner.sweep import Sweep

SWEEP = """
name: small
trainable: tests.loops:descent
metric: {name: loss}
early_terminate: none
parameters:
  lr: {min: 0.01, max: 0.6, distribution: log_uniform_values}
  epochs: {value: 3}
run_cap: 4
"""


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tuner.cli.main import main; main()", *args]
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
    path = tmp_path / "runs" / "ends-7f3a"
    seed = sweep._create(path, path, path.name)
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_trainable_that_is_not_there_is_refused(spec: Path) -> None:
    spec.write_text(SWEEP.replace("loops:descent", "loops:descend"))
    done = run("check", str(spec))
    assert done.returncode == 2
    assert "descent" in done.stderr


@pytest.mark.slow
def test_a_trainable_that_is_no_name_is_told_once(spec: Path) -> None:
    spec.write_text(SWEEP.replace("tests.loops:descent", "tests.loops").replace("run_cap: 4", "run_cap: 0"))
    lines = run("check", str(spec)).stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["trainable", "run_cap"]


@pytest.mark.slow
def test_a_good_file_is_told(spec: Path) -> None:
    done = run("check", str(spec))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{spec} is right: bayes, no early stopping, over 2 parameters.",
        "  lr: a number from 0.01 to 0.6, logarithmic",
        "  epochs: always 3",
        "  in all: infinitely many configurations",
    ]


def test_a_single_parameter_is_counted_as_one(spec: Path) -> None:
    spec.write_text("trainable: tests.loops:ends\nmetric: {name: loss}\nparameters: {how: well}\n")
    result = CliRunner().invoke(cli, ["check", str(spec)])
    assert "over 1 parameter." in result.output


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


@pytest.mark.slow
def test_try_refuses_a_parameter_that_is_not_there(spec: Path) -> None:
    done = run("try", str(spec), "--set", "lrr=0.1")
    assert done.returncode == 2
    assert "lrr" in done.stderr
    assert "lr" in done.stderr


@pytest.mark.slow
def test_each_parameter_is_told_with_where_it_came_from(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('{"lrr": 1, "lr": 0.1}')
    done = run("try", str(spec), "--params", str(tmp_path / "params.json"), "--set", "lr=9", "--set", "x=1")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"--params {tmp_path / 'params.json'}", "--set", "--set"]
    assert [line.split(": ")[2].split()[0] for line in lines] == ["lrr", "x", "lr"]


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_without_runs_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(cli, ["list", "--output", str(tmp_path / name)])
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    assert f"no folder {tmp_path / name}" in result.output if name == "absent" else "no runs in" in result.output
    assert CliRunner().invoke(cli, ["list", "--output", str(tmp_path / name), "--json"]).output == "[]\n"


@pytest.mark.slow
def test_a_board_that_finds_its_port_in_use_is_refused(folder: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        done = run("board", str(folder), "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "already in use" in done.stderr


@pytest.fixture
def front(tmp_path: Path) -> Path:
    """A run folder of a sweep with two metrics."""
    sweep = Sweep(
        "tests.loops:two_metrics",
        parameters={"x": {"min": -1.0, "max": 2.0}},
        metric=[{"name": "loss"}, {"name": "cost"}],
        run_cap=3,
        output=tmp_path / "fronts",
    )
    path = tmp_path / "fronts" / "two_metrics-7f3a"
    seed = sweep._create(path, path, path.name)
    study = Study(path, path.name, None, sweep.spec.metrics, sweep.spec.parameters, write=True)
    for loss, cost in ((0.25, 4.5), (0.75, 2.5), (0.875, 5.5)):
        asked = study.ask("random", seed)
        assert asked is not None
        reports = [Report(step, {"loss": loss / step, "cost": cost, "size": 7.0}, 1.0, 1e9, False) for step in (1, 2)]
        TrialFiles(trial_dir(path, asked.number)).append(reports)
        study.report(asked.number, reports)
    study.tell(0, TrialState.COMPLETED, values=[0.125, 4.5], last_step=2)
    study.tell(1, TrialState.COMPLETED, values=[0.375, 2.5], last_step=2)
    study.close()
    return path


def test_all_of_several_metrics_are_shown(front: Path) -> None:
    shown = CliRunner().invoke(cli, ["show", str(front)]).output.splitlines()
    assert shown[0].split()[:5] == ["trial", "state", "steps", "loss", "cost"]
    assert [line.split()[3:5] for line in shown[1:4]] == [["0.125", "4.5"], ["0.375", "2.5"], ["0.4375", "5.5"]]
    best = CliRunner().invoke(cli, ["best", str(front)]).output
    assert "best: loss=0.125 cost=4.5 (trial 0000, step 2)" in best
    assert "pareto front: 2 trials\n  0000  loss=0.125 cost=4.5  x=" in best
    assert "  0001  loss=0.375 cost=2.5  x=" in best
    table = Results.read(front).table()
    assert list(table["cost"]) == [4.5, 2.5, 5.5]
    assert list(table["size"]) == [7.0] * 3


@pytest.mark.parametrize(
    ("started_as", "told"),
    [
        ("bin/tuner", "tuner"),
        ("elsewhere/tuner", "elsewhere/tuner"),
        ("lib/tuner/__main__.py", f"{sys.executable} -m tuner"),
        ("-c", "tuner"),
    ],
)
def test_commands_are_told_as_they_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started_as: str, told: str
) -> None:
    for name in ("bin", "elsewhere"):
        path = tmp_path / name / "tuner"
        path.parent.mkdir()
        path.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "argv", [started_as])
    assert program() == told


def test_an_interrupted_sweep_is_summed_up_with_its_best(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(folder)
    results.summary["ended_by"] = "interrupted"
    with pytest.raises(SystemExit) as caught:
        _conclude(results)
    assert caught.value.code == 130
    told = capsys.readouterr().out
    assert "best: accuracy=0.9 (trial 0000, step 2)" in told
    assert told.endswith(f"interrupted; resume it with: tuner resume {folder}\n")


def test_a_sweep_does_not_go_on_with_the_run_of_another(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = Sweep("tests.loops:ends", parameters={"y": {"min": 0.0, "max": 1.0}}, metric={"name": "loss"}, run_cap=9)
    with pytest.raises(SpecError, match="holds another sweep, which differs in metric, parameters"):
        other.resume(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_results_tell_what_they_are(folder: Path) -> None:
    counts = "1 completed, 1 pruned, 1 failed"
    assert repr(Results(folder)) == f"<Results {str(folder)!r}: {counts}; best accuracy=0.9 of trial 0>"


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


def test_the_documented_json_is_what_is_printed(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text()

    def documented(heading: str) -> list[str]:
        table = text.partition(f"{heading}\n")[2].partition("\n#")[0]
        rows = [line for line in table.splitlines() if line.startswith("| `")]
        return [name.strip("` ") for row in rows for name in row.split("|")[1].split(",")]

    results = Results(folder)
    assert documented("## `tuner show DIR --json`") == list(results.to_json())
    assert documented("### `trials[]`") == list(results.to_json()["trials"][0])
    assert documented("## `tuner best DIR --json`") == list(results.best_json() or {})
    summary = {"ended_by", "message", "is_failure", "slots", "last_run_s", "elapsed_s"}
    assert summary == set(documented("### `summary`"))
    states = [f"`{state.value}`" for state in SweepState]
    assert [state for state in states if state not in text] == []


@pytest.mark.parametrize("damage", ["a: [1", "- a", b"\xff\xfe", "provenance: 3", None])
def test_a_damaged_description_is_told_in_a_sentence_and_harms_no_other_run(
    folder: Path, damage: str | bytes | None
) -> None:
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    path = folder / "sweep.yaml"
    path.unlink()
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage.encode() if isinstance(damage, str) else damage)
    for command in ("check", "show", "resume"):
        ended = CliRunner().invoke(cli, [command, str(path if command == "check" else folder)])
        assert isinstance(ended.exception, SpecError | StudyNotFoundError), ended
        assert ended.output == ""
    listed = CliRunner().invoke(cli, ["list", "--output", str(folder.parent), "--json"]).output
    assert [row["folder"] for row in json.loads(listed)] == [str(other)]


def test_results_hold_a_table(folder: Path) -> None:
    table = Results.read(folder).table()
    assert list(table["trial"]) == [0, 1, 2]
    assert list(table["accuracy"]) == [0.9, 0.6, 0.2]
    assert list(table["best_step"]) == [2, 1, 2]


def test_a_table_has_a_column_for_each_parameter_and_metric_whatever_its_name(tmp_path: Path) -> None:
    sweep = Sweep(
        "tests.loops:ends",
        parameters={
            "loss": {"value": "a"},
            "accuracy": {"value": "b"},
            "state": {"value": "c"},
            "x": {"min": 0.0, "max": 1.0},
        },
        metric={"name": "accuracy", "goal": "maximize"},
        output=tmp_path,
        run_cap=2,
    )
    sweep._create(tmp_path / "it", tmp_path / "it", "it")
    study = Study(tmp_path / "it", "it", None, (ACCURACY,), sweep.spec.parameters, write=True)
    reports = [Report(1, {"accuracy": 0.5, "loss": 2.0, "steps": 3.0}, 1.0, 1e9, has_checkpoint=False)]
    for reported in (reports, []):  # the second trial has reported nothing yet
        asked = study.ask("random", 0)
        assert asked is not None
        TrialFiles(trial_dir(tmp_path / "it", asked.number)).append(reported)
        study.report(asked.number, reported)
    study.close()
    table = Results.read(tmp_path / "it").table()
    assert table.columns.is_unique
    assert [list(table[name].fillna(-1)) for name in ("accuracy", "loss", "metrics.steps", "steps")] == [
        [0.5, -1],
        [2.0, -1],
        [3.0, -1],
        [1, 0],
    ]
    assert [list(table[f"params.{name}"]) for name in ("accuracy", "loss", "state")] == [
        ["b"] * 2,
        ["a"] * 2,
        ["c"] * 2,
    ]
    assert table["x"].between(0, 1).all()


def test_the_description_is_kept_with_where_it_came_from(folder: Path) -> None:
    results = Results.read(folder)
    assert results.provenance["seed"] == 1
    assert {"python", "ray", "optuna", "torch"} <= set(results.provenance["versions"])
    assert results.spec.run_cap == 3


@pytest.mark.parametrize(("then", "now"), [("bayes", "tpe"), ("multifidelity", "bayes"), ("random", "random")])
def test_a_run_of_before_methods_were_renamed_keeps_its_meaning(folder: Path, then: str, now: str) -> None:
    path = folder / "sweep.yaml"
    described = load_yaml(path)
    del described["provenance"]["format"], described["early_terminate"]
    described["provenance"]["instances"] = ["ASHAScheduler"]
    path.write_text(to_yaml({**described, "method": then}))
    for read in (Results.read(folder).spec, load_file(path, {})):
        assert (read.method, read.early_terminate) == (now, None)
    path.write_text(to_yaml({**described, "method": then, "early_terminate": {"type": "asha"}}))
    assert Results.read(folder).spec.early_terminate == {"type": "asha", "min_iter": 1, "eta": 3}
    # As it is written where a new run_cap is given.
    results = Results.read(folder)
    path.write_text(to_yaml({**results.spec.to_dict(), "provenance": results.provenance}))
    assert Results.read(folder).spec == results.spec


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "best", "resume", "board"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, command: str) -> None:
    done = run(command, str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_folder_at_a_uri_is_read_without_its_checkpoints(folder: Path, tmp_path: Path) -> None:
    """Through pyarrow, on a local file system."""
    (folder / "log.txt").write_text("one\ntwo\n")
    put_checkpoint(folder / "trials" / "0000", 2)
    uri = f"file://{folder}"
    there = json.loads(run("show", uri, "--json").stdout)
    here = json.loads(run("show", str(folder), "--json").stdout)
    checkpoint = f"{uri}/trials/0000/checkpoints/step-0002"
    assert here["best"]["checkpoint"] == f"{folder}/trials/0000/checkpoints/step-0002"
    assert there == {**here, "folder": uri, "best": {**here["best"], "checkpoint": checkpoint}}
    assert f"checkpoint: {checkpoint}" in run("best", uri).stdout
    assert run("logs", uri).stdout == "one\ntwo\n"
    assert uri in run("list", "--output", f"file://{folder.parent}").stdout
    assert run("wait", uri).stdout == f"{uri}: finished\n"
    done = run("pause", uri)
    assert (done.returncode, f"{uri} is not running" in done.stderr) == (2, True)
    results = Results.read(uri)
    assert not list(results.folder.rglob("*.pt"))
    assert (results.bring(Uri(checkpoint)) / "state.pt").read_text() == "2"
    done = run("show", f"{uri}-not")
    assert (done.returncode, "is not a run folder" in done.stderr) == (2, True)


def put_checkpoint(trial: Path, step: int) -> None:
    for name in ("state.pt", "checksums.json"):
        path = trial / "checkpoints" / f"step-{step:04d}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(step))
