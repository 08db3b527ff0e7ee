"""What many tests share."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from tuner.metric import Goal, Metric
from tuner.records import Report
from tuner.trial.process_cache import clear_cache

ACCURACY = Metric("accuracy", Goal.MAXIMIZE)
LOSS = Metric("loss", Goal.MINIMIZE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: what is left at the end is quick, and no process waits long for another's."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Each test starts from the same random state, with nothing cached, on one thread."""
    clear_cache()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)


def report(step: int, value: float = 0.5, *, name: str = "accuracy", has_checkpoint: bool = False) -> Report:
    return Report(step, {name: value}, time_s=float(step), timestamp=1e9 + step, has_checkpoint=has_checkpoint)


def with_time(monkeypatch: pytest.MonkeyPatch, module: ModuleType, **changes: object) -> None:
    """Give one module another `time`; the threads of others keep the real one."""
    monkeypatch.setattr(module, "time", SimpleNamespace(**{**vars(time), **changes}))


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def cluster_address() -> Iterator[str]:
    """Of a cluster with two CPUs, for all tests of this process that need none of their own; a start takes 5 s."""
    from tests.clusters import start_cluster  # imports Ray, which most tests do without

    cluster = start_cluster(2)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def two_cpus(cluster_address: str) -> Iterator[None]:
    """This process is connected to that cluster, all of which is free."""
    import ray

    ray.init(cluster_address, log_to_driver=False, logging_level="ERROR")
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.1)
    yield
    ray.shutdown()
