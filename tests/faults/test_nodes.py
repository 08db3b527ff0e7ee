"""Whole nodes that die, or join late; each a real `ray start`ed node of its own on this machine."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.clusters import start_cluster
from tests.commands import Command, tuner
from tests.faults import loops
from tests.faults.scenes import (
    Node,
    alive_nodes,
    check,
    meanwhile,
    num_reports,
    pid_of,
    wait_for,
    wait_for_reports,
    write_walk,
)
from tests.sweeps import Told, sweep
from tuner import Results

pytestmark = pytest.mark.slow

X = {"min": 0.0, "max": 1.0}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that runs no trials."""
    cluster = start_cluster(0)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def pids(marks: Path) -> set[int]:
    """Of the processes that run the trials, or ran them last, by the marks of `loops.walk`."""
    return {int(text) for mark in marks.glob("[0-9]*-[0-9]*") if (text := mark.read_text())}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_that_is_lost_is_done_without_and_one_that_joins_is_used(
    tmp_path: Path, cluster: Cluster, workers: int
) -> None:
    nodes = [Node(cluster.address, 1) for _ in range(1 + workers)]
    told = Told()

    def act() -> None:
        wait_for_reports(tmp_path, 4)
        # The node of the last worker of the first trial.
        pid = pid_of(tmp_path / f"0000-{workers - 1}")
        lost = next(node for node in nodes if pid in node.pids())
        lost.kill()
        nodes.remove(lost)
        if workers == 1:
            nodes.append(Node(cluster.address, 1))
            wait_for(lambda: bool(pids(tmp_path) & {*nodes[-1].pids()}), "a trial on the new node")

    try:
        with meanwhile(act):
            results = sweep(
                loops.walk,
                tmp_path,
                told,
                parameters={"epochs": 8, "step_s": 0.3, "marks": str(tmp_path), "x": X},
                run_cap=16 if workers == 1 else 4,
                resources={"workers": workers, "cpu": 1},
            )
    finally:
        for node in nodes:
            node.stop()
        wait_for(lambda: len(alive_nodes()) == 1, "the nodes to leave")
    assert results.summary["slots"] == (2 if workers == 1 else 1)
    # A node that is lost is no failure of a configuration: no retries were asked for.
    check(results, tmp_path, told.events)
    assert any("is tried again" in event for event in told.events)
    if workers == 1:
        assert any(event.endswith(": its node was lost") for event in told.events), told.events


def test_a_head_that_dies_ends_the_driver_and_the_sweep_goes_on_on_another(tmp_path: Path) -> None:
    spec = write_walk(tmp_path, epochs=8, step_s=0.2, run_cap=8)
    output = tmp_path / "runs"
    first = start_cluster(2)
    try:
        process = Command(
            "run",
            *(str(spec), "--output", str(output), "--address", first.address),
            # How long Ray's own processes wait for a head to come back.
            RAY_gcs_rpc_server_reconnect_timeout_s="5",
        )
        wait_for(lambda: output.exists() and num_reports(output) > 20, "the first reports")
        before = num_reports(output)
        first.remove_node(first.head_node, allow_graceful=False)
        started = time.monotonic()
        code, text = process.finish(60)
        assert code != 0, text
        assert time.monotonic() - started < 60
    finally:
        first.shutdown()
    (folder,) = output.iterdir()
    assert num_reports(output) >= before
    assert not Results(folder).is_running
    second = start_cluster(2)
    try:
        code, text = tuner("resume", str(folder), "--address", second.address)
        assert code == 0, text
    finally:
        second.shutdown()
    check(Results(folder), tmp_path)
