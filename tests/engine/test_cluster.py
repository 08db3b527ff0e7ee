"""A cluster that grows by itself: a real head with Ray's autoscaler, whose machines are processes on this one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.clusters import Head, address_of, asks_for_token, free_port, running_head
from tuner.engine.cluster import _workers, connected
from tuner.results.results import Results

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


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head without CPUs that may start two workers of one."""
    folder, port = tmp_path_factory.mktemp("head"), free_port()
    config: dict[str, Any] = {
        "cluster_name": "test",
        "max_workers": 2,
        "upscaling_speed": 20.0,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address_of(port),
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
    env = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    with running_head(folder, 0, port, env=env, autoscaling_config=folder / "cluster.json") as head:
        yield head


@pytest.mark.slow
def test_a_sweep_makes_the_cluster_grow_to_what_it_may_be(head: Head, tmp_path: Path) -> None:
    (tmp_path / "grows.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "tuner", "run", str(tmp_path / "grows.yaml"), "--address", head.address]
    done = subprocess.run(
        [*command, "--output", str(tmp_path), "--id", "it"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "RAY_AUTH_MODE": "token" if asks_for_token(head) else "disabled"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results(tmp_path / "it")
    assert results.counts() == {"completed": 6}
    assert results.summary["slots"] == 2
    # Two workers were started: two trials at a time.
    assert len({results.curve(number)[0].metrics["pid"] for number in range(6)}) == 2


@pytest.mark.slow
def test_a_cluster_without_tokens_is_used_after_one_of_our_own(
    cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    for address in (None, cluster_address):
        with connected(address, verbose=False):
            # Ray ends the actors of a driver that asks the cluster for a token which it does not know.
            counter = ray.remote(num_cpus=0)(Counter).remote()
            assert ray.get(counter.count.remote(), timeout=60) == 1
        assert "RAY_AUTH_MODE" not in os.environ


class Counter:
    """An actor."""

    def count(self) -> int:
        return 1


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
