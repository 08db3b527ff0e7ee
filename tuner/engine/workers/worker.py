"""One worker of a slot: a process of a Ray Train worker group that trains its part of one trial after another."""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any, TypeVar, cast

import ray
import ray.train
import ray.train.torch
import torch
from torch.nn.parallel import DistributedDataParallel

from tuner.engine.files.driver_node import open_folder
from tuner.engine.files.transfer import list_files
from tuner.engine.files.trial_folder import RunFolder
from tuner.engine.process.deaths import leave_words
from tuner.engine.process.report_queue import Ending, Stopped
from tuner.engine.process.session import run_in_thread
from tuner.engine.process.trial_process import Task, TrialProcess
from tuner.engine.workers.messages import Ended, Hello, Mean, Ready, Reply, Reported
from tuner.errors import StopTrial
from tuner.records import Report
from tuner.trial.trial import Trial

T = TypeVar("T")

_PREFIX = "module."
# The place where workers gather files, as messages about workers out of step name it.
_GATHERING = "trial.gathered, or at ray.train.report"


def serve(config: Mapping[str, Any]) -> None:
    """Take trials from the slot's process until it closes the connection; blocks. Ray Train runs it in each worker.

    Args:
        config: `address` and `token` of the slot's process, and the `job`.
    """
    job = config["job"]
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    # Ray Train shows each worker the GPUs of all workers on its node.
    gpu_index = (ray.train.torch.get_device().index or 0) if job.gpus else 0
    words = leave_words()  # before anything that may end this process
    folder = open_folder(Path(job.folder), job.token)
    process = TrialProcess(job, folder, gpu_index)
    with Client(config["address"], authkey=config["token"]) as link:
        context = ray.get_runtime_context()
        place = f"process {os.getpid()} on {socket.gethostname()}"
        link.send(Hello(rank, place, context.get_node_id(), context.get_actor_id() or ""))
        try:
            while (task := link.recv()) is not None:
                words.begin()
                _train(process, task, Worker(link, rank, world_size, folder, task.number))
                unfit = process.after_trial()
                is_alone = not torch.distributed.is_initialized()
                link.send(Ready("its trial has ended the process group" if is_alone else unfit))
        except (EOFError, ConnectionError):
            pass  # the slot has ended, and this worker with it
        finally:
            process.close()
            words.close()


def _train(process: TrialProcess, task: Task, worker: "Worker") -> None:
    endings: list[Ending] = []

    def make_trial() -> Trial:
        return process.make_trial(task, worker.deliver, worker)

    process.before_trial()
    run_in_thread(process.train, make_trial, endings.append).join()
    worker.link.send(Ended(replace(endings[0], node_id=ray.get_runtime_context().get_node_id())))


class Worker:
    """This worker of its trial, kept in step with the others by the slot's process."""

    def __init__(self, link: Connection, rank: int, world_size: int, folder: RunFolder, number: int) -> None:
        self.link = link
        self.rank = rank
        self.world_size = world_size
        self._folder = folder
        self._number = number
        self._gathered = 0
        self._attempt = ""

    def deliver(self, report: Report, stop: StopTrial | None) -> None:
        """Deliver a report and wait until all workers have reached it; raises `Stopped` in all of them at once."""
        reply = self._call(Reported(report, str(stop) if stop else ""))
        # Rank 0 has ended the trial itself.
        if reply.stop and stop is None:
            raise Stopped(reply.stop)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(self._call(Mean(dict(values))).values or {})

    @contextmanager
    def gathered(self, files: Path | None) -> Iterator[list[Path]]:
        self._gathered += 1
        if not self._attempt:
            # A process of an earlier attempt, given up with its node, may still write its own.
            told = self._call(Mean({"attempt": float(secrets.randbelow(2**40))}, _GATHERING)).values or {}
            self._attempt = f"{told['attempt']:.0f}"
        # Names that `TrialFiles.tidy` removes. Not used twice: the next is written while this one is removed.
        names = [f".shard-{self._attempt}-{self._gathered}-{rank}.tmp" for rank in range(self.world_size)]
        is_sent = bool(self.rank and files and list_files(files, with_links=True))
        if is_sent and files:
            self._folder.put_shard(self._number, names[self.rank], files)
        mine = {name: float(is_sent and rank == self.rank) for rank, name in enumerate(names)}
        sent = self._call(Mean(mine, _GATHERING)).values or {}
        if self.rank:
            yield []
            return
        with self._folder.shards(self._number, [name for name in reversed(names) if sent[name]]) as shards:
            yield [*shards, *([files] if files else [])]

    def prepare(self, thing: T) -> T:
        if not isinstance(thing, torch.nn.Module):
            return cast(T, ray.train.torch.prepare_data_loader(thing))
        if not any(parameter.requires_grad for parameter in thing.parameters()):
            return cast(T, ray.train.torch.prepare_model(thing, parallel_strategy=None))
        model = ray.train.torch.prepare_model(thing)
        if isinstance(model, DistributedDataParallel):
            # A checkpoint must fit the bare network, whatever the number of workers that trained it.
            model.register_state_dict_post_hook(_unwrap)
            model.register_load_state_dict_pre_hook(_wrap)
        return cast(T, model)

    def _call(self, message: Reported | Mean) -> Reply:
        self.link.send(message)
        reply = self.link.recv()
        if reply is None:
            raise Stopped("the slot has ended")
        if isinstance(message, Mean) and reply.stop:
            raise Stopped(reply.stop)
        return cast(Reply, reply)


def _unwrap(module: torch.nn.Module, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any]) -> None:
    for name in [name for name in state if name.startswith(prefix + _PREFIX)]:
        state[prefix + name[len(prefix + _PREFIX) :]] = state.pop(name)


def _wrap(module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + _PREFIX + name[len(prefix) :]] = state.pop(name)
