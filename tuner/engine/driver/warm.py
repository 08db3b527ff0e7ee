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
        """Reuse a cached actor, unless the trial's own is starting already: then the next trial gets the cached one.

        An actor that still waits for resources is given up, since the cached one may hold them.
        """
        if self.process_of(trial) is not None and not self.is_resetting(trial):
            return False
        return super().reuse_process(trial)

    def process_preparing(self, trial: RayTrial) -> Any:
        """The actor that has its resources but is not ready for the trial yet, if any."""
        return self.process_of(trial) if trial.status == trial.PENDING else None
