"""Ray's actor manager, changed to take all events at once and to report each failed call as its actor's failure.

Ray reports an actor that died or whose code raised. It turns anything else, such as a process killed by its memory
monitor or a result lost with its node, into a RuntimeError that ends the whole sweep.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError

from tuner.engine.ray_compat.actors import RayActors, TrackedActor
from tuner.engine.ray_compat.runtime import free_resources


class ActorManager(RayActors):
    def next(self, timeout: float | None = None) -> bool:
        """Process all pending events, where the base class takes one: a delayed driver has many."""
        has_taken = bool(super().next(timeout))
        for _ in range(self.num_live_actors if has_taken else 0):
            if not super().next(0):
                break
        return has_taken

    def schedule_actor_task(self, tracked_actor: TrackedActor, *args: Any, **kwargs: Any) -> Any:
        """Call a method of an actor. The base class keeps each call's result until the actor ends."""
        self.drop_returned(tracked_actor)
        return super().schedule_actor_task(tracked_actor, *args, **kwargs)

    def within_reach(self) -> Sequence[Mapping[str, float]]:
        """The resources of each node that are free or held by our actors."""
        nodes = {node: Counter(resources) for node, resources in free_resources().items()}
        for node, bundle in self.placement():
            nodes.setdefault(node, Counter()).update(bundle)
        return list(nodes.values())

    def on_call_failed(self, actor_id: str | None, exception: Exception) -> Exception:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            died: Exception = RayActorError(actor_id, str(exception))
            died.__cause__ = exception
            return died
        return exception
