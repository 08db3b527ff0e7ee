"""Clusters for tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from ray._private.services import get_node_ip_address
from ray.cluster_utils import Cluster


def start_cluster(num_cpus: int) -> Cluster:
    """The head of a cluster on this machine, without what no test looks at: a dashboard, a reader of logs."""
    node = {"num_cpus": num_cpus, "include_dashboard": False, "include_log_monitor": False}
    return Cluster(initialize_head=True, head_node_args=node)


class Head(NamedTuple):
    """Of a cluster with a dashboard: its address, and the dashboard's."""

    address: str
    dashboard: str


@contextlib.contextmanager
def running_head(
    folder: Path, num_cpus: int, port: int, *, env: dict[str, str] | None = None, **options: Any
) -> Iterator[Head]:
    """A head as `ray start` starts it, with all that belongs to it.

    Args:
        folder: for its log.
        options: of `ray start`, with underscores.
    """
    dashboard = free_port()
    head = Head(address_of(port), f"http://127.0.0.1:{dashboard}")
    # The driver of a job connects to the cluster that was started last in Ray's temporary folder: this has its own, of
    # a short name, since sockets lie in it.
    temporary = tempfile.mkdtemp(prefix="ray-")
    options |= {
        "port": port,
        "temp_dir": temporary,
        "dashboard_port": dashboard,
        "dashboard_agent_listen_port": free_port(),
        "ray_client_server_port": free_port(),
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--num-cpus={num_cpus}"]
    with (folder / "ray.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())],
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{head.dashboard}/api/version"):
            assert time.monotonic() < deadline, (folder / "ray.log").read_text()
            time.sleep(0.5)
        yield head
    finally:
        # `ray start --block` takes 20 s to end where it is asked to.
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def address_of(port: int) -> str:
    """Of a head on this machine. Not 127.0.0.1: a driver that is given that takes the machine's own in its place."""
    return f"{get_node_ip_address()}:{port}"


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def asks_for_token(head: Head) -> bool:
    """Whether it wants to be shown one: of the newer versions of Ray, where there was a token when it was started."""
    try:
        urllib.request.urlopen(f"{head.dashboard}/api/version", timeout=10).close()
    except urllib.error.HTTPError:
        return True
    return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError as error:
        # It asks for a token: it is there.
        return isinstance(error, urllib.error.HTTPError)
