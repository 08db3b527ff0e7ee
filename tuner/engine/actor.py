"""The warm trial: a Ray Tune trainable that runs one trial after another, in its process or in a group of workers."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint, Trainable

from tuner.devices import Memory
from tuner.engine.driver_node import open_folder
from tuner.engine.folder import RunFolder
from tuner.engine.process import Job, Task, TrialProcess, task_of
from tuner.engine.reports import Batch
from tuner.engine.session import Session

if TYPE_CHECKING:
    from tuner.engine.group import GroupSession, WorkerGroup

# How long a trial that was ended may take to its next report, before its process is ended or replaced instead.
STOP_TIMEOUT_S = 5.0
REPLACE_AFTER_S = 20.0


def make_trainable(job: Job) -> type[Trainable]:
    """A trainable class that carries `job` to its actors."""

    class Warm(WarmTrial):
        _job = job

    return Warm


class WarmTrial(Trainable):  # type: ignore[misc]  # Ray's classes are untyped
    """Runs trials for Ray Tune. `train` gives a batch of reports instead of one result.

    The config of a trial: `number`, `params` and `restore_step`, 0 to start afresh.
    """

    _job: Job

    def setup(self, config: dict[str, Any]) -> None:
        self._folder = open_folder(Path(self._job.folder), self._job.token)
        self._host = _start_group(self._job) if self._job.workers > 1 else LocalHost(self._job, self._folder)
        self._session: Session | GroupSession | None = None
        self._task = task_of(self._job, config)

    def train(self) -> Batch:
        if self._session is None:
            self._session = self._host.start(self._task)
        return self._session.next_batch()

    def memory(self) -> Memory:
        """Of the device of this process, which trains by itself; the peak is that of its trial."""
        assert isinstance(self._host, LocalHost)
        return self._host.memory()

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Take the next trial; False where this process is not fit for it."""
        try:
            unfit = self._end_session(REPLACE_AFTER_S)
        except Exception as error:
            unfit = f"it can't be cleaned up: {error!r}"
        if unfit:
            print(f"tuner: this process is replaced, since {unfit}", file=sys.stderr)
            return False
        self._task = task_of(self._job, new_config)
        return True

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Point to the trial's newest checkpoint, which its last report has written."""
        newest = self._folder.newest_checkpoint(self._task.number)
        if newest is None:
            raise RuntimeError(
                "the early stopping rule pauses trials, so trial.report needs `state=` to go on from; none was saved"
            )
        step, path = newest
        return _TrainingResult(Checkpoint.from_directory(str(path)), {"training_iteration": step})

    def restore(self, checkpoint_path: _TrainingResult) -> None:
        self._task = replace(self._task, restore_from=Path(checkpoint_path.checkpoint.path))

    def stop(self) -> None:
        self._end_session(STOP_TIMEOUT_S)
        self._host.close()

    def get_auto_filled_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def _setup_logdir(self) -> None:
        """A trial stays in the working directory that its sweep was started in."""
        self._logdir = self._job.folder

    def _end_session(self, timeout_s: float) -> str:
        session, self._session = self._session, None
        if session is None:
            return ""
        if not session.stop(timeout_s):
            return "its trial did not stop"
        del session
        return self._host.after_trial()


def _start_group(job: Job) -> "WorkerGroup":
    # Imports Ray Train, which a trial of one worker has no use for and would wait for.
    from tuner.engine.group import WorkerGroup

    return WorkerGroup(job)


class LocalHost:
    """Trains in this process."""

    def __init__(self, job: Job, folder: RunFolder) -> None:
        self._job = job
        self._process = TrialProcess(job, folder)

    def start(self, task: Task) -> Session:
        self._process.before_trial()
        process, job = self._process, self._job
        return Session(process.train, lambda deliver: process.make_trial(task, deliver), job.asking, job.metric_names)

    def memory(self) -> Memory:
        return self._process.memory()

    def after_trial(self) -> str:
        return self._process.after_trial()

    def close(self) -> None:
        self._process.close()
