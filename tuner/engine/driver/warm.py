"""The control loop with processes that go from one trial to the next."""

from typing import Any

from tuner.engine.driver.actor_manager import ActorManager
from tuner.engine.driver.ray_trial import RayTrial
from tuner.engine.ray_compat.controller import RayController


class WarmController(RayController):
    """Keeps every actor for the trials that follow, and replaces those that are unfit for another."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(ActorManager.of_placement_groups(), **kwargs)

    def start_process(self, trial: RayTrial) -> None:
        """Take one that waits, or ask for one."""
        if not self.reuse_process(trial):
            self.add_process(trial, trial.slot.actor_class)

    def reuse_process(self, trial: RayTrial) -> bool:
        """An actor whose process is starting is waited for: the cached one is the next trial's.

        One that still waits for resources is given up, since the cached one may be what holds them.
        """
        if self.process_of(trial) is not None and not self.is_resetting(trial):
            return False
        return super().reuse_process(trial)

    def process_preparing(self, trial: RayTrial) -> Any:
        """The actor that has its resources and is not ready for the trial yet, None where there is none."""
        return self.process_of(trial) if trial.status == trial.PENDING else None
