"""The slots of a sweep: how many trials run at a time, and each trial's share of the cluster."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ray.tune import PlacementGroupFactory

from tuner.engine.driver.plan import num_fits, plan_slots
from tuner.engine.driver.resting import RestingNodes
from tuner.engine.process.trial_process import Job
from tuner.engine.ray_compat.controller import variables_to_pass_on
from tuner.engine.ray_compat.runtime import avoiding, can_avoid_nodes
from tuner.engine.workers.trial_actor import make_actor_class
from tuner.errors import ResourceError
from tuner.spec.sections import Resources


@dataclass(frozen=True)
class Slot:
    """Room for a trial: its request to Ray, and the actor class for that request."""

    request: PlacementGroupFactory
    actor_class: Any


class Slots:
    """The resources of each trial; with gpu `auto` a whole GPU, one trial at a time, until the first is measured.

    Args:
        gpus: of each worker, as given or as chosen by an earlier run.
        is_measuring: whether the share is still to be chosen.
        nodes: returns the resources of each node except those with the given ids.

    Attributes:
        gpus: of each worker of a new trial.
        resting: nodes on which no new trials start.
        count: trials that run at a time. `parallel` bounds it if the share is chosen here.

    Raises `ResourceError` if the cluster can't hold a trial, or not `parallel` of them.
    """

    def __init__(
        self,
        job: Job,
        resources: Resources,
        parallel: int | Literal["auto"],
        *,
        gpus: float,
        is_measuring: bool,
        nodes: Callable[[Collection[str]], Sequence[Mapping[str, float]]],
    ) -> None:
        self._job = job
        self._resources = resources
        self._parallel = parallel
        self._nodes = nodes
        self._made: dict[tuple[float, frozenset[str]], Slot] = {}
        self._avoided: frozenset[str] = frozenset()
        self.resting = RestingNodes()
        self.is_measuring = is_measuring
        self.count = 0
        self._set(gpus)

    @property
    def usual(self) -> Slot:
        """The slot of a new trial."""
        return self.of(self.gpus)

    def of(self, gpus: float) -> Slot:
        """The slot of a trial with this many GPUs per worker."""
        key = (gpus, self._avoided)
        if key not in self._made:
            worker = {"CPU": self._resources.cpu} | ({"GPU": gpus} if gpus else {})
            workers = self._resources.workers
            # A trial with several workers has one more process, which only waits.
            bundles = [{}, *[worker] * workers] if workers > 1 else [worker]
            actor_class = make_actor_class(replace(self._job, gpus=gpus), variables_to_pass_on())
            kept_away = {"bundle_label_selector": [avoiding(self._avoided)] * workers} if self._avoided else {}
            self._made[key] = Slot(PlacementGroupFactory(bundles, **kept_away), actor_class)
        return self._made[key]

    def can_hold(self, gpus: float, nodes: Sequence[Mapping[str, float]] | None = None) -> bool:
        """Whether an otherwise idle cluster can hold a trial with this many GPUs per worker.

        Args:
            nodes: the available resources of each node; all of this cluster by default.
        """
        return num_fits(replace(self._resources, gpu=gpus), self._nodes(()) if nodes is None else nodes) > 0

    def rest(self, node: str, nodes: Mapping[str, Mapping[str, float]]) -> bool:
        """Start no new trials on a node for a while; return False if none of the other `nodes` could run one.

        Also returns False if this version of Ray can't avoid a node.
        """
        if not can_avoid_nodes():
            return False
        worker = replace(self._resources, workers=1, gpu=self.gpus)
        if not self.resting.rest(node, [one for one, resources in nodes.items() if num_fits(worker, [resources])]):
            return False
        self.update()
        return True

    def share(self, gpus: float) -> None:
        """Give new trials the measured share, and recompute how many run at a time."""
        self.is_measuring = False
        self._set(gpus)

    def update(self) -> bool:
        """Recompute the slots with the present nodes that do not rest; return whether the number changed.

        Nothing changes if a trial no longer fits: other nodes may join.
        """
        before = self.count
        self._avoided = self.resting.ids
        with contextlib.suppress(ResourceError):
            self._set(self.gpus)
        return self.count != before

    def _set(self, gpus: float) -> None:
        self.gpus = gpus
        if self._resources.gpu != "auto":
            self.count = plan_slots(self._resources, self._nodes(self._avoided), self._parallel)
            return
        resources = self._resources if self.is_measuring else replace(self._resources, gpu=gpus)
        fits = plan_slots(resources, self._nodes(self._avoided), "auto")
        most = 1 if self.is_measuring else self._parallel
        self.count = fits if most == "auto" else min(fits, most)
