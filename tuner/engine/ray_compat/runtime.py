"""Of Ray itself, for any process: imports nothing that `import ray` has not imported already."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray._private.ray_logging as ray_logging
import ray._private.state as ray_state
import ray._private.utils as ray_utils
from ray._raylet import Config  # type: ignore[attr-defined]  # its stub leaves it out
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_exists, _internal_kv_put

from tuner.engine.ray_compat import sentences
from tuner.errors import ClusterError

# A resource that the head alone has. Gone: the node that holds the address of `ray.nodes()`'s cluster.
HEAD_RESOURCE = "node:__internal_head__"
# How Ray's processes show a token to clusters. Documented; Ray's own constant is in `ray._private`.
AUTH_MODE = "RAY_AUTH_MODE"


def require(version: str, what: str) -> None:
    """Raises `ClusterError` where this Ray is older than a version, which `what` needs."""
    if _numbers(ray.__version__) < _numbers(version):
        raise ClusterError(f"{what} takes Ray {version} or newer, and this is Ray {ray.__version__}.")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2]]


def folder_option(folder: str) -> dict[str, str]:
    """The argument of `ray.init` that puts its sockets and logs into a folder. Gone: set RAY_TMPDIR."""
    return {"_temp_dir": folder}


def can_avoid_nodes() -> bool:
    """Whether this Ray heeds `avoiding`. Ray 2.48 takes it and places there all the same."""
    return _numbers(ray.__version__) >= [2, 54]


def avoiding(node_ids: Iterable[str]) -> dict[str, str]:
    """A selector of labels, for a bundle that is to be on none of these nodes. Gone: they are not avoided."""
    return {sentences.NODE_LABEL: f"!in({','.join(sorted(node_ids))})"}


def session_dir() -> Path:
    """Ray's folder of the running cluster on this machine, which all its processes of a user can write to.

    Gone: `Path(tempfile.gettempdir()) / f"tuner-{ray.get_runtime_context().get_session_name()}"`.
    """
    return Path(ray._private.worker.global_worker.node.get_session_dir_path())


def id_of(actor: Any) -> str:
    """An actor's id, by its handle. Gone: `Actor._ray_actor_id`, or the id that the actor itself tells."""
    return str(actor._actor_id.hex())


def node_of(actor_id: str | None) -> str:
    """The id of the node that an actor is on, or was; empty where it was never started.

    Gone: `ray.util.state.get_actor`, which goes through the dashboard and is slower.
    """
    actor = ray_state.actors(actor_id) if actor_id else None
    node = str(actor["Address"]["NodeID"]) if actor else ""
    return "" if set(node) == {"f"} else node  # all f is no node: it was cancelled before it ran


def free_resources() -> Mapping[str, Mapping[str, float]]:
    """What nobody holds of each node that is alive, by its id.

    Gone: `ray.nodes()`, less what `ray.util.placement_group_table` and `ray.util.state.list_actors` tell is held.
    """
    found: Mapping[str, Mapping[str, float]] = ray_state.available_resources_per_node()
    return found


def name_driver(clean: Callable[[str], str]) -> None:
    """Clean the command line that Ray keeps of this process; to be called before `ray.init`.

    Ray keeps it as UTF-8, which a file name in the command line is not where the locale is another. Gone: nothing, if
    Ray takes any bytes for a command line.
    """
    command = clean(ray_utils.get_entrypoint_name())
    ray_utils.get_entrypoint_name = lambda: command


def hide_dead_workers() -> None:
    """Ray prints what its nodes report of dead workers whatever its log level is: print none of it.

    Gone: `RAY_DEDUP_LOGS_SKIP_REGEX`, which is read when Ray is imported.
    """
    ray_logging.stdout_deduplicator.skip_re = re.compile("")


def put_key(key: bytes) -> None:
    """Set a key in the cluster's store. Gone, as all of these: a detached actor that holds a dictionary."""
    _internal_kv_put(key, b"1")


def has_key(key: bytes) -> bool:
    return bool(_internal_kv_exists(key))


def delete_key(key: bytes) -> None:
    _internal_kv_del(key)


def has_token() -> bool:
    """Whether this user has a token for clusters. Gone: see for RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    Raises `ClusterError` if this Ray is too old to say.
    """
    require("2.53", "The cluster asks for a token, and to show one")
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # its stub leaves it out

    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


@contextmanager
def keeping_auth_mode() -> Iterator[None]:
    """Restore what this process shows to clusters: Ray leaves the token mode of a cluster that it has started.

    A cluster without tokens would end all actors of a driver that asks for one. Gone: nothing, once Ray restores it.
    """
    before = os.environ.get(AUTH_MODE)
    try:
        yield
    finally:
        if os.environ.get(AUTH_MODE) != before:
            os.environ[AUTH_MODE] = before or "disabled"
            Config.initialize("")  # reads the environment again, and keeps what is not in it
            _forget_token()
            if before is None:
                del os.environ[AUTH_MODE]


def _forget_token() -> None:
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # not in Rays without tokens

    AuthenticationTokenLoader.instance().reset_cache()


def show_token() -> None:
    """Show clusters this user's token from here on. Gone: set RAY_AUTH_MODE=token before Ray is imported."""
    os.environ[AUTH_MODE] = "token"
    Config.initialize("")  # reads the environment again
