"""Ray's manager of actors, which takes all events at a time and hands on each error of a call as its actor's end.

Ray hands on that an actor has died and that its code has raised. Of anything else, such as that its memory monitor has
killed the process or that a result was lost with its node, it makes a RuntimeError that ends the whole sweep.
"""

from typing import Any, Self

from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError


class ActorManager(RayActorManager):  # type: ignore[misc]  # Ray's classes are untyped
    @classmethod
    def of_placement_groups(cls) -> Self:
        """As Ray Tune has it."""
        return cls(resource_manager=PlacementGroupResourceManager())

    def next(self, timeout: float | None = None) -> bool:
        """Take all events that are there, where its base takes one: a driver that was held up has many to take."""
        has_taken = bool(super().next(timeout))
        for _ in range(self.num_live_actors if has_taken else 0):
            if not super().next(0):
                break
        return has_taken

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            tracked = tracked_actor_task._tracked_actor
            actor, _ = self._live_actors_to_ray_actors_resources.get(tracked, (None, None))
            died = RayActorError(actor._actor_id.hex() if actor else None, str(exception))
            died.__cause__ = exception
            exception = died
        super()._actor_task_failed(tracked_actor_task, exception)
