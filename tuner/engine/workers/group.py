"""The workers of a slot, seen from the slot's process: a Ray Train worker group that outlives its trials.

Each worker has a connection, and all are answered together: they learn of a trial's end at the same step, and none is
left waiting for another in a collective. A connection that ends shows at once that a worker has died.
"""

import contextlib
import queue
import secrets
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import get_current_placement_group

from tuner.engine.cluster import is_alive
from tuner.engine.process.deaths import death_of
from tuner.engine.process.last_words import Death, LastWords
from tuner.engine.process.report_queue import Ending, ReportQueue, Stopped
from tuner.engine.process.session import QueuedSession
from tuner.engine.process.trial_process import Job, Task
from tuner.engine.ray_compat.runtime import session_dir
from tuner.engine.workers.messages import DIED_AT_START, Ended, Hello, Lost, Mean, Ready, Reply, Reported, ToSlot
from tuner.engine.workers.trainer import slot_trainer
from tuner.engine.workers.worker import serve
from tuner.records import FailureReason, TrialState

# How long a worker may take to clean up after a trial before its group is replaced.
CLEAN_UP_TIMEOUT_S = 20.0
# How long after the error that a worker's death causes in another one, in a collective of both, the death may show.
DEATH_TELLS_S = 1.0
# In place of a rank: Ray Train's own report of lost workers.
TRAINER = -1


class WorkerGroup:
    """The workers of one slot, all of them connected when this returns.

    Blocks while they start, some ten seconds. Raises `RuntimeError` if they can't be started. Must be created in an
    actor in a placement group with one bundle for each worker.
    """

    def __init__(self, job: Job, words: LastWords | None = None) -> None:
        self.size = job.workers
        self._words = words
        self.members: dict[int, Hello] = {}
        self._job = job
        self._inbox: queue.SimpleQueue[tuple[int, ToSlot]] = queue.SimpleQueue()
        # Separate from other messages: a worker may have cleaned up before the last one has ended its trial.
        self._cleaned: queue.SimpleQueue[tuple[int, Ready | Lost]] = queue.SimpleQueue()
        self._links: dict[int, Connection] = {}
        self._token = secrets.token_bytes(16)
        self._listener = Listener((ray.util.get_node_ip_address(), 0), backlog=self.size)
        for target in (self._train, self._accept):
            threading.Thread(target=target, daemon=True).start()
        while len(self.members) < self.size:
            rank, message = self._inbox.get()
            if isinstance(message, Ended):
                raise RuntimeError(message.ending.message)
            if not isinstance(message, Hello):
                raise RuntimeError(DIED_AT_START)
            self.members[rank] = message

    def start(self, task: Task) -> "GroupSession":
        """Let all workers train a trial; does not block."""
        for link in self._links.values():
            with contextlib.suppress(OSError):  # it has died, as its connection shows
                link.send(task)
        return GroupSession(self, self._job, self._words)

    def receive(self, timeout_s: float | None = None) -> tuple[int, ToSlot]:
        """Wait for a worker's next message in its trial, with its rank. Raises `queue.Empty` after the timeout."""
        return self._inbox.get(timeout=timeout_s)

    def reply(self, rank: int, reply: Reply) -> None:
        with contextlib.suppress(OSError):  # likewise
            self._links[rank].send(reply)

    def after_trial(self) -> str:
        """Wait until all workers have cleaned up; return why the group is not fit for another trial, if it is not."""
        unfit: list[str] = []
        for _ in range(self.size):
            try:
                rank, message = self._cleaned.get(timeout=CLEAN_UP_TIMEOUT_S)
            except queue.Empty:
                return "a worker of it did not clean up"
            told = message.unfit if isinstance(message, Ready) else "it has died"
            unfit += [f"of worker {rank}: {told}"] if told else []
        return "; ".join(unfit)

    def close(self) -> None:
        """Close the connections, which ends the workers, without waiting; their resources are freed with the slot."""
        self._listener.close()
        for link in self._links.values():
            link.close()

    def _train(self) -> None:
        trainer = slot_trainer(
            serve,
            {"address": self._listener.address, "token": self._token, "job": self._job},
            placement_group=get_current_placement_group(),
            num_workers=self.size,
            cpus=self._job.cpus,
            gpus=self._job.gpus,
            storage=str(session_dir() / "artifacts/tuner"),
        )
        try:
            trainer.fit()
        except Exception as error:
            told = f"{error}"
            if len(self.members) < self.size:
                told = DIED_AT_START if is_death(error) else f"the workers can't be started: {error}"
            self._inbox.put((TRAINER, Ended(Ending(TrialState.FAILED, FailureReason.LOST, told))))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept(),), daemon=True).start()

    def _serve(self, link: Any) -> None:
        """Serve one connection in a thread, so that a silent or foreign caller does no harm."""
        try:
            deliver_challenge(link, self._token)
            answer_challenge(link, self._token)
            hello = link.recv()
        except Exception:
            link.close()
            return
        self._links[hello.rank] = link
        self._inbox.put((hello.rank, hello))
        self._read(hello.rank, link)

    def _read(self, rank: int, link: Any) -> None:
        try:
            while True:
                message: ToSlot = link.recv()
                if isinstance(message, Ready):
                    self._cleaned.put((rank, message))
                else:
                    self._inbox.put((rank, message))
        except (EOFError, OSError):
            self._inbox.put((rank, Lost()))
            self._cleaned.put((rank, Lost()))


class GroupSession(QueuedSession):
    """One trial in a worker group, whose loop runs in several processes."""

    def __init__(self, group: WorkerGroup, job: Job, words: LastWords | None = None) -> None:
        self._group = group
        self._queue = ReportQueue(job.asking, job.metric_names, words)
        # Whether no worker waits for one that has ended otherwise.
        self.is_sound = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """End the loops at their next report and wait for them; return False if one still runs after the timeout."""
        return super().stop(timeout_s) and self.is_sound

    def _run(self) -> None:
        ending = self._follow()
        self.is_sound = not ending.error
        self._queue.end(ending)

    def _follow(self) -> Ending:
        """Answer the workers until all have ended, or one has ended so that the others can't continue."""
        waiting: dict[int, Reported | Mean] = {}
        ended: dict[int, Ending] = {}
        while len(ended) < self._group.size:
            rank, message = self._group.receive()
            if isinstance(message, Reported | Mean):
                waiting[rank] = message
            elif isinstance(message, Ended) and rank == TRAINER:
                return self._lost(message.ending.message, range(self._group.size))
            elif isinstance(message, Ended):
                ended[rank] = message.ending
            elif isinstance(message, Lost):
                return self._died(rank)
            for ending in ended.values():
                if ending.error:
                    return self._cause(ending, ended)
            if waiting and len(waiting) + len(ended) == self._group.size:
                problem = "" if self._queue.is_stopping else _out_of_step(waiting, ended)
                if problem:
                    return Ending(TrialState.FAILED, FailureReason.ERROR, problem, problem)
                reply = self._answer(waiting)
                for rank in waiting:
                    self._group.reply(rank, reply)
                waiting.clear()
        return ended[0]

    def _cause(self, ending: Ending, ended: Collection[int]) -> Ending:
        """What has ended the trial: this error, or the death of a worker that has not ended, which has caused it."""
        deadline = time.monotonic() + DEATH_TELLS_S
        with contextlib.suppress(queue.Empty):
            while True:
                rank, message = self._group.receive(max(0.0, deadline - time.monotonic()))
                if isinstance(message, Lost) and rank not in ended:
                    return self._died(rank)
        return ending

    def _died(self, rank: int) -> Ending:
        member = self._group.members[rank]
        death = death_of(member.actor_id, member.node_id) if is_alive(member.node_id) else Death()
        cause = f"its worker {rank} died {death.cause}".rstrip()
        last = f"; it last printed: {death.last_line}" if death.last_line else ""
        ending = self._lost(f"{cause} ({member.place}){last}", [rank])
        return replace(ending, error=f"{death.printed}\n\n{ending.error}".lstrip(), ended_itself=death.is_by_itself)

    def _lost(self, told: str, ranks: Iterable[int]) -> Ending:
        lost_node = not all(is_alive(self._group.members[rank].node_id) for rank in ranks)
        return Ending(TrialState.FAILED, FailureReason.LOST, told, told, lost_node=lost_node)

    def _answer(self, waiting: dict[int, Reported | Mean]) -> Reply:
        first = next(iter(waiting.values()))
        if isinstance(first, Mean) and not self._queue.is_stopping:
            given = [message.values for message in waiting.values() if isinstance(message, Mean)]
            return Reply(values={name: sum(one[name] for one in given) / len(given) for name in first.values})
        reported = waiting.get(0)
        try:
            if isinstance(reported, Reported):
                self._queue.put(reported.report)
        except Stopped:
            return Reply(stop="stopped")
        if self._queue.is_stopping:
            return Reply(stop="stopped")
        return Reply(stop=reported.ends if isinstance(reported, Reported) else "")


def is_death(error: BaseException) -> bool:
    """Whether Ray Train's error comes from the death of a worker or its node."""
    failures = getattr(error, "worker_failures", {})
    inner = [*failures.values(), getattr(error, "controller_failure", None), error.__cause__]
    return isinstance(error, RayActorError) or any(is_death(one) for one in inner if one is not None)


def _out_of_step(waiting: dict[int, Reported | Mean], ended: dict[int, Ending]) -> str:
    """Why the waiting workers can't be answered together; empty if they can."""
    advice = "every worker must report each step, and all must call trial.mean if one does"
    places = [f"worker {rank} is at {message}" for rank, message in sorted(waiting.items())]
    places += [f"worker {rank} has ended" for rank in sorted(ended)]
    kinds = {
        (type(message), message.report.step if isinstance(message, Reported) else frozenset(message.values))
        for message in waiting.values()
    }
    return f"its workers are out of step: {', '.join(places)}; {advice}" if ended or len(kinds) > 1 else ""
