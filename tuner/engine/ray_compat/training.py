"""Ray Train's `TorchTrainer`, in the process that it is called in and on resources that are reserved already.

By itself each trainer reserves a placement group of its own, beside the slot's: slots that hold what the workers of
others wait for would stand still for ever, and a trainer that is killed would leave its reservation behind. Here the
workers are placed in a group that there is, which is somebody else's to end. Nor does it start processes beside them.

Gone: start the workers with `ray.remote` in the group's bundles, and set up torch.distributed in them, as
`ray.train.torch.config` does.
"""

import asyncio
import os
from typing import Any, cast

from ray.train.torch import TorchConfig
from ray.train.v2._internal.constants import V2_ENABLED_ENV_VAR, is_v2_enabled
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer
from ray.util.placement_group import PlacementGroup

__all__ = ["FailureConfig", "ReservedTrainer", "RunConfig", "ScalingConfig", "TorchConfig"]

# Each starts a process: to watch over reservations that outlive their trainer, which ours can't; to hand out Ray's data
# sets, of which there are none. Not every Ray has each of them. Gone: the processes are started.
_CALLBACKS_LEFT_OUT = ("PlacementGroupCleanerCallback", "DatasetsCallback", "DatasetsSetupCallback")
# Ray Train asks a process of its own, beside each group, whether the node is about to go; we hear of it when it goes.
# Gone: the processes are started.
_PREEMPTION_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"


class _FixedSize(FixedScalingPolicy):  # type: ignore[misc]  # Ray's classes are untyped
    """Asks no autoscaler for what is reserved already, by way of an actor that every cluster would start for it."""

    def after_controller_start(self, train_run_context: Any) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...


class ReservedTrainer(TorchTrainer):  # type: ignore[misc]
    """Runs its loop in a placement group that has one bundle for each worker; `fit` blocks, and starts no controller.

    Args:
        placement_group: ends when its owner ends it.
        arguments: of `TorchTrainer`.
    """

    def __init__(self, placement_group: PlacementGroup, **arguments: Any) -> None:
        self.placement_group = placement_group
        super().__init__(**arguments)

    def fit(self) -> Any:
        os.environ[_PREEMPTION_WATCHER] = "0"
        if not is_v2_enabled():  # which it is by itself since Ray 2.51
            os.environ[V2_ENABLED_ENV_VAR] = "1"
        return super().fit()

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if type(callback).__name__ not in _CALLBACKS_LEFT_OUT]

    def _initialize_and_run_controller(self, **kwargs: Any) -> Any:
        class SlotController(TrainController):  # type: ignore[misc]
            worker_group_cls = _group_class(self.placement_group)

        # In this process, which has nothing else to do: one of its own would take seconds to start.
        controller = SlotController(**{**kwargs, "scaling_policy": _FixedSize(self.scaling_config)})
        asyncio.run(controller.run())
        return controller.get_result()


def _group_class(reserved: PlacementGroup) -> type[Any]:
    """Worker groups in a placement group that is not theirs to end."""
    if not hasattr(WorkerGroup, "_create_placement_group"):
        # Before Ray 2.54 its group calls these two where it needs them; this process starts no other.
        worker_group.placement_group = lambda **_: reserved
        state.remove_placement_group = lambda _: None
        return cast(type[Any], WorkerGroup)
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle

    class Reserved(DefaultPlacementGroupHandle):  # type: ignore[misc]
        def shutdown(self) -> None:
            """The slot frees what the slot has reserved."""

    class SlotGroup(WorkerGroup):  # type: ignore[misc]
        def _create_placement_group(self, *_: Any) -> Reserved:
            return Reserved(reserved)

    return SlotGroup
