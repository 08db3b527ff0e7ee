"""The warm trial: a Ray Tune trainable that runs one trial after another in one process."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import cloudpickle
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint, Trainable

from tuner.context import Metric, Trial, checkpoint_path, checkpoint_steps, seed_everything
from tuner.engine.hygiene import Hygiene, set_threads
from tuner.engine.session import Batch, Session
from tuner.files import trial_dir
from tuner.methods.table import derive_seed
from tuner.stopping.asking import Asking
from tuner.trial import Report

# How long a trial that was ended may take to its next report, before its process is ended or replaced instead.
STOP_TIMEOUT_S = 5.0
REPLACE_AFTER_S = 20.0


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep share.

    Attributes:
        train: the trainable, pickled; unpickled only once `sys_path` is in place.
        cwd: that the sweep was started in.
        folder: the run folder, absolute.
    """

    train: bytes
    sys_path: tuple[str, ...]
    cwd: str
    folder: str
    metrics: tuple[Metric, ...]
    asking: Asking
    seed: int
    cpus: float
    gpus: float


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
        self._enter_cwd()
        for path in reversed([path for path in self._job.sys_path if path not in sys.path]):
            sys.path.insert(0, path)
        self._train_fn: Callable[[Trial], None] = cloudpickle.loads(self._job.train)
        self._hygiene = Hygiene()
        self._session: Session | None = None
        self._restore_from: Path | None = None
        self._configure(config)

    def train(self) -> Batch:
        if self._session is None:
            self._hygiene.before_trial()
            names = [metric.name for metric in self._job.metrics]
            self._session = Session(self._train_fn, self._make_trial, self._job.asking, names)
        return self._session.next_batch()

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Take the next trial; False where this process is not fit for it."""
        try:
            unfit = self._end_session(REPLACE_AFTER_S)
        except Exception as error:
            unfit = f"it can't be cleaned up: {error!r}"
        if unfit:
            print(f"tuner: this process is replaced, since {unfit}", file=sys.stderr)
            return False
        self._configure(new_config)
        return True

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Point to the trial's newest checkpoint, which its last report has written."""
        folder = self._trial_folder()
        steps = checkpoint_steps(folder)
        if not steps:
            raise RuntimeError(
                "the early stopping rule pauses trials, so trial.report needs `state=` to go on from; none was saved"
            )
        path = checkpoint_path(folder, steps[-1])
        return _TrainingResult(Checkpoint.from_directory(str(path)), {"training_iteration": steps[-1]})

    def restore(self, checkpoint_path: _TrainingResult) -> None:
        self._restore_from = Path(checkpoint_path.checkpoint.path)

    def stop(self) -> None:
        self._end_session(STOP_TIMEOUT_S)

    def get_auto_filled_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def _setup_logdir(self) -> None:
        """A trial stays in the working directory that its sweep was started in."""
        self._logdir = self._job.folder

    def _configure(self, config: Mapping[str, Any]) -> None:
        self._enter_cwd()
        self._number, self._params = int(config["number"]), dict(config["params"])
        step = config["restore_step"]
        self._restore_from = checkpoint_path(self._trial_folder(), step) if step else None

    def _enter_cwd(self) -> None:
        """Relative paths mean the same in every trial, whatever the one before has done."""
        if Path(self._job.cwd).is_dir():
            os.chdir(self._job.cwd)

    def _trial_folder(self) -> Path:
        return trial_dir(Path(self._job.folder), self._number)

    def _make_trial(self, deliver: Callable[[Report], None]) -> Trial:
        seed = derive_seed(self._job.seed, self._number)
        set_threads(self._job.cpus)
        seed_everything(seed)
        return Trial(
            self._params,
            number=self._number,
            seed=seed,
            dir=self._trial_folder(),
            metrics=self._job.metrics,
            deliver=deliver,
            restore_from=self._restore_from,
            # Ray shows a process the GPUs that its trial was given; without a share of one it must not touch any.
            device=torch.device("cuda" if self._job.gpus and torch.cuda.is_available() else "cpu"),
        )

    def _end_session(self, timeout_s: float | None) -> str:
        session, self._session = self._session, None
        if session is None:
            return ""
        if not session.stop(timeout_s):
            return "its trial did not stop"
        del session
        torch.set_grad_enabled(True)
        return self._hygiene.after_trial()
