"""Whether a sweep that starts from others is ever worse for it: LCBench tasks, with sweeps of other tasks as history.

    TUNER_DATA=../shared/data python -m benchmarks.curves.warm [--half test] [--seeds 5] [--jobs 2]

Each task is searched twice with the same seed and the same stream of random numbers: once from nothing, once with
`start_from` the sweeps of three other tasks, which are drawn for each seed. Other data mean another best configuration:
what the history says is right in part. The figures are regrets as those of `benchmarks.curves`, and their differences.
"""

import argparse
import functools
import random
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from benchmarks.common import save
from benchmarks.curves.__main__ import FULL_TRAININGS, WORKERS
from benchmarks.curves.references import references
from benchmarks.curves.statistics import CHECKPOINTS, interval, regrets
from benchmarks.curves.tasks import LCBench, load_task, stream_seed, task_names
from tuner.history import History
from tuner.simulation.simulator import simulate
from tuner.simulation.sweep import SimulatedSweep
from tuner.trial import TrialRecord

METHOD = "multifidelity"
HISTORIES = 3
# Of the same size in the end as what a mean over five seeds moves by.
NOISE = 0.02


def _rule(max_step: int) -> dict[str, Any]:
    return {"type": "auto", "min_iter": 1, "max_iter": max_step, "eta": 3}


@functools.lru_cache(maxsize=64)
def _earlier(task_name: str, seed: int) -> list[TrialRecord]:
    """The trials of a sweep of half the budget."""
    task = load_task(task_name)
    sweep = SimulatedSweep(task, stream_seed(task_name, seed + 1000), METHOD, _rule(task.max_step))
    simulate(task, sweep, workers=WORKERS, budget=FULL_TRAININGS // 2 * task.max_step)
    records = sweep.records()
    sweep.close()
    return records


def compare(task_name: str, seed: int) -> dict[str, Any]:
    task, stream = load_task(task_name), stream_seed(task_name, seed)
    others = [name for name in task_names("all") if name != task_name and isinstance(load_task(name), LCBench)]
    chosen = random.Random(stream).sample(others, HISTORIES)
    history = History.of([_earlier(name, seed) for name in chosen], task.metrics[0], task.space)
    found: dict[str, Any] = {"task": task_name, "seed": seed, "history": chosen}
    for how, given in (("cold", None), ("warm", history)):
        sweep = SimulatedSweep(task, stream, METHOD, _rule(task.max_step), given)
        budget = FULL_TRAININGS * task.max_step
        run = simulate(task, sweep, workers=WORKERS, budget=budget)
        sweep.close()
        found[how] = regrets(run.incumbents(task.metrics[0].goal), references()[task_name], budget, CHECKPOINTS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("development", "test", "all"), default="test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    tasks = [name for name in task_names(given.half) if isinstance(load_task(name), LCBench)]
    cases = [(task, seed) for seed in range(given.seeds) for task in tasks]
    with ProcessPoolExecutor(given.jobs) as pool:
        rows = list(pool.map(compare, *zip(*cases, strict=True)))
    by_task = {
        how: np.array([np.mean([row[how] for row in rows if row["task"] == task], axis=0) for task in tasks])
        for how in ("cold", "warm")
    }
    differences = by_task["warm"] - by_task["cold"]
    save(
        f"warm_start_{given.half}",
        {
            "shares": CHECKPOINTS,
            "tasks": len(tasks),
            "seeds": given.seeds,
            **{how: regret.mean(axis=0).tolist() for how, regret in by_task.items()},
            "difference": differences.mean(axis=0).tolist(),
            "difference_95": [interval(column) for column in differences.T],
            "tasks_worse_by_more_than_noise": (differences > NOISE).sum(axis=0).tolist(),
            "tasks_better_by_more_than_noise": (differences < -NOISE).sum(axis=0).tolist(),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
