"""What the comparisons on LCBench alone share: their arguments, their runs, means over seeds."""

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.curves.tasks import LCBench, load_task, task_names

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Attributes: half, tasks, seeds: what is to be run, as the command line has it."""

    half: str
    tasks: list[str]
    seeds: int
    jobs: int

    @classmethod
    def asked_for(cls, about: str | None, seeds: int) -> "Comparison":
        """That of the command line; `seeds` is the usual number."""
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--half", choices=("development", "test", "all"), default="test")
        parser.add_argument("--seeds", type=int, default=seeds)
        parser.add_argument("--jobs", type=int, default=1, help="processes")
        given = parser.parse_args()
        return cls(given.half, lcbench_names(given.half), given.seeds, given.jobs)

    def run(self, run_one: Callable[..., Row], methods: Sequence[str] = ()) -> list[Row]:
        """`run_one(task, seed)` of all tasks and seeds; with methods `run_one(task, seed, method)` of each of them."""
        cases = itertools.product(self.tasks, range(self.seeds), *([methods] if methods else []))
        with ProcessPoolExecutor(self.jobs) as pool:
            return list(pool.map(run_one, *zip(*cases, strict=True)))

    def means(self, rows: Sequence[Row], key: str) -> np.ndarray:
        """`[tasks, ...]`, of the rows' values, over seeds."""
        return np.array([np.mean([row[key] for row in rows if row["task"] == task], axis=0) for task in self.tasks])


def lcbench_names(half: str) -> list[str]:
    return [name for name in task_names(half) if isinstance(load_task(name), LCBench)]
