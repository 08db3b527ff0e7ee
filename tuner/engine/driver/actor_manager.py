"""Ray's manager of actors, which takes all events at a time and hands on each error of a call as its actor's end.

Ray hands on that an actor has died and that its code has raised. Of anything else, such as that its memory monitor has
killed the process or that a result was lost with its node, it makes a RuntimeError that ends the whole sweep.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError

from tuner.engine.ray_compat.actors import RayActors, TrackedActor
from tuner.engine.ray_compat.runtime import free_resources


class ActorManager(RayActors):
    def next(self, timeout: float | None = None) -> bool:
        """Take all events that are there, where its base takes one: a driver that was held up has many to take."""
        has_taken = bool(super().next(timeout))
        for _ in range(self.num_live_actors if has_taken else 0):
            if not super().next(0):
                break
        return has_taken

    def schedule_actor_task(self, tracked_actor: TrackedActor, *args: Any, **kwargs: Any) -> Any:
        """Call a method of an actor. Its base keeps what each call has returned until the actor ends."""
        self.drop_returned(tracked_actor)
        return super().schedule_actor_task(tracked_actor, *args, **kwargs)

    def within_reach(self) -> Sequence[Mapping[str, float]]:
        """The resources of each node but for what others hold: those that are free, and those of the actors here."""
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
