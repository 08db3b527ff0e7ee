"""Ray Train's `TorchTrainer` on resources that are reserved already.

By itself each trainer reserves a placement group of its own, beside the slot's: slots that hold what the workers of
others wait for would stand still for ever, and a trainer that is killed would leave its reservation behind. Here the
workers are placed in the group that Ray Tune has reserved with the slot, which ends with the slot, whatever ends it.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

from ray.train.torch import TorchConfig
from ray.train.v2._internal.constants import V2_ENABLED_ENV_VAR, is_v2_enabled
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer
from ray.util.placement_group import PlacementGroup

# Of a collective: a worker that waits longer for the others gives up, where nothing else has ended the trial.
COLLECTIVE_TIMEOUT_S = 1800
# Callbacks that start a process each: to watch over reservations that outlive their trainer, which ours can't; to hand
# out Ray's data sets, of which there are none. Not every Ray has each of them.
_LEFT_OUT = ("PlacementGroupCleanerCallback", "DatasetsCallback", "DatasetsSetupCallback")
# Ray 2.57 and newer ask a process of its own, beside each group, whether the node is about to go.
_ENABLE_PREEMPTION_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"


class _FixedSize(FixedScalingPolicy):  # type: ignore[misc]  # Ray's classes are untyped
    """Asks no autoscaler for what is reserved already, by way of an actor that every cluster would start for it."""

    def after_controller_start(self, train_run_context: Any) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...


class SlotTrainer(TorchTrainer):  # type: ignore[misc]
    """Runs `loop(config)` in `num_workers` workers inside of a placement group.

    Args:
        placement_group: with one bundle for each worker.
        storage: a folder for what Ray Train writes of its own; holds nothing of ours.
    """

    def __init__(
        self,
        loop: Callable[[dict[str, Any]], None],
        config: Mapping[str, Any],
        *,
        placement_group: PlacementGroup,
        num_workers: int,
        cpus: float,
        gpus: float,
        storage: str,
    ) -> None:
        self._placement_group = placement_group
        bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
        # NCCL refuses two workers on one GPU, which a share of it allows.
        backend = "nccl" if gpus >= 1 else "gloo"
        super().__init__(
            loop,
            train_loop_config=dict(config),
            torch_config=TorchConfig(backend=backend, timeout_s=COLLECTIVE_TIMEOUT_S),
            scaling_config=ScalingConfig(
                num_workers=num_workers, use_gpu=bool(gpus), resources_per_worker=bundle, placement_strategy="PACK"
            ),
            run_config=RunConfig(name="workers", storage_path=storage, failure_config=FailureConfig(max_failures=0)),
        )

    def fit(self) -> Any:
        os.environ[_ENABLE_PREEMPTION_WATCHER] = "0"  # we hear of it when it goes
        if not is_v2_enabled():  # which it is by itself since Ray 2.51
            os.environ[V2_ENABLED_ENV_VAR] = "1"
        return super().fit()

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in _LEFT_OUT]

    def _initialize_and_run_controller(self, **kwargs: Any) -> Any:
        class SlotController(TrainController):  # type: ignore[misc]
            worker_group_cls = _group_in(self._placement_group)

        # In this process, which has nothing else to do: one of its own would take seconds to start.
        controller = SlotController(**{**kwargs, "scaling_policy": _FixedSize(self.scaling_config)})
        asyncio.run(controller.run())
        return controller.get_result()


def _group_in(reserved: PlacementGroup) -> type[Any]:
    """A worker group that is placed in what is reserved already, and leaves it as it is at its end."""
    if not hasattr(WorkerGroup, "_create_placement_group"):
        # Before Ray 2.54 its group calls these two where it needs them; this process starts no other.
        worker_group.placement_group = lambda **_: reserved
        state.remove_placement_group = lambda _: None
        return cast(type[Any], WorkerGroup)
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle

    class Reserved(DefaultPlacementGroupHandle):  # type: ignore[misc]  # Ray's classes are untyped
        def shutdown(self) -> None: ...

    class SlotGroup(WorkerGroup):  # type: ignore[misc]
        def _create_placement_group(self, *_: Any) -> Reserved:
            return Reserved(reserved)

    return SlotGroup
