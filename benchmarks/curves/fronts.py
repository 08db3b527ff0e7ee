"""Searches with two metrics, the accuracy of a network and the time of its training: their fronts by hypervolume.

    TUNER_DATA=../shared/data python -m benchmarks.curves.fronts [--half test] [--seeds 3] [--jobs 2]

Tasks, workers and budget are those of `benchmarks.curves`, LCBench alone. Each step of each trial is a point: a network
that was stopped early may be what somebody wants who is in a hurry. The hypervolume is the share that they dominate of
a square: accuracy from that of a median random training to the best known, and the logarithm of the time from the least
to the most of some random trainings.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler, TPESampler
from ray.tune.schedulers import FIFOScheduler

from benchmarks.common import save
from benchmarks.curves.__main__ import FULL_TRAININGS, WORKERS
from benchmarks.curves.methods import ETA, RayPeer, ray_asha
from benchmarks.curves.references import references
from benchmarks.curves.statistics import CHECKPOINTS, mean_ranks
from benchmarks.curves.surrogates import Comparison
from benchmarks.curves.tasks import LCBenchInTime, stream_seed
from tuner.simulation.simulator import Method, simulate
from tuner.simulation.sweep import SimulatedSweep

NUM_RANDOM = 300


def _ours(task: LCBenchInTime, seed: int, method: str, rule: str = "") -> SimulatedSweep:
    halving = {"type": rule, "min_iter": 1, "max_iter": task.max_step, "eta": ETA} if rule else None
    return SimulatedSweep(task, seed, method, halving)


METHODS: dict[str, Callable[[LCBenchInTime, int], Method]] = {
    "tuner bayes + auto": lambda task, seed: _ours(task, seed, "bayes", "auto"),
    "tuner tpe + auto": lambda task, seed: _ours(task, seed, "tpe", "auto"),
    "tuner nsgaii + auto": lambda task, seed: _ours(task, seed, "nsgaii", "auto"),
    "tuner random + auto": lambda task, seed: _ours(task, seed, "random", "auto"),
    # Optuna's own samplers as they are: it prunes no trial of several objectives.
    "Optuna TPE, no early stopping": lambda task, seed: _ours(task, seed, "tpe"),
    "Optuna NSGA-II, no early stopping": lambda task, seed: _ours(task, seed, "nsgaii"),
    # Ray's schedulers look at one metric, the accuracy.
    "Ray OptunaSearch + Ray ASHA": lambda task, seed: RayPeer(task, seed, TPESampler(seed=seed), ray_asha(task)),
    "random + Ray ASHA": lambda task, seed: RayPeer(task, seed, RandomSampler(seed), ray_asha(task)),
    "random, no early stopping": lambda task, seed: RayPeer(task, seed, RandomSampler(seed), FIFOScheduler()),
}


def run_one(task_name: str, seed: int, method_name: str) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task, stream = LCBenchInTime(task_name), stream_seed(task_name, seed)
    np.random.seed(stream)  # which Ray's asynchronous successive halving draws from
    budget = FULL_TRAININGS * task.max_step
    method = METHODS[method_name](task, stream)
    try:
        run = simulate(task, method, workers=WORKERS, budget=budget)
    finally:
        method.close()
    reference, (least, most) = references()[task_name], seconds(task)
    accuracy, time_s = np.array(run.reports).T
    points = np.stack(
        [
            (accuracy - reference.random) / (reference.best - reference.random),
            (np.log(most) - np.log(np.maximum(time_s, least))) / (np.log(most) - np.log(least)),
        ],
        axis=1,
    )
    volumes = [hypervolume(points[: round(share * budget)]) for share in CHECKPOINTS]
    return {"method": method_name, "task": task_name, "seed": seed, "hypervolume": volumes, "trials": len(run.lengths)}


def seconds(task: LCBenchInTime) -> tuple[float, float]:
    """The least and the most that some random trainings take, after one step or all."""
    rng = random.Random(0)
    configurations = [task.space.sample(rng) for _ in range(NUM_RANDOM)]
    found = [
        task.values(params, range(step, step + 1))[0][1] for params in configurations for step in (1, task.max_step)
    ]
    return max(min(found), 1e-2), max(found)


def hypervolume(points: np.ndarray) -> float:
    """The share of the unit square that points `[n, 2]` dominate, larger is better in both."""
    inside = np.clip(points, 0.0, 1.0)
    volume, height = 0.0, 0.0
    for x, y in inside[np.lexsort((-inside[:, 1], -inside[:, 0]))].tolist():
        volume += x * max(0.0, y - height)
        height = max(height, y)
    return volume


def main() -> None:
    comparison = Comparison.asked_for(__doc__, seeds=3)
    rows = comparison.run(run_one, list(METHODS))
    by_method = {name: [row for row in rows if row["method"] == name] for name in METHODS}
    means = {name: comparison.means(own, "hypervolume") for name, own in by_method.items()}
    ranks = [mean_ranks({name: -means[name][:, i] for name in METHODS}) for i in range(len(CHECKPOINTS))]
    save(
        f"fronts_{comparison.half}",
        {
            "shares": CHECKPOINTS,
            "tasks": len(comparison.tasks),
            "seeds": comparison.seeds,
            "methods": {
                name: {
                    "hypervolume": means[name].mean(axis=0).tolist(),
                    "mean_rank": [of_share[name] for of_share in ranks],
                    "trials": float(np.mean([row["trials"] for row in by_method[name]])),
                }
                for name in METHODS
            },
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
