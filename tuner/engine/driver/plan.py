"""Plans how many trials a cluster can hold at once, and refuses impossible requests before anything starts."""

from collections.abc import Mapping, Sequence
from typing import Literal

from tuner.errors import ResourceError
from tuner.spec.sections import Resources


def plan_slots(resources: Resources, nodes: Sequence[Mapping[str, float]], parallel: int | Literal["auto"]) -> int:
    """The number of slots for trials of these resources on these nodes (each a mapping of `CPU` and `GPU`).

    Raises `ResourceError` if not even one trial fits, or fewer than `parallel`.
    """
    fits = num_fits(resources, nodes)
    if fits == 0:
        raise ResourceError(
            f"resources: a trial asks for {_told(resources)}, but {_cluster(nodes)}. "
            "Ask for less under `resources`, or connect to a larger cluster."
        )
    if parallel == "auto":
        return fits
    if parallel > fits:
        raise ResourceError(
            f"parallel: {parallel} trials of {_told(resources)} each were asked for, but {_cluster(nodes)}, "
            f"which holds {fits}. Set parallel to {fits} or auto, or ask for less under `resources`."
        )
    return parallel


def num_fits(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """The number of trials of these resources that the nodes can hold at once."""
    return sum(_fits(resources, node) for node in nodes) // resources.workers


def _fits(resources: Resources, node: Mapping[str, float]) -> int:
    """The number of workers that a node can hold; one trial's workers may be on several nodes."""
    cpus = int((node.get("CPU", 0.0) + 1e-9) / resources.cpu)
    if not resources.gpus:
        return cpus
    # A trial's share of a GPU is on one GPU: 0.4 fits twice on each, not five times on two.
    gpus = int(node.get("GPU", 0.0))
    if resources.gpus < 1:
        return min(cpus, gpus * int((1 + 1e-9) / resources.gpus))
    return min(cpus, int(gpus / resources.gpus))


def _told(resources: Resources) -> str:
    gpu = f" and {resources.gpus:g} GPU" if resources.gpus else ""
    gpu += " (gpu: auto measures the first one on a whole GPU)" if resources.gpu == "auto" else ""
    each = f"{resources.cpu:g} CPU{gpu}"
    return f"{resources.workers} workers of {each}" if resources.workers > 1 else each


def _cluster(nodes: Sequence[Mapping[str, float]]) -> str:
    each = [f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes]
    if len(each) == 1:
        return f"this machine has {each[0]}"
    return f"the cluster's {len(each)} nodes have {', '.join(sorted(set(each)))}"
