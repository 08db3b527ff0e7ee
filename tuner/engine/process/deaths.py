"""Reads the last words of processes on the node where they died."""

from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.engine.process.last_words import Death, LastWords, forget, read_death, tell_exits
from tuner.engine.ray_compat.runtime import session_dir

# How long another node may take to read them: it may have to start a process.
READ_TIMEOUT_S = 60.0


def leave_words() -> LastWords:
    """The last words of this process, an actor's."""
    tell_exits()
    return LastWords(_folder(), ray.get_runtime_context().get_actor_id() or "")


def death_of(actor_id: str | None, node_id: str) -> Death:
    """How an actor's process died; empty if its node can't say. Blocks for a look on that node."""
    if not actor_id or not node_id:
        return Death()
    if node_id == ray.get_runtime_context().get_node_id():
        return _read(actor_id)
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(_read).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(actor_id)
    try:
        death: Death = ray.get(task, timeout=READ_TIMEOUT_S)
    except RayError:
        return Death()
    return death


def _read(actor_id: str) -> Death:
    death = read_death(_folder(), actor_id)
    forget(_folder(), actor_id)
    return death


def _folder() -> Path:
    return session_dir() / "tuner"
