"""What is read from a run folder, of sweeps that seem to have been run."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import ACCURACY, report
from tests.recorded import METRIC, SPACE, ran
from tuner import Sweep
from tuner.cli.main import cli
from tuner.console import LineConsole
from tuner.errors import SpecError
from tuner.records import TrialState
from tuner.results.results import Results
from tuner.results.start_from import HISTORY_FILE, History
from tuner.results.sweep_state import SweepState
from tuner.run_folder.lock import RunLock
from tuner.spec.file import read_spec
from tuner.spec.yaml_text import load_yaml
from tuner.study.recorder import Recorder
from tuner.study.study import Study

WHOLE: tuple[Mapping[str, Any], list[float]] = ({"optimizer": "adam", "lr": 0.1}, [0.5, 0.6, 0.7])
NOTHING: tuple[Mapping[str, Any], list[float]] = ({"optimizer": "adam", "lr": 0.2}, [])


def take_up(folder: Path) -> Recorder:
    """As a driver that goes on with a run folder."""
    spec, origin = read_spec(folder)
    study = Study(folder, origin["study"], None, spec.metrics, spec.parameters, write=True)
    study.recover()
    return Recorder(folder, spec, study, "random", 0)


def end(folder: Path, **summary: Any) -> None:
    take_up(folder).close({"message": "", "is_failure": False, "slots": 1, "last_run_s": 1.0, **summary})


@pytest.mark.parametrize(
    ("trials", "ended_by", "is_failure", "state", "code"),
    [
        ([WHOLE], "run_cap", False, SweepState.FINISHED, 0),
        ([WHOLE], "space", False, SweepState.FINISHED, 0),
        ([WHOLE], "target", False, SweepState.FINISHED, 0),
        ([WHOLE], "hours", False, SweepState.FINISHED, 0),
        ([WHOLE], "failed", True, SweepState.FAILED, 1),
        ([NOTHING], "alike", True, SweepState.FAILED, 1),
        ([NOTHING], "run_cap", False, SweepState.FINISHED, 1),  # no trial has a finite metric
        ([NOTHING], "stopped", False, SweepState.STOPPED, 0),
        ([NOTHING], "cancelled", False, SweepState.CANCELLED, 0),
        ([WHOLE], "interrupted", False, SweepState.INTERRUPTED, 130),
        ([WHOLE], None, False, SweepState.CRASHED, 130),
    ],
)
def test_a_sweep_exits_as_it_has_ended(
    tmp_path: Path, trials: Any, ended_by: str | None, is_failure: bool, state: SweepState, code: int
) -> None:
    folder = ran(tmp_path / "runs" / "it", trials)
    if ended_by is not None:
        end(folder, ended_by=ended_by, is_failure=is_failure)
    results = Results(folder)
    assert (results.state, results.exit_code) == (state, code)
    waited = CliRunner().invoke(cli, ["wait", str(folder)])
    assert (waited.exit_code, state.value in waited.output) == (code, True)
    listed = CliRunner().invoke(cli, ["list", "--output", str(folder.parent)]).output
    assert (ended_by or "cut off: resume it") in listed


def test_a_run_that_was_interrupted_resumed_and_killed_is_cut_off(tmp_path: Path) -> None:
    folder = ran(tmp_path / "runs" / "it", [WHOLE])
    end(folder, ended_by="interrupted")
    with RunLock(folder):
        recorder = take_up(folder)
        running = recorder.ask()
        assert running is not None
        recorder.report(running.number, [report(1, 0.5)])
        results = Results(folder)
        assert results.state is SweepState.RUNNING
        assert "ended" not in CliRunner().invoke(cli, ["show", str(folder)]).output
        # Also where no trial runs at that moment.
        recorder.finish(running.number, TrialState.STOPPED)
        recorder.abandon()
    assert Results(folder).state is SweepState.CRASHED
    assert "cut off" in CliRunner().invoke(cli, ["list", "--output", str(folder.parent)]).output
    assert "state: crashed" in CliRunner().invoke(cli, ["status", str(folder)]).output


def test_a_trial_that_runs_with_nobody_to_run_it_tells_of_a_driver_that_is_gone(tmp_path: Path) -> None:
    """Whatever an earlier run has left as its summary, as versions of before did."""
    folder = ran(tmp_path / "runs" / "it", [WHOLE])
    end(folder, ended_by="interrupted")
    spec, origin = read_spec(folder)
    study = Study(folder, origin["study"], None, spec.metrics, spec.parameters, write=True)
    assert study.ask("random", 0) is not None
    study.close()
    assert Results(folder).summary["ended_by"] == "interrupted"
    assert Results(folder).state is SweepState.CRASHED
    assert "cut off" in CliRunner().invoke(cli, ["list", "--output", str(folder.parent)]).output


def test_a_resume_that_asks_for_nothing_leaves_what_is_known_of_the_end(tmp_path: Path) -> None:
    folder = ran(tmp_path / "runs" / "it", [WHOLE])
    end(folder, ended_by="run_cap")
    take_up(folder).abandon()  # killed before it could begin
    assert Results(folder).state is SweepState.FINISHED


@pytest.mark.parametrize("text", ["", "provenance: {}", "provenance: {study: it}", "trainable: tests.loops:ends"])
def test_a_description_that_is_cut_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    folder = ran(tmp_path / "it", [WHOLE])
    (folder / "sweep.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"sweep.yaml is cut off or not a run's: it lacks what `tuner run` writes"):
        Results(folder)


@pytest.mark.parametrize("text", ["", '{"sweeps": [', "\0\0\0", "[]"])
def test_a_history_that_can_not_be_read_is_told_and_not_forgotten(tmp_path: Path, text: str) -> None:
    earlier = ran(tmp_path / "earlier", [WHOLE])
    sweep = Sweep("tests.loops:ends", metric=METRIC, parameters=SPACE, start_from=[str(earlier)], run_cap=1)
    folder = tmp_path / "it"
    sweep._create(folder, folder, "it")
    assert History.read(folder, sweep.spec.parameters).start_with == (dict(WHOLE[0]),)
    (folder / HISTORY_FILE).write_text(text)
    with pytest.raises(SpecError, match=r"history.json, which holds the trials of `start_from`, can't be read"):
        sweep.resume(folder, console=LineConsole(io.StringIO()))
    assert load_yaml(folder / "sweep.yaml")["start_from"] == [str(earlier)]


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_derived_and_can_not_be_read_is_left_out(tmp_path: Path, text: str) -> None:
    folder = ran(tmp_path / "it", [WHOLE])
    end(folder, ended_by="run_cap")
    (folder / "best" / "test.json").write_text('{"trial": 0, "step": 3, "accuracy": 0.7}')
    shown = Results(folder).best_json()
    assert shown is not None
    assert shown["test"] == {"trial": 0, "step": 3, "accuracy": 0.7}
    for name in ("best.json", "test.json"):
        (folder / "best" / name).write_text(text)
    left = Results(folder).best_json()
    assert left == {**shown, "test": None}
    assert ACCURACY.name in CliRunner().invoke(cli, ["best", str(folder)]).output
