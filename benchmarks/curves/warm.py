"""Whether a sweep that starts from others is ever worse for it: LCBench tasks, with sweeps of other tasks as history.

    TUNER_DATA=../shared/data python -m benchmarks.curves.warm [--half test] [--seeds 5] [--jobs 2]

Each task is searched twice with the same seed and the same stream of random numbers: once from nothing, once with
`start_from` the sweeps of three other tasks, which are drawn for each seed. Other data mean another best configuration:
what the history says is right in part. The figures are regrets as those of `benchmarks.curves`, and their differences.
"""

import functools
import random
from typing import Any

from benchmarks.common import save
from benchmarks.curves.__main__ import FULL_TRAININGS, WORKERS
from benchmarks.curves.references import references
from benchmarks.curves.statistics import CHECKPOINTS, interval, regrets
from benchmarks.curves.surrogates import Comparison, lcbench_names
from benchmarks.curves.tasks import load_task, stream_seed
from tuner.records import TrialRecord
from tuner.results.start_from import History
from tuner.simulation.simulator import simulate
from tuner.simulation.sweep import SimulatedSweep

METHOD = "bayes"
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
    others = [name for name in lcbench_names("all") if name != task_name]
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
    comparison = Comparison.asked_for(__doc__, seeds=5)
    rows = comparison.run(compare)
    by_task = {how: comparison.means(rows, how) for how in ("cold", "warm")}
    differences = by_task["warm"] - by_task["cold"]
    save(
        f"warm_start_{comparison.half}",
        {
            "shares": CHECKPOINTS,
            "tasks": len(comparison.tasks),
            "seeds": comparison.seeds,
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
