"""Runs a plain Ray Train loop as a trainable: its calls to Ray Train go to its trial.

The loop keeps its `ray.train.report`, `ray.train.get_checkpoint`, `ray.train.get_context` and `ray.train.torch`, which
use the current trial, in a warm process or a warm group of workers.
"""

import inspect
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray
from ray.train import Checkpoint

from tuner.engine.ray_compat import train_functions
from tuner.errors import MetricError, SpecError
from tuner.run_folder.checkpoints import FILES
from tuner.trial.reported import as_float
from tuner.trial.trial import Trial


class RayTrainLoop:
    """A `train(trial)` that runs `loop(config)`; see `from_ray_train`."""

    def __init__(self, loop: Callable[..., Any], is_warm: bool) -> None:
        self._loop = loop
        self.is_warm = is_warm
        self.__module__ = loop.__module__
        self.__qualname__ = f"from_ray_train(<{loop.__qualname__}>)"

    def __call__(self, trial: Trial) -> None:
        takes_config = bool(inspect.signature(self._loop).parameters)
        with train_functions.answered_by(_Reporting, trial, in_group=trial.world_size > 1):
            self._loop(*[dict(trial.params)] * takes_config)


def from_ray_train(loop: Callable[..., Any], *, warm: bool = True) -> Callable[[Trial], None]:
    """A trainable that runs a Ray Train loop unchanged: `train = tuner.from_ray_train(loop)` at a module's top.

    Each `ray.train.report` is a step; the files that the workers give with `checkpoint=` are put together and kept
    with it, and `ray.train.get_checkpoint` gives those of the trial's last one. Metrics that are no numbers are left
    out.

    Args:
        loop: `def loop(config)`, or without arguments, as `TorchTrainer` takes it; `config` is the configuration.
        warm: run one trial after another in the same processes. False for a loop that leaves something behind that
            the next one would stumble over: each trial then starts a `TorchTrainer`, or a process, of its own.

    Returns:
        A trainable, `train(trial)`.

    Example:
        >>> def loop(config):
        ...     for epoch in range(3):
        ...         ray.train.report({"loss": config["lr"] / (epoch + 1)})
        >>> train = tuner.from_ray_train(loop)
        >>> train(trial)
    """
    if not train_functions.are_there():
        raise SpecError(
            [
                f"from_ray_train needs Ray 2.51 or newer, and this is Ray {ray.__version__}: install a newer one, or "
                "write the loop as `train(trial)`."
            ]
        )
    return RayTrainLoop(loop, warm)


class _Reporting:
    """Answers a loop's calls to Ray Train with its trial."""

    def __init__(self, trial: Trial, **context: Any) -> None:
        super().__init__(**context)
        self._trial = trial
        self._state = trial.restore()
        self._step = self._state.step if self._state else 0
        # From this worker's last report with a checkpoint.
        self._saved_step = 0

    def report(
        self,
        metrics: dict[str, Any],
        checkpoint: Checkpoint | None = None,
        checkpoint_dir_name: str | None = None,
        checkpoint_upload_mode: Any = None,
        delete_local_checkpoint_after_upload: bool | None = None,
        **others: Any,
    ) -> None:
        # checkpoint_upload_fn and validation; until Ray 2.53 the latter was called validate_fn.
        for name, given in others.items():
            if given:
                raise MetricError(f"ray.train.report: {name} can't be used in a tuner trial: leave it out.")
        is_needless = delete_local_checkpoint_after_upload
        if is_needless is None:
            is_needless = getattr(checkpoint_upload_mode, "name", "") == "ASYNC"
        self._step += 1
        # Ray accepts anything as a metric, and from all workers but the first anything or nothing.
        wanted = {metric.name for metric in self._trial.metrics}
        metrics = {name: value for name, value in metrics.items() if name in wanted or as_float(value) is not None}
        if self._trial.rank:
            metrics = dict.fromkeys(wanted, math.nan) | metrics
        with (
            checkpoint.as_directory() if checkpoint else nullcontext() as folder,
            self._trial.gathered(Path(folder) if folder else None) as folders,
        ):
            self._trial.report(metrics, step=self._step, state={} if folders else None, files=folders)
        if checkpoint:
            self._saved_step = self._step
        if checkpoint and is_needless:
            shutil.rmtree(checkpoint.path, ignore_errors=True)

    def get_checkpoint(self) -> Any:
        """The last reported checkpoint of all workers; before the first, the one that the trial resumes from."""
        files = self._state.files if self._state else None
        if self._saved_step:
            files = self._trial.find_checkpoint(self._saved_step) / FILES
        return Checkpoint.from_directory(str(files)) if files and files.is_dir() else None

    def get_all_reported_checkpoints(self, *_: Any, **__: Any) -> list[Any]:
        raise MetricError(
            "ray.train.get_all_reported_checkpoints can't be used in a tuner trial, which keeps its best one and its "
            "last two: use ray.train.get_checkpoint, or Results once the sweep has ended."
        )
