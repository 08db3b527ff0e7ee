import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ACCURACY
from tuner.engine.process.session import Batch, Session
from tuner.records import FailureReason, TrialState
from tuner.stopping.asking import Asking
from tuner.trial.group import Deliver
from tuner.trial.trial import Trial

NEVER = Asking()


def start(train: Callable[[Trial], None], tmp_path: Path, asking: Asking = NEVER) -> Session:
    def make(deliver: Deliver) -> Trial:
        return Trial({}, number=0, seed=0, dir=tmp_path, metrics=(ACCURACY,), deliver=deliver)

    return Session(train, make, asking, ["accuracy"])


def drain(session: Session) -> tuple[list[int], list[Batch]]:
    batches = [session.next_batch()]
    while batches[-1].ending is None:
        batches.append(session.next_batch())
    return [report.step for batch in batches for report in batch.reports], batches


def test_every_report_comes_once_and_in_order(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step in range(1, 5001):
            trial.report({"accuracy": step}, step=step)

    steps, batches = drain(start(train, tmp_path))
    assert steps == list(range(1, 5001))
    assert len(batches) < 1000
    assert batches[-1].ending is not None
    assert batches[-1].ending.state is TrialState.COMPLETED


def test_the_loop_runs_ahead_of_a_driver_that_is_away(tmp_path: Path) -> None:
    done = threading.Event()

    def train(trial: Trial) -> None:
        for step in range(1, 101):
            trial.report({"accuracy": 0}, step=step)
        done.set()

    session = start(train, tmp_path)
    assert done.wait(10)
    assert drain(session)[0] == list(range(1, 101))


@pytest.mark.parametrize(
    ("steps", "waits_at"), [(range(1, 10), 3), (range(2, 12, 2), 4)], ids=["each step", "in strides, past the rung"]
)
def test_the_loop_waits_where_the_rule_is_asked_until_the_next_batch_is_asked_for(
    tmp_path: Path, steps: range, waits_at: int
) -> None:
    passed: list[int] = []

    def train(trial: Trial) -> None:
        for step in steps:
            trial.report({"accuracy": 0}, step=step)
            passed.append(step)

    session = start(train, tmp_path, Asking(frozenset({3, 9})))
    first = session.next_batch()
    while first.reports[-1].step < waits_at:
        first = session.next_batch()
    time.sleep(0.05)
    assert passed == [step for step in steps if step < waits_at]
    drain(session)
    assert passed == [*steps]


def test_a_stop_ends_a_waiting_loop_at_that_very_step(tmp_path: Path) -> None:
    passed: list[int] = []
    cleaned: list[bool] = []

    def train(trial: Trial) -> None:
        try:
            for step in range(1, 10):
                try:
                    trial.report({"accuracy": 0}, step=step)
                except Exception:
                    passed.append(-1)
                passed.append(step)
        finally:
            cleaned.append(True)

    session = start(train, tmp_path, Asking(every=3))
    while session.next_batch().reports[-1].step < 3:
        pass
    assert session.stop(10)
    assert passed == [1, 2]
    assert cleaned == [True]


def test_a_stop_reaches_a_loop_that_does_not_wait_at_its_next_report(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        step = 0
        while True:
            step += 1
            trial.report({"accuracy": 0}, step=step)
            time.sleep(0.001)

    session = start(train, tmp_path)
    session.next_batch()
    assert session.stop(10)


def test_a_loop_far_ahead_of_the_driver_is_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.process.report_queue.MAX_QUEUED", 10)
    passed: list[int] = []

    def train(trial: Trial) -> None:
        for step in range(1, 100):
            trial.report({"accuracy": 0}, step=step)
            passed.append(step)

    session = start(train, tmp_path)
    time.sleep(0.1)
    assert len(passed) == 9
    assert drain(session)[0] == list(range(1, 100))


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyError("x"), FailureReason.ERROR), (MemoryError("m"), FailureReason.OOM)]
)
def test_an_exception_comes_after_the_reports_before_it(
    tmp_path: Path, error: Exception, reason: FailureReason
) -> None:
    def train(trial: Trial) -> None:
        trial.report({"accuracy": 0}, step=1)
        raise error

    steps, batches = drain(start(train, tmp_path))
    ending = batches[-1].ending
    assert steps == [1]
    assert ending is not None
    assert (ending.state, ending.reason) == (TrialState.FAILED, reason)
    assert ending.message.startswith(type(error).__name__)
    assert "in train" in ending.error


def test_nan_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.report({"accuracy": float("nan")}, step=1)

    session = start(train, tmp_path, Asking(every=1))
    session.thread.join(30)
    assert not session.thread.is_alive(), "nobody has asked for a batch, which would be the answer"
    steps, batches = drain(session)
    assert steps == [1]
    assert len(batches) == 1
    assert batches[-1].ending is not None
    assert batches[-1].ending.reason is FailureReason.NAN


def test_a_metric_that_is_never_reported_ends_the_sweep(tmp_path: Path) -> None:
    _, batches = drain(start(lambda trial: trial.report({"acc": 1.0}, step=1), tmp_path))
    assert batches[-1].ending is not None
    assert batches[-1].ending.lacks_metric


def test_an_ending_counts_even_if_the_loop_swallows_it(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        try:
            trial.report({"accuracy": float("nan")}, step=1)
        except BaseException:
            pass

    ending = drain(start(train, tmp_path))[1][-1].ending
    assert ending is not None
    assert (ending.state, ending.reason) == (TrialState.FAILED, FailureReason.NAN)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [Unprintable(), ValueError("bad file \udcff.png")])
def test_an_exception_that_cannot_be_printed_is_told_all_the_same(tmp_path: Path, error: Exception) -> None:
    def train(trial: Trial) -> None:
        raise error

    ending = drain(start(train, tmp_path))[1][-1].ending
    assert ending is not None
    assert ending.reason is FailureReason.ERROR
    assert ending.message.encode().startswith(type(error).__name__.encode())
