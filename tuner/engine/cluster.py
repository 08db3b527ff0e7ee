"""The Ray cluster of a sweep: started for it on this machine, or an existing one."""

import atexit
import logging
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.client import ray as ray_client
from ruamel.yaml import YAML

from tuner.engine.ray_compat import runtime, sentences
from tuner.engine.surroundings import check_loopback, ensure_token, temp_dir
from tuner.errors import ClusterError
from tuner.texts import one_line

CONNECT_TIMEOUT_S = 10.0
NODE_TIMEOUT_S = 5.0
SETTLE_S = 0.4
LEAVE_S = 5.0
_UNSET = "; without RAY_ADDRESS a cluster is started on this machine"


@contextmanager
def connected(address: str | None, *, verbose: bool) -> Iterator[None]:
    """Connect to the cluster at `address` (`auto`: the one on this machine), or start one for this process.

    An existing connection is used and left open. Ray's own messages are shown if `verbose`. Raises `ClusterError` if
    there is no such cluster, or if it has other versions.
    """
    if ray.is_initialized():
        yield
        return
    given = address or os.environ.get("RAY_ADDRESS")
    source = f"--address {given}" if address else f"RAY_ADDRESS={given}"
    with runtime.keeping_auth_mode():
        options: dict[str, Any] = {"include_dashboard": False}
        if not given:
            check_loopback()
            ensure_token()
            options |= runtime.folder_option(folder) if (folder := temp_dir()) else {}
        try:
            _knock(given or "", source)
            runtime.name_driver(one_line)
            with warnings.catch_warnings():
                if not verbose:
                    # Ray 2.50 to 2.55 tells at each start what its later versions will do with GPUs.
                    warnings.simplefilter("ignore", FutureWarning)
                ray.init(
                    address=given or "local",
                    log_to_driver=verbose,
                    logging_level=logging.INFO if verbose else logging.ERROR,
                    **({} if given else options),
                )
        except (OSError, RuntimeError, ValueError) as error:
            if given is None or isinstance(error, ClusterError):
                raise
            raise ClusterError(_why_not(source, error)) from error
        if not verbose:
            runtime.hide_dead_workers()  # the sweep reports them itself
            for name in ("ray.tune", "ray.train", "ray.data"):
                logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            _leave()


def _leave() -> None:
    """Disconnect. Once its cluster has ended, Ray may wait for it, and ends this process after a minute."""
    if not ray.is_initialized() or ray_client.is_connected() or not has_ended(0.0):
        ray.shutdown()
        return
    leaving = threading.Thread(target=ray.shutdown, name="leave", daemon=True)
    leaving.start()
    leaving.join(LEAVE_S)
    if leaving.is_alive():
        atexit.register(_exit_at_once)


def _exit_at_once() -> None:
    """End as interrupted, without the rest of what Ray does at exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)


def use_token() -> bool:
    """Present this user's token to clusters from here on, if there is one and RAY_AUTH_MODE does not say otherwise.

    Only if a cluster asks for one: a cluster without tokens can't work with processes that present one.
    """
    if runtime.AUTH_MODE in os.environ:
        return os.environ[runtime.AUTH_MODE].lower() == "token"
    if not runtime.has_token():
        return False
    runtime.show_token()
    return True


def _knock(address: str, source: str) -> None:
    """Refuse an address on which nothing listens; Ray would retry it for minutes."""
    if address.startswith(("http://", "https://")):
        raise ClusterError(
            f"{source}: that is a dashboard's address. `tuner submit` submits a sweep there; to run the "
            "driver here, on a node of the cluster, give `auto` or HEAD:6379."
        )
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _why_not(source: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if sentences.OTHER_VERSIONS in text:
        return f"{source}: {text} Use the same versions of Ray and Python here and on the cluster."
    return (
        f"{source}: no Ray cluster could be reached there ({text[:200]}). `ray start --head` starts one; `auto` is for "
        f"a machine that belongs to it{_UNSET * source.startswith('RAY_')}. RAY_AUTH_MODE=token shows this user's "
        "token."
    )


def is_alive(node_id: str) -> bool:
    """Whether a node answers, or has no known id; blocks for `SETTLE_S` if it answers.

    Ray itself notices a dead node only after some ten seconds. The processes of a machine that goes down end one after
    another: Ray's own may still answer when the first of a trial's has ended.
    """
    deadline = time.monotonic() + SETTLE_S
    while _answers(node_id):
        if time.monotonic() > deadline:
            return True
        time.sleep(SETTLE_S / 4)
    return False


def _answers(node_id: str) -> bool:
    node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)
    if node is None:
        return True
    if not node["Alive"]:
        return False
    try:
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(address, timeout=NODE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def has_ended(within_s: float) -> bool:
    """Whether the cluster has ended or ends within some time; blocks for that time if it does not."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    deadline = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=NODE_TIMEOUT_S).close()
        except OSError:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(SETTLE_S / 4)


def alive_nodes() -> Mapping[str, Mapping[str, float]]:
    """The resources of each live node, by its id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def is_own_node(node_id: str) -> bool:
    return bool(node_id == ray.get_runtime_context().get_node_id())


def name_of(node_id: str) -> str:
    """A node's name for people."""
    return next((f"{node['NodeManagerHostname']}" for node in ray.nodes() if node["NodeID"] == node_id), node_id)


def node_resources(without: Collection[str] = ()) -> Sequence[Mapping[str, float]]:
    """The resources of each live node; for an autoscaling cluster, those of its largest size.

    The largest size is known only on the head, where the autoscaler runs.

    Args:
        without: ids of nodes to leave out.
    """
    alive = [resources for node, resources in alive_nodes().items() if node not in without]
    path = _autoscaler_config(ray.get_runtime_context().gcs_address)
    if path is None:
        return alive
    return [
        *(resources for resources in alive if runtime.HEAD_RESOURCE in resources),
        *_workers(YAML(typ="safe").load(path)),
    ]


def can_grow() -> bool:
    """Whether the cluster adds nodes by itself; known only on its head."""
    return _autoscaler_config(ray.get_runtime_context().gcs_address) is not None


def _autoscaler_config(gcs_address: str) -> Path | None:
    """The configuration of this cluster's autoscaler, if it runs on this machine and was given one."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if sentences.GCS_ADDRESS + gcs_address in command:
            given = [text.partition("=")[2] for text in command if text.startswith(sentences.AUTOSCALER_CONFIG)]
            if given and Path(given[0]).expanduser().is_file():
                return Path(given[0]).expanduser()
    return None


def _workers(config: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:
    """The nodes that a cluster launcher's configuration allows beside the head; the largest ones, if not all fit."""
    most = int(config["max_workers"])
    nodes = [
        kind["resources"]
        for name, kind in config["available_node_types"].items()
        if name != config["head_node_type"]
        for _ in range(min(most, int(kind.get("max_workers", most))))
    ]
    return sorted(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), reverse=True)[:most]
