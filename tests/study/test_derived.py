"""What a run folder holds beside its study and its trials' reports can be made again; driven without Ray."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2

from tests.study.test_recorder import SPEC, end_status, open_recorder, train
from tuner.records import TrialState
from tuner.run_folder.control import CONTROL_FILE, Control, Verb, asked
from tuner.run_folder.trial_files import read_reports, trial_dir
from tuner.study.tensorboard import EXPERIMENT_FILE, is_whole, write_experiment
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.seeds import derive_seed


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_zeros(path: Path) -> None:
    """As a file system does whose machine has lost its power."""
    path.write_bytes(bytes(path.stat().st_size))


def make_a_list(path: Path) -> None:
    path.write_text("[1, 2]")


DAMAGES = [cut, empty, fill_with_zeros, make_a_list, Path.unlink]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with a finished trial, whose best step is the second, and one that was interrupted."""
    write_experiment(tmp_path / "tensorboard", SPEC.parameters, ["accuracy"])
    recorder = open_recorder(tmp_path)
    recorder.finish(train(recorder, [0.1, 0.9, 0.4]), TrialState.COMPLETED)
    train(recorder, [0.2])
    recorder.close({"ended_by": "interrupted"})
    return tmp_path


def go_on(folder: Path) -> None:
    """As `tuner resume` does, to the end of the trial that was interrupted."""
    recorder = open_recorder(folder)
    running = recorder.ask()
    assert running is not None
    assert running.number == 1
    recorder.finish(1, TrialState.STOPPED)
    recorder.close({"ended_by": "run_cap"})


def shown_steps(folder: Path, number: int) -> list[int]:
    events = EventAccumulator(str(folder / "tensorboard" / f"{number:04d}")).Reload()
    return [event.step for event in events.Scalars("accuracy")]


def check(folder: Path) -> None:
    """All of it is there and tells what the study does."""
    recorder = open_recorder(folder)
    params = [dict(recorder.study.record(number).params) for number in (0, 1)]
    best = json.loads((folder / "best" / "best.json").read_text())
    assert (best["trial"], best["step"], best["metrics"], best["checkpoint"]) == (0, 2, {"accuracy": 0.9}, True)
    assert best["rerun"].endswith(f"--seed {derive_seed(0, 0)}")
    assert json.loads((folder / "best" / "params.json").read_text()) == params[0]
    assert load_checkpoint(folder / "best")[0]["step"] == 2
    for number in (0, 1):
        assert json.loads((trial_dir(folder, number) / "params.json").read_text()) == params[number]
    assert [shown_steps(folder, number) for number in (0, 1)] == [[1, 2, 3], [1]]
    assert [end_status(folder, number) for number in (0, 1)] == [api_pb2.STATUS_SUCCESS] * 2
    assert is_whole(folder / "tensorboard" / EXPERIMENT_FILE)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    [
        "best/best.json",
        "best/params.json",
        "best/state.pt",
        "best/rng.pt",
        "best/checksums.json",
        "trials/0000/params.json",
        "trials/0001/params.json",
        "control.json",
    ],
)
def test_a_file_that_can_not_be_read_is_made_again(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    if name == CONTROL_FILE:
        (folder / name).write_text('{"verb": "pause"}\n')
    damage(folder / name)
    go_on(folder)
    check(folder)


@pytest.mark.parametrize("name", ["best", "tensorboard", "tensorboard/0000", "tensorboard/0001"])
def test_a_whole_folder_can_be_made_again(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name)
    go_on(folder)
    check(folder)


@pytest.mark.parametrize("damage", [cut, empty, fill_with_zeros, Path.unlink])
@pytest.mark.parametrize("pattern", ["0000/*", "0001/*", EXPERIMENT_FILE])
def test_event_files_that_are_cut_are_made_again(folder: Path, pattern: str, damage: Callable[[Path], None]) -> None:
    for path in (folder / "tensorboard").glob(pattern):
        damage(path)
    go_on(folder)
    check(folder)


def test_what_is_whole_is_left_as_it_is(folder: Path) -> None:
    go_on(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix not in (".journal", "")}
    assert len(before) > 10
    open_recorder(folder).close({"ended_by": "run_cap"})
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    "tail", [b'{"step": 4, "met', b"\0" * 40 + b"\n", b"[1]\n", b"{}\n", b'{"step": 4}\n{"step": 5}\n']
)
def test_reports_are_read_up_to_what_can_not_be_read(folder: Path, tail: bytes) -> None:
    path = trial_dir(folder, 1)
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(tail)
    assert [report.step for report in read_reports(path)] == [1]
    recorder = open_recorder(folder)
    running = recorder.ask()
    assert running is not None
    assert running.restore_step == 1
    assert (path / "metrics.jsonl").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("text", ["", '{"verb": "pa', "null", "[]", '{"verb": "dance"}', "\0\0"])
def test_a_request_that_can_not_be_read_asks_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / CONTROL_FILE).write_text(text)
    assert asked(tmp_path) is Verb.RESUME
    assert Control(tmp_path).look() is Verb.RESUME
