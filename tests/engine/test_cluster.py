"""A cluster that grows by itself: a real head with Ray's autoscaler, whose machines are processes on this one."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._private.services import get_node_ip_address

from tuner.engine.cluster import _workers
from tuner.results import Results

TOKEN = Path.home() / ".ray" / "auth_token"
SWEEP = """
name: grows
trainable: tests.loops:descent
method: random
metric: {name: loss}
parameters:
  lr: {min: 0.01, max: 0.6, distribution: log_uniform_values}
  epochs: {value: 6}
  step_s: {value: 0.3}
run_cap: 6
seed: 3
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError as error:
        # It asks for a token: it is there.
        return isinstance(error, urllib.error.HTTPError)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A head without CPUs that may start two workers of one; its address and its dashboard's."""
    folder = tmp_path_factory.mktemp("head")
    port, dashboard = free_port(), free_port()
    # Not 127.0.0.1: a driver that is given that takes the machine's own address in its place.
    address = f"{get_node_ip_address()}:{port}"
    config: dict[str, Any] = {
        "cluster_name": "test",
        "max_workers": 2,
        "upscaling_speed": 20.0,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        **{
            f"{name}_commands": []
            for name in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        },
    }
    (folder / "cluster.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
    options = {
        "port": port,
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "autoscaling-config": folder / "cluster.json",
    }
    # Jobs run the `python` that is found first, as in an environment that is activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    with (folder / "ray.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while not answers(f"http://127.0.0.1:{dashboard}/api/version"):
        assert time.monotonic() < deadline, (folder / "ray.log").read_text()
        time.sleep(0.5)
    yield address, f"http://127.0.0.1:{dashboard}"
    # `ray start --block` takes 20 s to end where it is asked to.
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@pytest.mark.slow
def test_a_sweep_makes_the_cluster_grow_to_what_it_may_be(head: tuple[str, str], tmp_path: Path) -> None:
    address, _ = head
    (tmp_path / "grows.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "tuner", "run", str(tmp_path / "grows.yaml"), "--address", address]
    done = subprocess.run(
        [*command, "--output", str(tmp_path), "--id", "it"],
        capture_output=True,
        text=True,
        timeout=240,
        # A head that is started where there is a token asks for it.
        env={**os.environ, "RAY_AUTH_MODE": "token" if TOKEN.exists() else "disabled"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results(tmp_path / "it")
    assert results.counts() == {"completed": 6}
    assert results.summary["slots"] == 2
    # Two workers were started: two trials at a time.
    assert len({results.curve(number)[0].metrics["pid"] for number in range(6)}) == 2


def test_the_largest_size_of_a_cluster_is_what_its_file_allows() -> None:
    kinds = {
        "head": {"resources": {"CPU": 0}},
        "spot": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 3},
        "large": {"resources": {"CPU": 48, "GPU": 4}, "max_workers": 1},
        "cpu": {"resources": {"CPU": 96}},
    }
    config = {"max_workers": 5, "head_node_type": "head", "available_node_types": kinds}
    large, spot, cpu = ({"CPU": 48, "GPU": 4}, {"CPU": 4, "GPU": 1}, {"CPU": 96})
    assert _workers(config) == [large, spot, spot, spot, cpu]
    assert _workers({**config, "max_workers": 2}) == [large, spot]
