"""The workers of a trial without Ray: processes over gloo, each of which runs the same trials."""

import importlib
import json
import multiprocessing
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch.nn.parallel import DistributedDataParallel

from tests.trainables.trials import metrics_of, run_trial
from tuner.metric import Metric

T = TypeVar("T")
TIMEOUT_S = 300.0


class Task(NamedTuple):
    """A trial to be run: the module of its trainable, its parameters, the sweep's metric."""

    trainable: str
    params: dict[str, Any]
    metric: Metric

    def run(self, folder: Path, **more: Any) -> list[dict[str, float]]:
        train = importlib.import_module(self.trainable).train
        return metrics_of(run_trial(train, folder, self.params, metric=self.metric, **more))


class GlooGroup:
    """A `tuner.trial.trial.Group` whose workers have no driver."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    def prepare(self, thing: T) -> T:
        return cast(T, DistributedDataParallel(thing)) if isinstance(thing, torch.nn.Module) else thing

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        summed = torch.tensor(list(values.values()), dtype=torch.float64)
        torch.distributed.all_reduce(summed)
        return dict(zip(values, (summed / self.world_size).tolist(), strict=True))

    def gathered(self, files: Path | None) -> AbstractContextManager[list[Path]]:
        raise NotImplementedError("no task of ours gives files")


def run_with_workers(tasks: Mapping[str, Task], folder: Path, count: int) -> dict[str, list[dict[str, float]]]:
    """What rank 0 reports of each task."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_serve, args=(rank, count, dict(tasks), folder)) for rank in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(TIMEOUT_S)
        worker.kill()  # it waits for one that has failed
    assert [worker.exitcode for worker in workers] == [0] * count
    told: dict[str, list[dict[str, float]]] = json.loads((folder / "told.json").read_text())
    return told


def _serve(rank: int, count: int, tasks: dict[str, Task], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=count)
    group = GlooGroup(rank, count)
    told = {name: task.run(folder / f"{rank}" / name, group=group) for name, task in tasks.items()}
    if rank == 0:
        (folder / "told.json").write_text(json.dumps(told))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
