"""A trial in a process of its own, whose main thread runs the loop: for what can't run in a thread of a warm process.

The process that runs the trials stays, and speaks for the loop to the driver and to the run folder. Knows nothing of
ray.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from tuner.engine.files.trial_folder import RunFolder, SharedFolder
from tuner.engine.process.last_words import LastWords
from tuner.engine.process.report_queue import Ending, ReportQueue, failure
from tuner.engine.process.session import QueuedSession, outcome
from tuner.engine.process.trial_process import Job, Task, TrialProcess
from tuner.errors import StopTrial
from tuner.records import FailureReason, Report, TrialState
from tuner.trial.devices import Memory
from tuner.trial.group import Deliver
from tuner.trial.trial import Trial

# How long a process may take to end by itself once its loop has.
EXIT_TIMEOUT_S = 20.0
_PROGRAM = f"from {__name__} import main; main()"
# Those that a process of bad luck gets from outside.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Start:
    """What a process is given: a trial, its folder, and where its checkpoint is to be read."""

    job: Job
    task: Task
    folder: Path
    checkpoint: Path | None


@dataclass(frozen=True)
class Find:
    """Where is the checkpoint of this step to be read?"""

    step: int


@dataclass(frozen=True)
class Ended:
    """The loop has ended, and this is what its device's memory was like."""

    ending: Ending
    memory: Memory


class OwnProcessHost:
    """Trains each trial in a process that is started for it."""

    def __init__(self, job: Job, folder: RunFolder, words: LastWords) -> None:
        self._job, self._folder, self._words = job, folder, words
        self._session: OwnProcessSession | None = None

    def start(self, task: Task) -> "OwnProcessSession":
        self._session = OwnProcessSession(self._job, task, self._folder, self._words)
        return self._session

    def memory(self) -> Memory:
        """Of the last trial that has ended; raises `LookupError` where none has."""
        if self._session is None or self._session.memory is None:
            raise LookupError("no trial has ended in its process")
        return self._session.memory

    def after_trial(self) -> str:
        return ""

    def close(self) -> None:
        """There is nothing to let go of: the process of a trial ends with it."""


class OwnProcessSession(QueuedSession):
    """One trial whose loop runs in the main thread of a new process."""

    def __init__(self, job: Job, task: Task, folder: RunFolder, words: LastWords) -> None:
        self._job, self._task, self._folder, self._words = job, task, folder, words
        self._queue = ReportQueue(job.asking, job.metric_names, words)
        self._process: subprocess.Popen[bytes] | None = None
        self.memory: Memory | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """End the loop at its next report, or its process after the timeout."""
        if not super().stop(timeout_s) and self._process is not None:
            self._process.kill()
            self.thread.join(EXIT_TIMEOUT_S)
        return not self.thread.is_alive()

    def _run(self) -> None:
        try:
            with self._folder.closing(self._task.number):
                ending = self._follow()
        except BaseException as error:
            ending = failure(error)
        self._queue.end(ending)

    def _follow(self) -> Ending:
        folder, checkpoint = self._folder.open(self._task.number, self._task.restore_from)
        link, theirs = Pipe()
        # Its other end is closed with this process, however that ends: the loop's process then ends as well.
        lifeline, held = os.pipe()
        given = [theirs.fileno(), lifeline]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", "-u", "-c", _PROGRAM, *map(str, given), os.environ.get("PYTHONPATH", "")]
        # Of no terminal's: who interrupts the sweep interrupts its driver.
        process = subprocess.Popen(command, pass_fds=given, env=environment, start_new_session=True)
        self._process = process
        theirs.close()
        os.close(lifeline)
        try:
            with contextlib.suppress(OSError):
                link.send(self._job.sys_path)
                link.send_bytes(pickle.dumps(Start(self._job, self._task, folder, checkpoint)))
            return self._listen(link, process)
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_TIMEOUT_S)
            process.kill()
            process.wait()
            os.close(held)
            link.close()

    def _listen(self, link: "Connection[Any, Any]", process: "subprocess.Popen[bytes]") -> Ending:
        deliver = self._folder.delivering(self._task.number, lambda report, stop: self._queue.put(report))
        while True:
            try:
                message = link.recv()
            except (EOFError, OSError):
                return self._died(process.wait())
            if isinstance(message, Ended):
                self.memory = message.memory
                return message.ending
            answer: Any = None
            try:
                if isinstance(message, Find):
                    answer = self._folder.find_checkpoint(self._task.number, message.step)
                else:
                    deliver(message, None)
            except (StopTrial, Exception) as error:
                answer = error
            with contextlib.suppress(OSError):  # it has died, which the next look tells
                link.send(answer)

    def _died(self, code: int) -> Ending:
        if self._queue.is_stopping:
            return Ending(TrialState.STOPPED)
        cause = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        death = replace(self._words.read(), cause=cause)
        told = death.told()
        error = f"{death.printed}\n\n{told}".lstrip()
        return Ending(TrialState.FAILED, FailureReason.LOST, told, error, ended_itself=-code not in _FROM_OUTSIDE)


class _Linked(SharedFolder):
    """The run folder as the loop's process sees it: what is not on this machine is asked for."""

    def __init__(self, link: "Connection[Any, Any]", start: Start) -> None:
        super().__init__(start.folder.parents[1])
        self._link, self._start = link, start

    def open(self, number: int, checkpoint: Path | None) -> tuple[Path, Path | None]:
        return self._start.folder, self._start.checkpoint

    def delivering(self, number: int, deliver: Deliver) -> Deliver:
        def delivered(report: Report, stop: StopTrial | None) -> None:
            self._ask(report)

        return delivered

    def find_checkpoint(self, number: int, step: int) -> Path:
        return Path(self._ask(Find(step)))

    def _ask(self, message: Report | Find) -> Any:
        self._link.send(message)
        answer = self._link.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def main() -> None:
    """The loop's process: `LINK LIFELINE PYTHONPATH`, two open files and what the variable was."""
    link: Connection[Any, Any] = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    os.environ.pop("PYTHONPATH")
    if sys.argv[3]:
        os.environ["PYTHONPATH"] = sys.argv[3]
    sys.path[:0] = [path for path in link.recv() if path not in sys.path]
    start: Start = pickle.loads(link.recv_bytes())
    folder = _Linked(link, start)
    made: list[TrialProcess] = []

    def make_trial() -> Trial:
        made.append(TrialProcess(start.job, folder))
        made[0].before_trial()
        return made[0].make_trial(start.task, lambda report, stop: None)

    ending = outcome(lambda trial: made[0].train(trial), make_trial)
    with contextlib.suppress(OSError):
        link.send(Ended(ending, made[0].memory() if made else Memory()))
    if made:
        made[0].close()


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)
