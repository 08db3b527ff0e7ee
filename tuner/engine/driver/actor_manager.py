"""Ray's manager of actors, which takes all events at a time and hands on each error of a call as its actor's end.

Ray hands on that an actor has died and that its code has raised. Of anything else, such as that its memory monitor has
killed the process or that a result was lost with its node, it makes a RuntimeError that ends the whole sweep.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import ray
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import placement_group_table

from tuner.engine.ray_compat.runtime import free_resources, id_of


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

    def schedule_actor_task(self, tracked_actor: TrackedActor, *args: Any, **kwargs: Any) -> Any:
        """Call a method of an actor. Its base keeps what each call has returned until the actor ends."""
        self._tracked_actors_to_task_futures[tracked_actor].intersection_update(self._actor_task_events.get_futures())
        return super().schedule_actor_task(tracked_actor, *args, **kwargs)

    def has_news(self, tracked_actor: TrackedActor | None) -> bool:
        """Whether a call to an actor has returned, and was not taken up yet."""
        calls = self._tracked_actors_to_task_futures.get(tracked_actor, set())
        waiting = calls.intersection(self._actor_task_events.get_futures())
        return bool(waiting) and bool(ray.wait(list(waiting), timeout=0)[0])

    def within_reach(self) -> Sequence[Mapping[str, float]]:
        """The resources of each node but for what others hold: those that are free, and those of the actors here."""
        nodes = {node: Counter(resources) for node, resources in free_resources().items()}
        for _, acquired in self._live_actors_to_ray_actors_resources.values():
            group = placement_group_table(acquired.placement_group)
            for index, bundle in group["bundles"].items():
                nodes.setdefault(group["bundles_to_node_id"].get(index, ""), Counter()).update(bundle)
        return list(nodes.values())

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            tracked = tracked_actor_task._tracked_actor
            actor, _ = self._live_actors_to_ray_actors_resources.get(tracked, (None, None))
            died = RayActorError(id_of(actor) if actor else None, str(exception))
            died.__cause__ = exception
            exception = died
        super()._actor_task_failed(tracked_actor_task, exception)
