"""Ray's manager of actors by public names; in the driver.

All of it is `ray.air.execution`'s. Gone: the actors of a sweep are made with `ray.remote` in placement groups of ours,
and their calls waited for with `ray.wait`; `RayController` falls with it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import ray
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.util import placement_group_table

from tuner.engine.ray_compat.runtime import id_of

__all__ = ["RayActors", "TrackedActor"]


class RayActors(RayActorManager):  # type: ignore[misc]  # Ray's classes are untyped
    @classmethod
    def of_placement_groups(cls) -> Self:
        """Actors in placement groups of their own, as Ray Tune has them."""
        # No `__init__` of ours: its base calls that anew to begin afresh.
        return cls(resource_manager=PlacementGroupResourceManager())

    def on_call_failed(self, actor_id: str | None, exception: Exception) -> Exception:
        """Called with what a call to an actor has raised; what Ray Tune is to hear."""
        return exception

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        process = self.process_of(tracked_actor_task._tracked_actor)
        raised = self.on_call_failed(None if process is None else id_of(process), exception)
        super()._actor_task_failed(tracked_actor_task, raised)

    def process_of(self, tracked: TrackedActor | None) -> Any:
        """The handle of an actor; None before it has got its resources."""
        return self._live_actors_to_ray_actors_resources.get(tracked, (None,))[0]

    def processes_of(self, tracked: Iterable[TrackedActor]) -> list[Any]:
        """The handles of those that have got their resources."""
        live = self._live_actors_to_ray_actors_resources
        return [live[one][0] for one in tracked if one in live]

    def has_news(self, tracked: TrackedActor | None) -> bool:
        """Whether a call to an actor has returned, and was not taken up yet."""
        calls = self._tracked_actors_to_task_futures.get(tracked, set())
        waiting = calls.intersection(self._actor_task_events.get_futures())
        return bool(waiting) and bool(ray.wait(list(waiting), timeout=0)[0])

    def drop_returned(self, tracked: TrackedActor) -> None:
        """Forget the calls to an actor that have returned; Ray keeps what each has returned until the actor ends."""
        self._tracked_actors_to_task_futures[tracked].intersection_update(self._actor_task_events.get_futures())

    def placement(self) -> Iterable[tuple[str, Mapping[str, float]]]:
        """Of each bundle that these actors hold, its node and resources."""
        for _, acquired in self._live_actors_to_ray_actors_resources.values():
            group = placement_group_table(acquired.placement_group)
            for index, bundle in group["bundles"].items():
                yield group["bundles_to_node_id"].get(index, ""), bundle
