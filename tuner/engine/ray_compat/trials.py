"""What Ray Tune wants to know of a trial beside what `ray.tune.experiment.Trial` tells; in the driver."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class NoStorage:
    """What Ray Tune wants to know of a storage that it is not to write to.

    Its population based schedulers alone write there: which configuration a trial has taken over from which. Gone, or
    asked for more: `ray.train.v2._internal.execution.storage.StorageContext` of a temporary folder.
    """

    experiment_dir_name: str = "tuner"
    trial_dir_name: str = ""
    trial_fs_path: str = "tuner"
    experiment_driver_staging_path: str = ""
    trial_driver_staging_path: str = ""

    def _update_checkpoint_index(self, metrics: Mapping[str, Any]) -> None:
        """The study counts the checkpoints."""


def training_result(path: str, step: int) -> Any:
    """What Ray Tune takes for a checkpoint that a trial has saved.

    Gone: what the next `TuneController._on_saving_result` takes; the checkpoint and the step are all that is in it.
    """
    from ray.train._internal.session import _TrainingResult
    from ray.tune import Checkpoint

    return _TrainingResult(Checkpoint.from_directory(path), {"training_iteration": step})
