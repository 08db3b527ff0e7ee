"""A process that trains a sweep's trials one after another, each from a clean state. Does not depend on Ray."""

import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuner.engine.files.trial_folder import RunFolder
from tuner.engine.process.hygiene import Hygiene, set_threads
from tuner.metric import Metric
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.trial_files import trial_dir
from tuner.spec.trainable import exit_told
from tuner.stopping.asking import Asking
from tuner.trial.call import call
from tuner.trial.devices import Device, Memory, device_of
from tuner.trial.environment import adopt
from tuner.trial.group import Deliver, Group
from tuner.trial.seeds import derive_seed, seed_everything
from tuner.trial.shared_data import SharedData
from tuner.trial.trial import Trial


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep share.

    Attributes:
        train: the trainable, pickled; unpickled only once `sys_path` is set.
        argv: the driver's command line, which modules may read when they are imported.
        cwd: the working directory of the sweep.
        folder: the run folder on the driver's machine, absolute.
        token: the driver's mark of that folder.
        cpus, gpus: of each worker.
        warm: whether a process runs one trial after another.
        device: returns a worker's device; called in its process with `gpus` and the index of the first one.
    """

    train: bytes
    sys_path: tuple[str, ...]
    argv: tuple[str, ...]
    cwd: str
    folder: str
    token: str
    metrics: tuple[Metric, ...]
    asking: Asking
    seed: int
    cpus: float
    gpus: float
    workers: int = 1
    warm: bool = True
    device: Callable[[float, int], Device] = device_of

    @property
    def metric_names(self) -> list[str]:
        return [metric.name for metric in self.metrics]


@dataclass(frozen=True)
class Task:
    """One trial to train. `restore_from` is a checkpoint on the driver's machine, None to start afresh."""

    number: int
    params: Mapping[str, Any]
    restore_from: Path | None


class TrialProcess:
    """This process, prepared for the trials of `job`. Changes its working directory and module path."""

    def __init__(self, job: Job, folder: RunFolder, gpu_index: int = 0) -> None:
        adopt()
        self._job = job
        self._device = job.device(job.gpus, gpu_index)
        self._folder = folder
        self._enter_cwd()
        for path in reversed([path for path in job.sys_path if path not in sys.path]):
            sys.path.insert(0, path)
        sys.argv[:] = job.argv
        self._train = _unpickled(job.train)
        self._hygiene = Hygiene(self._device)
        self._shared = SharedData(job.token)

    def memory(self) -> Memory:
        """The memory of the device; the peak is since the trial before."""
        return self._device.memory()

    def train(self, trial: Trial) -> None:
        """Call the trainable."""
        with self._folder.closing(trial.number):
            call(self._train, trial)

    def before_trial(self) -> None:
        self._enter_cwd()
        self._hygiene.before_trial()

    def make_trial(self, task: Task, deliver: Deliver, group: Group | None = None) -> Trial:
        """Make the trial with everything seeded; all workers of a trial get the same seeds."""
        seed = derive_seed(self._job.seed, task.number)
        set_threads(self._job.cpus)
        self._device.enter()
        seed_everything(seed)
        folder, checkpoint = self._folder.open(task.number, task.restore_from)
        return Trial(
            task.params,
            number=task.number,
            seed=seed,
            dir=folder,
            metrics=self._job.metrics,
            deliver=self._folder.delivering(task.number, deliver),
            restore_from=checkpoint,
            device=self._device.torch_device,
            group=group,
            shared=self._shared,
            find_checkpoint=lambda step: self._folder.find_checkpoint(task.number, step),
        )

    def after_trial(self) -> str:
        """Clean up; return why this process has to be replaced, or an empty text if it is fit for another trial."""
        torch.set_grad_enabled(True)
        unfit = self._hygiene.after_trial()
        is_warm = self._job.warm and getattr(self._train, "is_warm", True)
        return unfit if is_warm else "a new one is asked for each time"

    def close(self) -> None:
        """Release what trials share with other processes."""
        self._shared.close()

    def _enter_cwd(self) -> None:
        """Enter the working directory, so that relative paths mean the same in every trial."""
        if Path(self._job.cwd).is_dir():
            os.chdir(self._job.cwd)


def _unpickled(train: bytes) -> Callable[[Trial], None]:
    """Unpickle the trainable, which imports its module."""
    try:
        found: Callable[[Trial], None] = pickle.loads(train)
    except SystemExit as error:
        raise ImportError(f"the trainable's module can't be imported: {exit_told(error)}") from None
    return found


def task_of(job: Job, config: Mapping[str, Any]) -> Task:
    """The task in a Ray Tune config: `number`, `params` and `restore_step`, 0 to start afresh."""
    number, step = int(config["number"]), config["restore_step"]
    folder = trial_dir(Path(job.folder), number)
    return Task(number, dict(config["params"]), checkpoint_path(folder, step) if step else None)
