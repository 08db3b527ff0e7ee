"""Ray Train's workers of a slot, in the placement group that Ray Tune has reserved with the slot.

It ends with the slot, whatever ends it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray.util.placement_group import PlacementGroup

from tuner.engine.ray_compat.training import FailureConfig, ReservedTrainer, RunConfig, ScalingConfig, TorchConfig

# The timeout of a collective: a worker that waits longer for the others gives up, unless the trial has ended.
COLLECTIVE_TIMEOUT_S = 1800


def slot_trainer(
    loop: Callable[[dict[str, Any]], None],
    config: Mapping[str, Any],
    *,
    placement_group: PlacementGroup,
    num_workers: int,
    cpus: float,
    gpus: float,
    storage: str,
) -> ReservedTrainer:
    """A trainer that runs `loop(config)` in `num_workers` workers inside of a placement group.

    Args:
        placement_group: with one bundle for each worker.
        storage: a folder for Ray Train's own files.
    """
    bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    # NCCL refuses two workers on one GPU, which shares of a GPU allow.
    backend = "nccl" if gpus >= 1 else "gloo"
    return ReservedTrainer(
        placement_group,
        train_loop_per_worker=loop,
        train_loop_config=dict(config),
        torch_config=TorchConfig(backend=backend, timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=bool(gpus), resources_per_worker=bundle, placement_strategy="PACK"
        ),
        run_config=RunConfig(name="workers", storage_path=storage, failure_config=FailureConfig(max_failures=0)),
    )
