"""The time that a sweep has used, with a clock that is set by hand, on a real study."""

from pathlib import Path

import pytest

from tests.conftest import ACCURACY, report
from tests.study.test_recorder import SPEC
from tuner.records import FailureReason, Report, TrialState
from tuner.spec.sections import Budget
from tuner.spec.sweep_spec import SweepSpec
from tuner.study.recorder import Recorder
from tuner.study.study import Study
from tuner.study.sweep_end import judge
from tuner.study.usage import BOOK_EVERY_S


class Clock:
    """Of one process; another one starts anywhere."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def open_recorder(folder: Path, clock: Clock, **changes: object) -> Recorder:
    """As a driver that takes over, after one that may have been killed."""
    (folder / "trials").mkdir(exist_ok=True)
    spec = SweepSpec.from_dict({**SPEC.to_dict(), **changes})
    study = Study(folder, "s", None, (ACCURACY,), spec.parameters, write=True)
    study.recover()
    return Recorder(folder, spec, study, "random", 0, clock=clock)


def ask(recorder: Recorder) -> int:
    running = recorder.ask()
    assert running is not None
    return running.number


def pass_time(recorder: Recorder, clock: Clock, seconds: float, *training: int, every_s: float = 1.0) -> None:
    """As the driver's loop does, which looks every second."""
    for _ in range(round(seconds / every_s)):
        clock.now_s += every_s
        recorder.look(training)


def test_a_driver_that_is_killed_loses_some_seconds_of_wall_time(tmp_path: Path) -> None:
    total = 0.0
    for start_s in (1000.0, 7.0, 99999.0):
        clock = Clock(start_s)
        recorder = open_recorder(tmp_path, clock)
        assert recorder.elapsed_s == total
        ask(recorder)
        pass_time(recorder, clock, 375)
        assert recorder.elapsed_s == total + 375
        recorder.abandon()  # killed, with its trial running
        total += 370
    assert open_recorder(tmp_path, Clock()).elapsed_s == 3 * 370


def test_a_sweep_that_is_killed_again_and_again_ends_when_its_budget_is_spent(tmp_path: Path) -> None:
    def verdict(recorder: Recorder, budget: Budget) -> str:
        ended = judge(recorder.progress(), budget, SPEC.metrics[0])
        return ended.ended_by if ended else ""

    for name, budget in (("hours", Budget(hours=11.9)), ("gpu_hours", Budget(gpu_hours=11.9))):
        (tmp_path / name).mkdir()
        told = []
        for _ in range(3):
            clock = Clock()
            recorder = open_recorder(tmp_path / name, clock, resources={"gpu": 1})
            number = ask(recorder)
            pass_time(recorder, clock, 5 * 3600, number, every_s=600.0)  # it never reports: each step takes longer
            told.append(verdict(recorder, budget))
            recorder.abandon()
        assert told == ["", "", name]
        assert open_recorder(tmp_path / name, Clock()).study.num_trials == 1


def test_the_end_of_a_run_and_of_a_trial_are_booked_to_the_second(tmp_path: Path) -> None:
    clock = Clock()
    recorder = open_recorder(tmp_path, clock)
    number = ask(recorder)
    recorder.report(number, [report(1, 0.5)])
    pass_time(recorder, clock, 4)
    recorder.finish(number, TrialState.COMPLETED)
    recorder.abandon()
    clock = Clock(0.0)
    recorder = open_recorder(tmp_path, clock)
    assert recorder.elapsed_s == 4
    pass_time(recorder, clock, 3)
    recorder.close({"ended_by": "interrupted"})
    assert open_recorder(tmp_path, clock).elapsed_s == 7


def test_a_sweep_that_rests_spends_no_time_and_books_none(tmp_path: Path) -> None:
    clock = Clock()
    recorder = open_recorder(tmp_path, clock)
    pass_time(recorder, clock, 60)
    held_s = recorder.elapsed_s
    size = (tmp_path / "study.journal").stat().st_size
    for _ in range(100):
        clock.now_s += 60
        recorder.set_elapsed(held_s)
        recorder.look([])
    assert recorder.elapsed_s == 60
    assert (tmp_path / "study.journal").stat().st_size == size


def test_booking_is_cheap(tmp_path: Path) -> None:
    clock = Clock()
    recorder = open_recorder(tmp_path, clock, resources={"gpu": 1})
    numbers = [ask(recorder) for _ in range(8)]
    size = (tmp_path / "study.journal").stat().st_size
    pass_time(recorder, clock, 100 * BOOK_EVERY_S, *numbers)
    assert (tmp_path / "study.journal").stat().st_size - size < 100 * 400


def test_gpu_time_is_booked_while_a_trial_is_silent(tmp_path: Path) -> None:
    clock = Clock()
    recorder = open_recorder(tmp_path, clock, resources={"workers": 4, "gpu": 0.5})
    number, waiting = ask(recorder), ask(recorder)
    pass_time(recorder, clock, 50, number)
    assert recorder.progress().gpu_s == 50 * 4 * 0.5
    assert waiting in recorder.running  # has no process yet, and holds no GPU
    # Its report tells more exactly what the step has taken.
    recorder.report(number, [Report(1, {"accuracy": 0.5}, time_s=48.0, timestamp=0.0)])
    assert recorder.progress().gpu_s == 48 * 2
    pass_time(recorder, clock, 30, number)
    recorder.abandon()
    assert open_recorder(tmp_path, Clock()).progress().gpu_s == pytest.approx((48 + 30) * 2, abs=2 * BOOK_EVERY_S)


def test_the_gpu_time_of_failed_attempts_counts_in_every_driver(tmp_path: Path) -> None:
    clock = Clock()
    recorder = open_recorder(tmp_path, clock, resources={"gpu": 1}, failures={"retries": 9})
    number = ask(recorder)
    for attempt in range(1, 4):
        recorder.report(number, [Report(1, {"accuracy": 0.5}, time_s=100.0, timestamp=0.0)])
        recorder.retry(number, "its process died", "")  # from the start: it has saved nothing
        assert recorder.progress().gpu_s == attempt * 100
    recorder.close({"ended_by": "interrupted"})
    recorder = open_recorder(tmp_path, clock, resources={"gpu": 1})
    assert recorder.progress().gpu_s == 300
    assert ask(recorder) == number
    recorder.report(number, [Report(1, {"accuracy": 0.5}, time_s=100.0, timestamp=0.0)])
    recorder.finish(number, TrialState.FAILED, FailureReason.OOM, "too large")
    assert recorder.study.record(number).gpu_s == 400
    recorder.abandon()
    assert open_recorder(tmp_path, clock).progress().gpu_s == 400


def test_retries_and_losses_are_counted_on_by_the_next_driver(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path, Clock())
    number = ask(recorder)
    attempts = recorder.running[number].attempts
    attempts.retries, attempts.losses = 1, 2
    attempts.count_lost_node(restore_step=0)
    recorder.retry(number, "its node was lost", "")
    recorder.abandon()
    recorder = open_recorder(tmp_path, Clock())
    assert ask(recorder) == number
    assert recorder.running[number].attempts == attempts
    assert recorder.running[ask(recorder)].attempts.retries == 0
