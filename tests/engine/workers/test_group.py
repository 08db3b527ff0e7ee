"""What the workers of a trial are answered; that they are processes of Ray Train is for `test_workers`."""

import queue
import socket
import threading
from collections import defaultdict
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.train.v2.api import exceptions

from tests.conftest import report
from tuner.engine.driver import losses
from tuner.engine.driver.losses import ending_of
from tuner.engine.process.report_queue import Batch, Ending
from tuner.engine.process.trial_process import Task
from tuner.engine.workers import group
from tuner.engine.workers.group import TRAINER, GroupSession, WorkerGroup, is_death
from tuner.engine.workers.messages import DIED_AT_START, Ended, Hello, Lost, Mean, Ready, Reply, Reported, ToSlot
from tuner.records import FailureReason, Report, TrialState
from tuner.stopping.asking import Asking

COMPLETED = Ended(Ending(TrialState.COMPLETED))
STOPPED = Ended(Ending(TrialState.STOPPED))
JOB: Any = SimpleNamespace(asking=Asking(), metric_names=["accuracy"])


RAY_TRIAL: Any = SimpleNamespace(killed_for="", is_replaced=False)


class DiedInCreation(ActorDiedError):
    """As Ray raises it, of an actor whose node is there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def __str__(self) -> str:
        return self._text


class TwoWorkers:
    """Say what they are told to say, one after another; `replies` are those to each rank."""

    size = 2
    members: ClassVar = {rank: Hello(rank, f"process {rank + 1}", "node") for rank in range(size)}

    def __init__(self, *said: tuple[int, ToSlot]) -> None:
        self.replies: dict[int, list[Reply]] = defaultdict(list)
        self._said: queue.SimpleQueue[tuple[int, ToSlot]] = queue.SimpleQueue()
        for one in said:
            self.say(*one)

    def say(self, rank: int, message: ToSlot) -> None:
        self._said.put((rank, message))

    def receive(self, timeout_s: float | None = None) -> tuple[int, ToSlot]:
        return self._said.get(timeout=10 if timeout_s is None else timeout_s)

    def reply(self, rank: int, reply: Reply) -> None:
        self.replies[rank].append(reply)


def ran(*said: tuple[int, ToSlot]) -> tuple[list[int], Ending, TwoWorkers, GroupSession]:
    """The steps that the driver was handed, and how the trial ended."""
    workers: Any = TwoWorkers(*said)
    session = GroupSession(workers, JOB)
    reports, ending = taken(session)
    return [one.step for one in reports], ending, workers, session


def taken(session: GroupSession) -> tuple[list[Report], Ending]:
    reports: list[Report] = []
    while True:
        batch = session.next_batch()
        reports += batch.reports
        if batch.ending is not None:
            return reports, batch.ending


def at(rank: int, step: int) -> tuple[int, Reported]:
    return rank, Reported(report(step))


def test_all_workers_are_answered_once_the_last_one_reports_and_rank_0_counts() -> None:
    def said(rank: int, step: int) -> tuple[int, Reported]:
        return rank, Reported(report(step, step + rank / 10))

    # Whichever of them reports first.
    workers = TwoWorkers(said(1, 1), said(0, 1), said(0, 2), said(1, 2), (1, COMPLETED), (0, COMPLETED))
    session = GroupSession(cast(Any, workers), JOB)
    reports, ending = taken(session)
    assert [(one.step, one.metrics["accuracy"]) for one in reports] == [(1, 1.0), (2, 2.0)]
    assert ending.state is TrialState.COMPLETED
    assert workers.replies == {0: [Reply(), Reply()], 1: [Reply(), Reply()]}
    assert session.stop(1.0)


def test_a_trial_ends_as_rank_0_has() -> None:
    plateau = Ending(TrialState.COMPLETED, message="no better for 3 steps")
    for order in ((0, 1), (1, 0)):
        said = {0: (0, Ended(plateau)), 1: (1, COMPLETED)}
        assert ran(*(said[rank] for rank in order))[1] == plateau


def test_workers_that_are_stopped_are_told_so_wherever_they_are() -> None:
    """Once it is to end, that they are out of step, or wait for a mean, is no fault of theirs."""
    for said in (
        (at(0, 2), (1, Mean({"x": 1.0}))),
        ((0, Mean({"x": 1.0})), (1, Mean({"x": 2.0}))),
        (at(0, 2), at(1, 3)),
    ):
        workers = TwoWorkers()
        session = GroupSession(cast(Any, workers), JOB)
        assert not session.stop(0.0)
        for one in (*said, (0, STOPPED), (1, STOPPED)):
            workers.say(*one)
        assert session.stop(10.0)
        assert workers.replies == {rank: [Reply(stop="stopped")] for rank in (0, 1)}
        assert session.next_batch() == Batch([], STOPPED.ending)


def test_workers_that_can_not_be_started_lose_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train itself tells of them, in the place of a rank, also in the midst of a trial."""
    monkeypatch.setattr(group, "is_alive", lambda node_id: True)
    told = Ended(Ending(TrialState.FAILED, FailureReason.LOST, "the placement group is gone"))
    steps, ending, _, session = ran(at(0, 1), at(1, 1), (TRAINER, told))
    assert steps == [1]
    assert (ending.reason, ending.message, ending.lost_node) == (FailureReason.LOST, told.ending.message, False)
    assert not session.stop(1.0)


def test_a_group_is_fit_for_another_trial_once_all_its_workers_have_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made = WorkerGroup.__new__(WorkerGroup)
    made.size, made._cleaned = 2, queue.SimpleQueue()

    def cleaned(*said: Ready | Lost) -> str:
        for rank, message in enumerate(said):
            made._cleaned.put((rank, message))
        return made.after_trial()

    assert cleaned(Ready(""), Ready("")) == ""
    assert cleaned(Ready(""), Ready("a thread is left")) == "of worker 1: a thread is left"
    assert cleaned(Lost(), Ready("full")) == "of worker 0: it has died; of worker 1: full"
    monkeypatch.setattr(group, "CLEAN_UP_TIMEOUT_S", 0.05)
    assert cleaned(Ready("")) == "a worker of it did not clean up"


def test_a_mean_is_that_of_all_workers() -> None:
    _, _, workers, _ = ran((0, Mean({"x": 1.0})), (1, Mean({"x": 4.0})), (0, COMPLETED), (1, COMPLETED))
    assert workers.replies == {rank: [Reply(values={"x": 2.5})] for rank in (0, 1)}


def test_what_ends_the_trial_for_rank_0_ends_it_for_all() -> None:
    _, ending, workers, _ = ran((0, Reported(report(1), ends="enough")), at(1, 1), (0, COMPLETED), (1, COMPLETED))
    assert ending.state is TrialState.COMPLETED
    assert workers.replies[1] == [Reply(stop="enough")]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((at(0, 2), at(1, 3)), "worker 0 is at trial.report at step 2, worker 1 is at trial.report at step 3; every"),
        ((at(0, 2), (1, Mean({"x": 1.0}))), "worker 1 is at trial.mean of x"),
        (((0, Mean({"y": 1.0})), (1, Mean({"x": 1.0}))), "worker 0 is at trial.mean of y, worker 1 is at trial.mean"),
        (((1, COMPLETED), at(0, 2)), "worker 0 is at trial.report at step 2, worker 1 has ended"),
    ],
)
def test_workers_that_are_out_of_step_end_their_trial(said: Any, told: str) -> None:
    steps, ending, workers, session = ran(at(0, 1), at(1, 1), *said)
    assert steps == [1]
    assert (ending.state, ending.reason) == (TrialState.FAILED, FailureReason.ERROR)
    assert told in ending.message
    assert all(len(replies) == 1 for replies in workers.replies.values()), "one waits in a collective, perhaps"
    assert not session.stop(1.0), "the group is made anew"


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_worker_that_dies_ends_the_trial_and_its_node_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    monkeypatch.setattr(group, "is_alive", lambda node_id: is_alive)
    steps, ending, _, session = ran(at(0, 1), at(1, 1), (1, Lost()))
    assert (steps, ending.state, ending.reason) == ([1], TrialState.FAILED, FailureReason.LOST)
    assert ending.message == "its worker 1 died (process 2)"
    assert ending.lost_node is not is_alive
    assert not session.stop(1.0)


def test_the_error_that_the_death_of_another_worker_causes_is_told_as_that_death(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "is_alive", lambda node_id: True)
    failed = Ended(Ending(TrialState.FAILED, FailureReason.ERROR, "RuntimeError: reset by peer", "Traceback"))
    _, ending, _, _ = ran(at(0, 1), at(1, 1), (1, failed), (0, Lost()))
    assert (ending.reason, ending.message) == (FailureReason.LOST, "its worker 0 died (process 1)")
    # It may die itself, of its error.
    _, ending, _, _ = ran(at(0, 1), at(1, 1), (1, failed), (1, Lost()))
    assert (ending.reason, ending.message) == (FailureReason.ERROR, "RuntimeError: reset by peer")


def test_what_ray_train_tells_of_a_death_is_told_from_an_error_of_the_loop() -> None:
    # Before Ray 2.49 there is one exception for both.
    failed = getattr(exceptions, "WorkerGroupError", exceptions.TrainingFailedError)
    assert is_death(failed("", {0: ValueError("x"), 1: ActorDiedError()}))
    assert not is_death(failed("", {0: ValueError("x")}))
    if hasattr(exceptions, "ControllerError"):
        assert is_death(exceptions.ControllerError(ActorUnavailableError("gone", b"\0" * 16)))


def test_workers_that_die_while_they_start_are_no_failure_of_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "node_of", lambda actor_id: "node")
    monkeypatch.setattr(losses, "is_alive", lambda node_id: True)
    text = f"The actor died because of an error raised in its creation task\nRuntimeError: {DIED_AT_START}"
    ending = ending_of(RAY_TRIAL, DiedInCreation(text))
    assert (ending.reason, ending.message) == (FailureReason.LOST, DIED_AT_START)
    other = ending_of(RAY_TRIAL, DiedInCreation(text.replace(DIED_AT_START, "the workers can't be started: no module")))
    assert (other.reason, other.message.rpartition(": ")[2]) == (FailureReason.ERROR, "no module")


def test_a_stranger_that_calls_holds_nobody_up_and_the_dead_are_not_written_to() -> None:
    """The connections of a group alone, without Ray Train."""
    made = WorkerGroup.__new__(WorkerGroup)
    made.size, made.members, made._token, made._words = 2, {}, b"token", None
    made._inbox, made._cleaned, made._links = queue.SimpleQueue(), queue.SimpleQueue(), {}
    made._listener = Listener(("127.0.0.1", 0))
    threading.Thread(target=made._accept, daemon=True).start()
    silent = socket.create_connection(made._listener.address)
    with pytest.raises(AuthenticationError):
        Client(made._listener.address, authkey=b"another")
    links = [Client(made._listener.address, authkey=b"token") for _ in range(2)]
    for rank, link in enumerate(links):
        link.send(Hello(rank, "here", "node"))
    assert {made._inbox.get(timeout=10)[0] for _ in links} == {0, 1}
    links[1].close()
    assert made._inbox.get(timeout=10) == (1, Lost())
    made._job = JOB
    for _ in range(3):  # the first write to a closed socket may still be taken
        session = made.start(Task(0, {}, None))
        assert isinstance(links[0].recv(), Task)
        made._inbox.put((0, COMPLETED))
        made._inbox.put((1, COMPLETED))
        assert session.stop(10.0)
    silent.close()
    made.close()


def test_an_error_of_one_worker_ends_the_trial_while_the_other_is_in_its_step() -> None:
    failed = Ending(TrialState.FAILED, FailureReason.ERROR, "KeyError: 'x'", "Traceback")
    steps, ending, _, session = ran(at(0, 1), at(1, 1), (1, Ended(failed)))
    assert (steps, ending) == ([1], failed)
    assert not session.stop(1.0)
