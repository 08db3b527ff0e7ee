"""The record of a sweep, driven as the engine drives it, without Ray."""

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from tests.conftest import ACCURACY, folder_of, report
from tuner.errors import StorageError
from tuner.records import FailureReason, Report, TrialRecord, TrialState
from tuner.results.results import Results
from tuner.run_folder.checkpoints import checkpoint_steps, digest
from tuner.run_folder.provenance import PROVENANCE
from tuner.run_folder.trial_files import TrialFiles, read_reports, trial_dir, write_atomic
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.yaml_text import to_yaml
from tuner.study.recorder import Recorder
from tuner.study.study import Study
from tuner.trial.checkpoint import load_checkpoint, save_checkpoint
from tuner.trial.seeds import derive_seed

SPEC = SweepSpec.from_dict(
    {
        "trainable": "m:f",
        "metric": {"name": "accuracy", "goal": "maximize"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
        "method": "random",
        "run_cap": 9,
    }
)


def open_recorder(folder: Path) -> Recorder:
    (folder / "trials").mkdir(exist_ok=True)
    study = Study(folder, "s", None, (ACCURACY,), SPEC.parameters, write=True)
    study.recover()
    return Recorder(folder, SPEC, study, "random", 0)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return open_recorder(tmp_path)


def train(recorder: Recorder, values: list[float], first: int = 1) -> int:
    """A new trial that reports these values, with a checkpoint of each step."""
    running = recorder.ask()
    assert running is not None
    more(recorder, running.number, values, first)
    return running.number


def more(recorder: Recorder, number: int, values: list[float], first: int) -> None:
    folder = trial_dir(recorder.folder, number)
    for step, value in enumerate(values, start=first):
        save_checkpoint(folder, step, {"step": step, "value": torch.tensor(value)}, {})
        recorder.report(number, [report(step, value, has_checkpoint=True)])


def saved(recorder: Recorder, number: int) -> list[int]:
    """The steps of a trial's checkpoints, once what is not needed is deleted."""
    recorder.settle()
    return checkpoint_steps(trial_dir(recorder.folder, number))


def test_a_step_that_the_study_alone_knows_of_is_not_the_best_yet(recorder: Recorder) -> None:
    number = train(recorder, [0.4])
    recorder.study.report(number, [report(2, 0.9)])  # killed before it could write the rest
    recorder.abandon()
    again = open_recorder(recorder.folder)
    assert again.tally.best is not None
    assert (again.tally.best.step, again.tally.best.value) == (1, 0.4)
    running = again.ask()
    assert running is not None
    assert running.number == number
    more(again, number, [0.9], first=2)
    assert again.tally.best.step == 2


def written_steps(recorder: Recorder, number: int) -> tuple[list[int], list[int], list[int]]:
    """Of a trial, in the study, in its file and in TensorBoard."""
    events = EventAccumulator(str(recorder.folder / "tensorboard" / f"{number:04d}")).Reload()
    return (
        sorted(recorder.study.record(number).curve),
        [r.step for r in read_reports(trial_dir(recorder.folder, number))],
        [event.step for event in events.Scalars("accuracy")],
    )


def test_the_best_step_is_kept_and_shown_whatever_comes_after(recorder: Recorder) -> None:
    first = train(recorder, [0.2, 0.8, 0.5])
    assert saved(recorder, first) == [2, 3]
    recorder.finish(first, TrialState.COMPLETED)
    second = train(recorder, [0.6, 0.3])
    recorder.finish(second, TrialState.COMPLETED)
    assert saved(recorder, first) == [2]
    assert saved(recorder, second) == []
    recorder.settle()
    best = json.loads((recorder.folder / "best" / "best.json").read_text())
    assert (best["trial"], best["step"], best["metrics"]) == (first, 2, {"accuracy": 0.8})
    assert load_checkpoint(recorder.folder / "best")[0]["step"] == 2
    assert recorder.study.record(first).values == (0.8,)


def test_a_pruned_or_failed_trial_may_hold_the_best_step(recorder: Recorder) -> None:
    pruned = train(recorder, [0.9])
    recorder.finish(pruned, TrialState.PRUNED)
    completed = train(recorder, [0.5, 0.6])
    recorder.finish(completed, TrialState.COMPLETED)
    failed = train(recorder, [0.95, 0.1])
    recorder.finish(failed, TrialState.FAILED, FailureReason.OOM, "too large", "Traceback ...")
    assert recorder.tally.best is not None
    assert (recorder.tally.best.number, recorder.tally.best.step) == (failed, 1)
    assert saved(recorder, pruned) == []
    assert saved(recorder, failed) == [1]
    assert saved(recorder, completed) == [2]


def test_a_trial_that_reported_nothing_did_not_complete(recorder: Recorder) -> None:
    ended: list[TrialRecord] = []
    recorder.on_end = ended.append
    number = train(recorder, [])
    recorder.finish(number, TrialState.COMPLETED)
    assert (ended[0].state, ended[0].reason) == (TrialState.FAILED, FailureReason.ERROR)
    assert "without a single trial.report" in ended[0].message


def test_a_driver_that_comes_back_goes_on_from_the_last_checkpoint_recorded(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    done = train(recorder, [0.7])
    recorder.finish(done, TrialState.COMPLETED)
    number = train(recorder, [0.1, 0.2, 0.3])
    # Its process was a step ahead when the driver died, and the driver died while it wrote a line.
    save_checkpoint(trial_dir(tmp_path, number), 4, {"step": 4}, {})
    with (trial_dir(tmp_path, number) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "met')
    recorder.study.close()

    again = open_recorder(tmp_path)
    assert again.tally.counts == {TrialState.COMPLETED: 1}
    assert again.tally.best is not None
    assert again.tally.best.number == done
    running = again.ask()
    assert running is not None
    assert (running.number, running.restore_step, running.last_step) == (number, 3, 3)
    more(again, number, [0.8, 0.9], first=4)
    again.finish(number, TrialState.COMPLETED)
    assert written_steps(again, number) == ([1, 2, 3, 4, 5],) * 3
    assert (again.tally.best.number, again.tally.best.step) == (number, 5)
    fresh = again.ask()
    assert fresh is not None
    assert fresh.number == 2


def test_a_failed_attempt_is_taken_back_to_its_last_checkpoint(recorder: Recorder) -> None:
    number = train(recorder, [0.1, 0.2])
    recorder.report(number, [report(3, 0.9)])
    told: list[tuple[int, str]] = []
    recorder.on_retry = lambda running, message: told.append((running.restore_step, message))
    running = recorder.retry(number, "its process died", "")
    assert told == [(2, "its process died")]
    assert (running.restore_step, running.last_step) == (2, 2)
    recorder.report(number, [report(3, 0.3), report(4, 0.4)])
    recorder.finish(number, TrialState.COMPLETED)
    assert written_steps(recorder, number) == ([1, 2, 3, 4],) * 3
    assert recorder.tally.best is not None
    assert (recorder.tally.best.step, recorder.tally.best.value) == (4, 0.4)
    assert "its process died" in (trial_dir(recorder.folder, number) / "error.txt").read_text()


def test_gpu_time_is_counted_by_the_share_that_a_trial_holds_and_outlives_a_run(recorder: Recorder) -> None:
    recorder.gpus = 0.25
    first, second = train(recorder, [0.1, 0.2]), train(recorder, [0.1])
    recorder.retry(first, "it ran out of GPU memory", "", gpus=1)
    recorder.report(first, [report(3, 0.3)])
    assert recorder.progress().gpu_s == 2 * 0.25 + 1 + 0.25
    recorder.finish(second, TrialState.COMPLETED)
    again = open_recorder(recorder.folder)
    assert again.progress().gpu_s == 0.25
    running = again.ask()
    assert running is not None
    # Interrupted in need of a whole GPU, resumed on one; a new trial has the share of its sweep.
    assert (running.number, running.gpus) == (first, 1)
    again.study.set_gpu_share(0.5, {"peak": 3})
    recorder.study.close()
    again.close({})
    running = open_recorder(recorder.folder).ask()
    assert running is not None
    assert (running.number, running.gpus) == (first, 1)
    assert open_recorder(recorder.folder).gpus == 0.5


@pytest.mark.parametrize("first", [3, 4, 1])
def test_a_trial_that_takes_over_an_earlier_state_undoes_its_later_steps(recorder: Recorder, first: int) -> None:
    number = train(recorder, [0.1, 0.2, 0.3, 0.4])
    recorder.report(number, [report(first, 0.7)])
    assert recorder.running[number].curve[first] == 0.7
    recorder.finish(number, TrialState.STOPPED)
    assert written_steps(recorder, number) == ([*range(1, first + 1)],) * 3
    reports = read_reports(trial_dir(recorder.folder, number))
    assert [one.metrics["accuracy"] for one in reports] == [*[0.1, 0.2, 0.3, 0.4][: first - 1], 0.7]


def test_steps_that_follow_undo_nothing(recorder: Recorder) -> None:
    number = train(recorder, [0.1, 0.2])
    recorder.report(number, [report(3, 0.3)])
    recorder.report(number, [report(5, 0.5)])
    assert written_steps(recorder, number) == ([1, 2, 3, 5],) * 3
    assert saved(recorder, number) == [1, 2]


def test_a_pinned_checkpoint_stays_until_the_end(recorder: Recorder) -> None:
    number = train(recorder, [0.1, 0.2])
    recorder.checkpoints.pin(number, 1)
    more(recorder, number, [0.3, 0.4, 0.5], first=3)
    # Neither the best nor one of the last two: another trial may be on its way to it.
    assert saved(recorder, number) == [1, 4, 5]
    recorder.finish(number, TrialState.COMPLETED)
    assert saved(recorder, number) == [1, 5]
    recorder.close({})
    assert saved(recorder, number) == [5]


def test_the_best_step_is_told_with_the_configuration_it_was_trained_with_and_its_trials_seed(
    recorder: Recorder,
) -> None:
    recorder.finish(train(recorder, [0.1]), TrialState.COMPLETED)
    number = train(recorder, [0.9])
    asked = dict(recorder.running[number].params)
    recorder.change_params(number, {"x": 0.25})
    more(recorder, number, [0.2], first=2)
    recorder.finish(number, TrialState.COMPLETED)
    assert recorder.study.record(number).params == {"x": 0.25} != asked
    recorder.settle()
    assert json.loads((recorder.folder / "best" / "params.json").read_text()) == asked
    recorder.settle()
    told = json.loads((recorder.folder / "best" / "best.json").read_text())
    assert shlex.split(told["rerun"]) == [
        *("tuner", "try", str(recorder.folder / "sweep.yaml")),
        *("--params", str(recorder.folder / "best" / "params.json"), "--seed", str(derive_seed(0, number))),
    ]


def test_with_several_metrics_a_trial_counts_with_its_last_step(tmp_path: Path) -> None:
    metrics = [{"name": "accuracy", "goal": "maximize"}, {"name": "loss"}]
    spec = SweepSpec.from_dict({**SPEC.to_dict(), "metric": metrics, "method": "nsgaii"})
    (tmp_path / "trials").mkdir()
    study = Study(tmp_path, "s", None, spec.metrics, spec.parameters, write=True)
    recorder = Recorder(tmp_path, spec, study, "nsgaii", 0)
    running = recorder.ask()
    assert running is not None
    for step, (accuracy, loss) in enumerate([(0.9, 1.0), (0.5, 0.1)], start=1):
        recorder.report(running.number, [Report(step, {"accuracy": accuracy, "loss": loss}, 1.0, 1e9)])
    recorder.finish(running.number, TrialState.COMPLETED)
    assert study.record(running.number).values == (0.5, 0.1)
    # What one looks at first is the best step of the first metric all the same.
    assert recorder.tally.best is not None
    assert (recorder.tally.best.step, recorder.tally.best.value) == (1, 0.9)


def test_the_table_of_tensorboard_tells_how_a_trial_has_ended(recorder: Recorder) -> None:
    done, failed, running = (train(recorder, [0.5]) for _ in range(3))
    recorder.finish(done, TrialState.COMPLETED)
    recorder.finish(failed, TrialState.FAILED, FailureReason.OOM)
    assert [end_status(recorder.folder, number) for number in (done, failed, running)] == [
        api_pb2.STATUS_SUCCESS,
        api_pb2.STATUS_FAILURE,
        None,
    ]


def end_status(folder: Path, number: int) -> int | None:
    """As TensorBoard's HParams page reads it."""
    events = EventAccumulator(str(folder / "tensorboard" / f"{number:04d}")).Reload()
    data = events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content if ended(events) else None
    return None if data is None else int(metadata.parse_session_end_info_plugin_data(data).status)


def ended(events: EventAccumulator) -> bool:
    return metadata.SESSION_END_INFO_TAG in events.Tags()["tensors"]


def test_how_far_a_sweep_is(recorder: Recorder) -> None:
    def told() -> tuple[int, int, int]:
        progress = recorder.progress()
        return progress.num_good, progress.num_failed, len(progress.mistakes)

    silent = train(recorder, [])
    assert told() == (0, 0, 0)
    speaks = train(recorder, [0.5])  # a running trial that has reported shows that the trainable works
    assert told() == (1, 0, 0)
    recorder.finish(speaks, TrialState.PRUNED)
    assert told() == (1, 0, 0)
    recorder.finish(train(recorder, [0.4]), TrialState.COMPLETED)
    assert told() == (2, 0, 0)
    recorder.finish(silent, TrialState.FAILED, FailureReason.ERROR, "no")
    assert told() == (2, 1, 1)
    # What diverges has been trained; that it has failed all the same counts for `budget.failed`.
    recorder.finish(train(recorder, [float("nan")]), TrialState.FAILED, FailureReason.NAN, "accuracy is nan")
    assert told() == (3, 2, 1)
    recorder.finish(train(recorder, [0.3]), TrialState.STOPPED)
    assert told() == (3, 2, 1)
    recorder.close({})
    # Failures of an earlier run do not count again, and what it has shown does.
    recorder = open_recorder(recorder.folder)
    assert told() == (3, 0, 0)


def test_a_trial_that_reports_again_is_no_longer_preempted_and_its_pace_is_that_of_its_last_steps(
    tmp_path: Path,
) -> None:
    now_s = 100.0
    (tmp_path / "trials").mkdir()
    study = Study(tmp_path, "s", None, (ACCURACY,), SPEC.parameters, write=True)
    recorder = Recorder(tmp_path, SPEC, study, "random", 0, clock=lambda: now_s)
    assert not recorder.tally.has_reports
    running = recorder.ask()
    assert running is not None
    running.become(TrialState.PREEMPTED)
    now_s += 30.0
    recorder.report(running.number, [])
    assert running.state is TrialState.PREEMPTED
    recorder.report(running.number, [report(1), report(2), report(3)])
    assert recorder.tally.has_reports
    assert running.state is TrialState.RUNNING
    assert running.reported_at == now_s
    assert running.median_step_s() == 10.0
    for step in range(4, 44):
        now_s += 2.0
        recorder.report(running.number, [report(step)])
    assert running.step_times_s == [2.0] * 21
    assert running.median_step_s() == 2.0


def test_what_is_running_when_it_is_closed_waits_to_be_resumed(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    train(recorder, [0.1])
    recorder.close({"ended_by": "interrupted"})
    study = Study(tmp_path, "s", None, (ACCURACY,), SPEC.parameters, write=False)
    assert [record.state for record in study.records()] == [TrialState.PENDING]
    assert study.summary()["ended_by"] == "interrupted"


def test_a_configuration_that_a_rule_changes_is_recorded_with_the_step_it_holds_from(recorder: Recorder) -> None:
    number = train(recorder, [0.1, 0.9])
    asked = dict(recorder.running[number].params)
    recorder.change_params(number, {"x": 0.25})
    more(recorder, number, [0.3, 0.4], first=3)
    recorder.change_params(number, {"x": 0.75})
    more(recorder, number, [0.95], first=4)
    recorder.finish(number, TrialState.COMPLETED)
    record = recorder.study.record(number)
    assert [record.params_at(step) for step in (1, 2, 3, 4)] == [asked, asked, {"x": 0.25}, {"x": 0.75}]
    assert record.params == {"x": 0.75}
    recorder.settle()
    assert json.loads((recorder.folder / "best" / "params.json").read_text()) == {"x": 0.75}
    assert json.loads((trial_dir(recorder.folder, number) / "params.json").read_text()) == {"x": 0.75}


def test_of_equal_values_the_first_trial_has_the_best_and_its_checkpoint_stays(recorder: Recorder) -> None:
    first, second = train(recorder, [0.1]), train(recorder, [0.9])
    more(recorder, first, [0.9], first=2)
    recorder.finish(first, TrialState.COMPLETED)
    recorder.finish(second, TrialState.COMPLETED)
    recorder.settle()
    best = json.loads((recorder.folder / "best" / "best.json").read_text())
    assert (best["trial"], best["step"], best["checkpoint"]) == (first, 2, True)
    assert saved(recorder, first) == [2]
    assert saved(recorder, second) == []


def test_a_report_that_finds_no_room_is_a_storage_error(recorder: Recorder) -> None:
    number = train(recorder, [0.4])
    journal = recorder.study._journal
    assert journal is not None
    assert journal._file is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file)
    os.close(full)
    with pytest.raises(StorageError):
        recorder.report(number, [report(2, 0.5)])


def test_an_infinite_value_is_not_the_best(recorder: Recorder) -> None:
    number = train(recorder, [0.3, 0.2, float("inf")])
    recorder.finish(number, TrialState.FAILED, FailureReason.NAN)
    assert saved(recorder, number) == [1]
    assert load_checkpoint(recorder.folder / "best")[0]["step"] == 1


def test_a_trial_without_a_finite_value_did_not_complete(recorder: Recorder) -> None:
    number = train(recorder, [float("nan")])
    recorder.finish(number, TrialState.COMPLETED)
    record = recorder.study.record(number)
    assert (record.state, record.reason) == (TrialState.FAILED, FailureReason.NAN)


def test_a_driver_killed_between_its_two_records_loses_no_report(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    number = train(recorder, [0.1])
    save_checkpoint(trial_dir(tmp_path, number), 2, {"step": 2}, {})
    recorder.study.report(number, [report(2, 0.9)])
    recorder.study.close()

    again = open_recorder(tmp_path)
    running = again.ask()
    assert running is not None
    assert running.restore_step == 1
    more(again, number, [0.9, 0.3], first=2)
    again.finish(number, TrialState.COMPLETED)
    assert written_steps(again, number) == ([1, 2, 3],) * 3
    assert again.study.record(number).values == (0.9,)


def test_files_in_the_place_of_a_new_trial_are_set_aside_and_told(recorder: Recorder) -> None:
    told: list[tuple[int, Path]] = []
    recorder.on_aside = lambda number, aside: told.append((number, aside))
    stranger = TrialFiles(folder_of(trial_dir(recorder.folder, 0)))
    stranger.append([report(1, 0.9)])
    save_checkpoint(stranger.folder, 1, {"step": 1}, {})
    (folder_of(recorder.folder / "tensorboard" / "0000") / "events.out.tfevents.1.1.tuner").touch()
    number = train(recorder, [0.1, 0.2])
    ((of, aside),) = told
    assert (of, aside.parent) == (number, recorder.folder / "set-aside")
    assert [r.metrics for r in read_reports(aside)] == [{"accuracy": 0.9}]
    assert checkpoint_steps(aside) == [1]
    assert written_steps(recorder, number) == ([1, 2],) * 3
    assert sorted(path.name for path in aside.parent.iterdir()) == [aside.name, f"{aside.name}-tensorboard"]
    # One that is interrupted finds its own files again.
    recorder.interrupt(number)
    again = recorder.ask()
    assert again is not None
    assert (again.number, again.last_step) == (number, 2)
    assert len(told) == 1


def reported(recorder: Recorder, number: int, step: int, value: float, weight: float) -> Report:
    """A report whose checkpoint is on disk, as a trial makes it; not recorded yet."""
    path = save_checkpoint(trial_dir(recorder.folder, number), step, {"weight": torch.tensor(weight)}, {})
    return replace(report(step, value, has_checkpoint=True), digest=digest(path))


def weight_of(path: Path) -> float:
    return float(load_checkpoint(path)[0]["weight"])


@pytest.mark.parametrize("value", [0.8, 0.7])
def test_the_best_is_the_checkpoint_of_the_step_as_it_was_reported_last(recorder: Recorder, value: float) -> None:
    other, number = train(recorder, [0.1]), train(recorder, [])
    recorder.report(number, [reported(recorder, number, step, 0.1 * step, weight=step) for step in range(1, 8)])
    recorder.finish(other, TrialState.COMPLETED)
    recorder.settle()
    best = recorder.folder / "best"
    assert weight_of(best) == 7
    (best / "test.json").write_text('{"trial": 1, "step": 7, "accuracy": 0.5}')
    # It takes over a state of the fifth step, and comes to the same step, with the same value or a better one.
    recorder.report(
        number, [reported(recorder, number, 6, 0.2, weight=106), reported(recorder, number, 7, value, weight=107)]
    )
    recorder.finish(train(recorder, [0.1]), TrialState.COMPLETED)
    recorder.settle()
    assert weight_of(best) == 107
    assert json.loads((best / "best.json").read_text())["value"] == value
    assert not (best / "test.json").exists(), "it tells of the checkpoint of before"
    recorder.finish(number, TrialState.COMPLETED)
    recorder.settle()
    assert weight_of(trial_dir(recorder.folder, number) / "checkpoints" / "step-0007") == 107
    assert weight_of(best) == 107
    # The same after all, by whoever comes later.
    before = (best / "best.json").stat().st_mtime_ns
    recorder.close({})
    open_recorder(recorder.folder).close({})
    assert (best / "best.json").stat().st_mtime_ns == before


def test_a_checkpoint_that_nobody_has_reported_is_neither_the_best_nor_gone_on_from(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    other, number = train(recorder, [0.1]), train(recorder, [])
    recorder.report(number, [reported(recorder, number, step, 0.1 * step, weight=step) for step in range(1, 8)])
    recorder.finish(other, TrialState.COMPLETED)
    recorder.settle()
    # By another attempt, such as one whose node was given up, or one that was killed before its report was recorded.
    reported(recorder, number, 7, 0.9, weight=107)
    recorder.finish(train(recorder, [0.1]), TrialState.COMPLETED)
    recorder.settle()
    assert weight_of(tmp_path / "best") == 7
    write_atomic(tmp_path / "sweep.yaml", to_yaml({**SPEC.to_dict(), PROVENANCE: {"study": "s", "seed": 0}}))
    best = Results(tmp_path).best
    assert best is not None
    assert best.checkpoint == tmp_path / "best"
    recorder.study.close()
    again = open_recorder(tmp_path)
    told: list[str] = []
    again.on_damage = lambda running, damaged: told.extend(damaged)
    running = again.ask()
    assert running is not None
    assert (running.number, running.restore_step) == (number, 6)
    assert told == ["step 7: it was saved by another attempt than the one that is recorded"]


def test_the_checkpoints_of_undone_steps_go_and_those_that_come_again_stay(recorder: Recorder) -> None:
    number = train(recorder, [])
    recorder.report(number, [reported(recorder, number, step, 0.1 * step, weight=step) for step in range(1, 11)])
    folder = trial_dir(recorder.folder, number)
    assert saved(recorder, number) == [9, 10]
    # It goes on after the seventh step; its process is two steps ahead of what the driver has heard.
    reports = [reported(recorder, number, step, 0.05, weight=100 + step) for step in (8, 9)]
    recorder.report(number, reports[:1])
    assert saved(recorder, number) == [8, 9]
    assert weight_of(folder / "checkpoints" / "step-0009") == 109
    recorder.report(number, reports[1:])
    assert saved(recorder, number) == [8, 9]
    running = recorder.retry(number, "its process died", "")
    assert running.restore_step == 9


def test_a_trial_that_goes_on_has_the_configuration_of_its_checkpoint(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    number = train(recorder, [0.1, 0.2])
    asked = dict(recorder.running[number].params)
    recorder.change_params(number, {"x": 0.25})
    more(recorder, number, [0.3], first=3)
    recorder.change_params(number, {"x": 0.75})
    recorder.report(number, [report(4, 0.4)])
    # Its process dies before it has saved anything with the last configuration.
    running = recorder.retry(number, "its process died", "")
    assert (running.restore_step, running.params) == (3, {"x": 0.75})
    recorder.study.close()
    again = open_recorder(tmp_path)
    resumed = again.ask()
    assert resumed is not None
    assert (resumed.restore_step, resumed.params) == (3, {"x": 0.75})
    assert json.loads((trial_dir(tmp_path, number) / "params.json").read_text()) == {"x": 0.75}
    # And where it goes back further, to the configuration of there; what was to hold later is undone.
    for lost, restored, params in ((3, 2, {"x": 0.25}), (2, 0, asked)):
        shutil.rmtree(trial_dir(tmp_path, number) / "checkpoints" / f"step-{lost:04d}")
        running = again.retry(number, "its process died", "")
        assert (running.restore_step, running.params) == (restored, params)
    more(again, number, [0.3], first=1)
    assert again.study.record(number).params == asked
    assert again.study.record(number).changes == ()


def test_a_configuration_that_nothing_was_reported_with_is_undone(recorder: Recorder) -> None:
    number = train(recorder, [0.1, 0.2])
    asked = dict(recorder.running[number].params)
    recorder.change_params(number, {"x": 0.25})
    running = recorder.retry(number, "its process died", "")
    assert (running.restore_step, running.params) == (2, asked)
    more(recorder, number, [0.3], first=3)
    assert recorder.study.record(number).changes == ()
