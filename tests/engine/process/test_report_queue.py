"""The queue between a loop and the driver, and what is told of a loop that raised; without Ray."""

import math
import threading
import time

import pytest
import torch

from tests.conftest import report
from tuner.engine.process.report_queue import LINGER_S, Ending, ReportQueue, failure
from tuner.errors import MissingMetricError, StorageError
from tuner.records import FailureReason, TrialState
from tuner.stopping.asking import Asking

COMPLETED = Ending(TrialState.COMPLETED)
# For what happens at once; a test that waits so long has failed.
PATIENCE_S = 30.0


def loop(queue: ReportQueue, *reports: object) -> threading.Thread:
    """A loop that reports, in a thread of its own."""

    def run() -> None:
        for one in reports:
            queue.put(one)  # type: ignore[arg-type]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_waits_for_no_answer(value: float) -> None:
    """The trial ends there: nobody would answer a loop that unwinds."""
    thread = loop(ReportQueue(Asking(every=1), ["accuracy"]), report(1, value))
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_finite_value_waits_at_the_steps_where_the_rule_is_asked() -> None:
    queue = ReportQueue(Asking(every=2), ["accuracy"])
    thread = loop(queue, report(1), report(2), report(3))
    steps = [one.step for one in queue.next_batch().reports]
    while 2 not in steps:
        steps += [one.step for one in queue.next_batch().reports]
    assert steps == [1, 2]
    assert thread.is_alive()
    assert [one.step for one in queue.next_batch().reports] == [3]
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_trial_has_at_most_twenty_exchanges_a_second() -> None:
    assert LINGER_S == 1 / 20
    queue, stop = ReportQueue(Asking(), ["accuracy"]), threading.Event()

    def run() -> None:
        step = 0
        while not stop.wait(0.001):
            step += 1
            queue.put(report(step))

    threading.Thread(target=run, daemon=True).start()
    started = time.monotonic()
    for _ in range(6):
        queue.next_batch()
    took_s = time.monotonic() - started
    stop.set()
    assert took_s >= 5 * LINGER_S


@pytest.mark.parametrize("is_urgent", ["a checkpoint", "an answer", "its end"])
def test_what_is_urgent_is_handed_out_at_once(monkeypatch: pytest.MonkeyPatch, is_urgent: str) -> None:
    queue = ReportQueue(Asking(every=4), ["accuracy"])
    loop(queue, report(1))
    assert [one.step for one in queue.next_batch().reports] == [1]
    monkeypatch.setattr("tuner.engine.process.report_queue.LINGER_S", 10 * PATIENCE_S)
    if is_urgent == "a checkpoint":
        loop(queue, report(2, has_checkpoint=True))
    elif is_urgent == "an answer":
        loop(queue, report(4))
    else:
        queue.end(COMPLETED)
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(queue.next_batch()), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert taken


class OutOfMemoryError(Exception):
    """As libraries beside torch name theirs."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("x"), FailureReason.ERROR),
        (MemoryError("x"), FailureReason.OOM),
        (OutOfMemoryError("x"), FailureReason.OOM),
        (torch.OutOfMemoryError("x"), FailureReason.OOM),
        (RuntimeError("CUDA error: out of memory"), FailureReason.OOM),
    ],
)
def test_the_reason_of_a_loop_that_raised(error: BaseException, reason: FailureReason) -> None:
    told = failure(error)
    assert (told.state, told.reason) == (TrialState.FAILED, reason)
    assert told.message == f"{type(error).__name__}: {error}"
    assert type(error).__name__ in told.error
    assert not told.lacks_metric
    assert not told.lacks_storage


def test_what_the_driver_has_to_know_of_an_error() -> None:
    assert failure(MissingMetricError("no loss")).lacks_metric
    assert failure(StorageError("full")).lacks_storage
    assert failure(torch.OutOfMemoryError("x")).lacks_gpu_memory
    assert not failure(MemoryError("x")).lacks_gpu_memory


def test_a_message_is_one_line_of_at_most_300_characters_that_can_be_stored() -> None:
    assert failure(ValueError(f"{'x' * 1000}\nmore")).message == f"ValueError: {'x' * 288}"
    assert failure(ValueError("bad file \udcff.png")).message == "ValueError: bad file \\udcff.png"
    assert failure(ValueError("")).message == "ValueError: "
    assert "bad file" in failure(ValueError("bad file \udcff.png\nsecond")).error
