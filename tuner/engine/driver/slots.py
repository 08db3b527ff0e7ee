"""The slots of a sweep: how many trials run at a time, and what of the cluster a trial is given."""

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
    """Room for a trial: what it asks Ray for, and the class of actors that is made for just that."""

    request: PlacementGroupFactory
    actor_class: Any


class Slots:
    """What each trial is given; with gpu `auto` a whole GPU and one at a time, until the first has been measured.

    Args:
        gpus: of each worker, given as a number or chosen by an earlier run.
        is_measuring: whether that is still to be chosen.
        nodes: tells the resources of each node but for those, by their ids, that are given.

    Attributes:
        gpus: of each worker of a new trial.
        resting: the nodes that new trials are kept away from.
        count: trials that run at a time. `parallel` bounds it where the share is chosen here.

    Raises `ResourceError` where the cluster can't hold a trial, or not `parallel` of them.
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
        """What a new trial is given."""
        return self.of(self.gpus)

    def of(self, gpus: float) -> Slot:
        """The slot of a trial with so many GPUs a worker."""
        key = (gpus, self._avoided)
        if key not in self._made:
            worker = {"CPU": self._resources.cpu} | ({"GPU": gpus} if gpus else {})
            workers = self._resources.workers
            # A trial of several workers has a process beside theirs, which only waits.
            bundles = [{}, *[worker] * workers] if workers > 1 else [worker]
            actor_class = make_actor_class(replace(self._job, gpus=gpus), variables_to_pass_on())
            kept_away = {"bundle_label_selector": [avoiding(self._avoided)] * workers} if self._avoided else {}
            self._made[key] = Slot(PlacementGroupFactory(bundles, **kept_away), actor_class)
        return self._made[key]

    def can_hold(self, gpus: float, nodes: Sequence[Mapping[str, float]] | None = None) -> bool:
        """Whether a cluster can hold a trial with so many GPUs a worker, once it runs nothing else.

        Args:
            nodes: what is to be had of each node; all of this cluster if left out.
        """
        return num_fits(replace(self._resources, gpu=gpus), self._nodes(()) if nodes is None else nodes) > 0

    def rest(self, node: str, nodes: Mapping[str, Mapping[str, float]]) -> bool:
        """Keep new trials away from a node for a while; False where no other of the `nodes` could run one.

        False as well with a Ray that can't avoid a node.
        """
        if not can_avoid_nodes():
            return False
        worker = replace(self._resources, workers=1, gpu=self.gpus)
        if not self.resting.rest(node, [one for one, resources in nodes.items() if num_fits(worker, [resources])]):
            return False
        self.update()
        return True

    def share(self, gpus: float) -> None:
        """Give new trials the share that was measured, and plan anew how many run at a time."""
        self.is_measuring = False
        self._set(gpus)

    def update(self) -> bool:
        """Plan anew with the nodes that there are now and do not rest; whether more trials, or fewer, run at a time.

        Nothing changes where a trial fits no longer: other nodes may come.
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
