"""What processes that read the same data cost: each with its own copy of it, and all with one.

    python -m benchmarks.shared_data [--processes 4] [--mb 500]

As many processes as trials that run at a time, each of which gets the data by `load()` (as `trial.cached` does) or from
`SharedData` (as `trial.shared` does) and reads all of them once. The data are a gzipped file's, as images often are,
so that to load them is some work. All processes have finished their imports before the clock starts; memory is what
they take together above what they took then, a page that several map counted once (PSS).
"""

import argparse
import gzip
import multiprocessing
import os
import tempfile
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.common import save
from tuner.trial.shared_data import SharedData


def load(path: Path) -> dict[str, torch.Tensor]:
    with gzip.open(path) as file:
        return {"images": torch.from_numpy(np.frombuffer(file.read(), np.uint8).copy())}


def serve(link: Connection, path: Path, run: str | None) -> None:
    """One process: gets the data once it is told to, tells how long that took, and holds them until the end."""
    torch.set_num_threads(1)
    shared = SharedData(run) if run else None
    link.send(None)
    link.recv()
    started = time.perf_counter()
    data = shared.get("data", lambda: load(path)) if shared else load(path)
    got_s = time.perf_counter() - started
    largest = int(data["images"].max())
    link.send((got_s, time.perf_counter() - started, largest))
    link.recv()


def pss(processes: list[Any]) -> int:
    return sum(int(psutil.Process(process.pid).memory_full_info().pss) for process in processes)


def measure(path: Path, count: int, run: str | None) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    links, processes = [], []
    for _ in range(count):
        here, there = context.Pipe()
        processes.append(context.Process(target=serve, args=(there, path, run)))
        processes[-1].start()
        links.append(here)
    for link in links:
        link.recv()
    before = pss(processes)
    started = time.perf_counter()
    for link in links:
        link.send(None)
    told = [link.recv() for link in links]
    all_s = time.perf_counter() - started
    taken = pss(processes) - before
    for link, process in zip(links, processes, strict=True):
        link.send(None)
        process.join()
    assert {largest for _, _, largest in told} == {63}
    return {
        "memory_mb": taken / 1e6,
        "until_all_have_it_s": all_s,
        "first_has_it_s": min(got for got, _, _ in told),
        "to_read_it_s": max(whole - got for got, whole, _ in told),
    }


def measure_late(path: Path, run: str | None) -> float:
    """Seconds until a process has the data that comes when another has them: a trial's after one that was replaced."""
    with closing(SharedData(run or "nobody")) as holder:
        if run:
            holder.get("data", lambda: load(path))
        return measure(path, 1, run)["first_has_it_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--mb", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.gz"
        rng = np.random.default_rng(0)
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(given.mb):
                file.write(rng.integers(0, 64, 1_000_000, np.uint8).tobytes())
        run = f"benchmark-{os.getpid()}"
        each = measure(path, given.processes, None)
        one = measure(path, given.processes, run)
        late = {"cached": measure_late(path, None), "shared": measure_late(path, f"{run}-late")}
    save(
        "shared_data",
        {
            "processes": given.processes,
            "mb": given.mb,
            "cached": {**each, "a_late_one_has_it_s": late["cached"]},
            "shared": {**one, "a_late_one_has_it_s": late["shared"]},
            "memory_ratio": each["memory_mb"] / one["memory_mb"],
            "time_ratio": each["until_all_have_it_s"] / one["until_all_have_it_s"],
        },
    )


if __name__ == "__main__":
    main()
