"""What a sweep shows and tells while it runs, in the words of docs/explanation/reliability.md; without a cluster."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import report
from tests.study.test_recorder import open_recorder, train
from tests.sweeps import Told
from tuner.console import SweepView
from tuner.engine.driver.display import Display
from tuner.records import FailureReason, TrialState
from tuner.study.recorder import Recorder


class Seen(Told):
    """Also keeps the last table."""

    view: SweepView

    def update(self, view: SweepView) -> None:
        self.view = view


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return open_recorder(tmp_path)


def display_of(recorder: Recorder, console: Seen) -> Display:
    nothing: Any = SimpleNamespace()
    slots: Any = SimpleNamespace(count=2)
    return Display(recorder, nothing, slots, console, 9)


def test_a_trial_whose_node_was_lost_is_preempted_until_it_reports(recorder: Recorder) -> None:
    console = Seen()
    display = display_of(recorder, console)
    number = train(recorder, [0.1, 0.2])

    def state() -> TrialState:
        display.show()
        (shown,) = console.view.running
        return shown.state

    assert state() is TrialState.RUNNING
    recorder.running[number].become(TrialState.PREEMPTED)
    recorder.retry(number, "its node was lost", "")
    assert state() is TrialState.PREEMPTED
    assert console.events == ["trial 0000 is tried again, from its checkpoint of step 2: its node was lost"]
    recorder.report(number, [report(3, 0.3)])
    assert state() is TrialState.RUNNING


def test_what_becomes_of_trials_is_told(recorder: Recorder) -> None:
    console = Seen()
    display = display_of(recorder, console)
    number = train(recorder, [0.2, 0.8])
    display.tell_best()
    display.tell_best()
    (recorder.folder / "trials" / "0000" / "checkpoints" / "step-0002" / "state.pt").write_bytes(b"")
    recorder.retry(number, "its process died", "")
    recorder.finish(number, TrialState.FAILED, FailureReason.LOST, "its process died")
    recorder.retry(train(recorder, []), "its process died", "")
    best, damaged, again, failed, fresh = console.events
    assert best == "new best: trial 0000 accuracy=0.8 at step 2"
    assert damaged.startswith("trial 0000 has damaged checkpoints (step 2: state.pt has 0 bytes in place of ")
    assert damaged.endswith("; that of step 1 is used")
    assert again == "trial 0000 is tried again, from its checkpoint of step 1: its process died"
    assert failed.startswith("trial 0000 failed (lost), 1 steps, best 0.2 at 1 (")
    assert failed.endswith("error.txt): its process died")
    assert fresh == "trial 0001 is tried again, from its start: its process died"


def test_what_is_told_of_the_loops_code_is_told_once_a_sweep(recorder: Recorder) -> None:
    console = Seen()
    display_of(recorder, console)
    for _ in range(2):
        number = train(recorder, [])
        recorder.report(number, [replace(report(1, 0.1), advice="write it so"), report(2, 0.2)])
    assert console.events == ["write it so"]


def test_the_table_shows_what_is_left_to_do(recorder: Recorder) -> None:
    console = Seen()
    display = display_of(recorder, console)
    recorder.finish(train(recorder, [0.2]), TrialState.COMPLETED)
    running = train(recorder, [0.8])
    display.show()
    view = console.view
    assert (view.run_cap, view.slots, view.metric) == (9, 2, "accuracy")
    assert (view.counts[TrialState.COMPLETED], view.counts[TrialState.RUNNING]) == (1, 1)
    assert view.best is not None
    assert (view.best.number, view.best.step, view.best.value) == (running, 1, 0.8)
    assert view.best.params == dict(recorder.running[running].params)
    assert view.remaining_s is not None
