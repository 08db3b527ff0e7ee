"""The warm trial: an actor that runs one trial after another for Ray Tune, in its process or a group of workers.

It imports neither Ray Tune nor Ray Train, which would add a second to each process's start.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from tuner.engine.files.driver_node import open_folder
from tuner.engine.files.trial_folder import RunFolder
from tuner.engine.process.deaths import leave_words
from tuner.engine.process.last_words import LastWords
from tuner.engine.process.own_process import OwnProcessHost
from tuner.engine.process.report_queue import Batch
from tuner.engine.process.session import QueuedSession, Session
from tuner.engine.process.trial_process import Job, Task, TrialProcess, task_of
from tuner.engine.ray_compat.trials import training_result
from tuner.run_folder.checkpoints import checkpoint_path, trial_and_step
from tuner.run_folder.trial_files import trial_dir
from tuner.trial.devices import Memory

if TYPE_CHECKING:
    from tuner.engine.workers.group import WorkerGroup

# How long an ended trial may take to its next report before its process is ended or replaced.
STOP_TIMEOUT_S = 5.0
REPLACE_AFTER_S = 20.0


def make_actor_class(job: Job, env_vars: Mapping[str, str]) -> Any:
    """Make a class of Ray actors with `job` and these environment variables."""

    class Warm(WarmTrial):
        _job = job

    # A process that Ray started in advance takes only actors without an environment of their own.
    return ray.remote(runtime_env={"env_vars": dict(env_vars)})(Warm) if env_vars else ray.remote(Warm)


class WarmTrial:
    """Runs trials, with the methods that Ray Tune calls on its trainables.

    The config of a trial: `number`, `params` and `restore_step`, 0 to start afresh.
    """

    _job: Job

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._words = leave_words()  # before anything that may end this process
        self._folder = open_folder(Path(self._job.folder), self._job.token)
        self._host = self._make_host()
        self._session: QueuedSession | None = None
        self._task = task_of(self._job, config)

    def train(self) -> Batch:
        """Block until there are reports, or the trial's end."""
        if self._session is None:
            self._session = self._host.start(self._task)
        return self._session.next_batch()

    def memory(self) -> Memory:
        """The memory of this process's device; the peak is of its trial."""
        assert isinstance(self._host, LocalHost | OwnProcessHost)
        return self._host.memory()

    def reset(self, config: Mapping[str, Any]) -> bool:
        """Take the next trial; return False if this process is not fit for it."""
        try:
            unfit = self._end_session(REPLACE_AFTER_S)
        except Exception as error:
            unfit = f"it can't be cleaned up: {error!r}"
        if unfit:
            print(f"tuner: this process is replaced, since {unfit}", file=sys.stderr)
            return False
        self._task = task_of(self._job, config)
        return True

    def save(self) -> "Saved":
        """Return the trial's last checkpoint since it began here, or else the one that it resumed from.

        Later ones may be on disk, of the same trial before it took over another's state.
        """
        step = self._session.saved_step if self._session else 0
        own = checkpoint_path(trial_dir(Path(self._job.folder), self._task.number), step)
        path = own if step else self._task.restore_from
        if path is None:
            raise RuntimeError(
                "the early stopping rule pauses trials, so trial.report needs `state=` to resume from; none was saved"
            )
        return Saved(str(path), trial_and_step(path)[1])

    def restore(self, path: str) -> None:
        self._task = replace(self._task, restore_from=Path(path))

    def stop(self) -> None:
        self._end_session(STOP_TIMEOUT_S)
        self._host.close()
        self._words.close()

    def _make_host(self) -> "WorkerGroup | LocalHost | OwnProcessHost":
        if self._job.workers > 1:
            return _start_group(self._job, self._words)
        kind = LocalHost if self._job.warm else OwnProcessHost
        return kind(self._job, self._folder, self._words)

    def _end_session(self, timeout_s: float) -> str:
        session, self._session = self._session, None
        if session is None:
            return ""
        if not session.stop(timeout_s):
            return "its trial did not stop"
        del session
        return self._host.after_trial()


@dataclass(frozen=True)
class Saved:
    """A checkpoint for Ray Tune; in the driver's process it becomes Ray Tune's own type."""

    path: str
    step: int

    def __reduce__(self) -> Any:
        return training_result, (self.path, self.step)


def _start_group(job: Job, words: LastWords) -> "WorkerGroup":
    # Imports Ray Train, which a trial with one worker does not need and would wait for.
    from tuner.engine.workers.group import WorkerGroup

    return WorkerGroup(job, words)


class LocalHost:
    """Trains in this process."""

    def __init__(self, job: Job, folder: RunFolder, words: LastWords) -> None:
        self._job = job
        self._words = words
        self._process = TrialProcess(job, folder)

    def start(self, task: Task) -> Session:
        self._process.before_trial()
        process, job = self._process, self._job
        return Session(
            process.train,
            lambda deliver: process.make_trial(task, deliver),
            job.asking,
            job.metric_names,
            self._words,
        )

    def memory(self) -> Memory:
        return self._process.memory()

    def after_trial(self) -> str:
        return self._process.after_trial()

    def close(self) -> None:
        self._process.close()
