"""Seconds a trial costs beyond its training: no-op trials of 10 reports on 2 slots, ours beside Ray Tune's.

    python -m benchmarks.overhead [--trials 200] [--default-trials 20] [--pattern-trials 4] [--workers 2]

Ours runs with everything on (study, TensorBoard, metrics.jsonl). Beside it, in the same run and on the same
cluster: a plain Ray Tune function trainable with its default settings, and the pattern that Ray documents for
tuning distributed training, a `TorchTrainer` inside a Tune function. The cluster's start is left out of all
three, and each one's time is its wall time over its trials.

With `--workers N` each trial has N workers, ours beside Ray's documented pattern alone; then the time is that of
a trial after each slot's first one, in which ours starts its workers.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import ray.tune

import tuner
from benchmarks.common import Silent, save

STEPS = 10
SLOTS = 2


def noop(trial: tuner.Trial) -> None:
    for step in range(1, STEPS + 1):
        trial.report({"loss": trial.params["x"] / step}, step=step)


def ray_noop(config: dict[str, Any]) -> None:
    for step in range(1, STEPS + 1):
        ray.tune.report({"loss": config["x"] / step})


def ray_train_noop(config: dict[str, Any]) -> None:
    for step in range(1, STEPS + 1):
        ray.train.report({"loss": config["x"] / step})


def documented_pattern(config: dict[str, Any], workers: int = 1) -> None:
    """As in Ray's user guide "Hyperparameter Tuning with Ray Tune" of Ray Train."""
    from ray.tune.integration.ray_train import TuneReportCallback

    trainer = ray.train.torch.TorchTrainer(
        ray_train_noop,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=workers),
        run_config=ray.train.RunConfig(
            name=f"trial-{ray.tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def measure_ours(trials: int, folder: Path, workers: int = 1) -> tuple[float, float]:
    """Seconds a trial: over all of them, and after each slot's first one."""
    sweep = tuner.Sweep(
        noop,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        method="random",
        run_cap=trials,
        parallel=SLOTS,
        resources={"workers": workers, "cpu": 1},
        seed=0,
        output=folder,
    )
    started = time.perf_counter()
    results = sweep.run(console=Silent())
    seconds = time.perf_counter() - started
    assert results.counts() == {"completed": trials}, results.counts()
    return seconds / trials, after_first([trial.ended_at_s for trial in results.trials])


def measure_ray(function: Any, trials: int, folder: Path, resources: dict[str, float]) -> tuple[float, float]:
    """Seconds a trial: over all of them, and after each slot's first one."""
    tune_run = ray.tune.Tuner(
        ray.tune.with_resources(function, resources),
        param_space={"x": ray.tune.uniform(0.0, 1.0), "storage": str(folder)},
        tune_config=ray.tune.TuneConfig(metric="loss", mode="min", num_samples=trials, max_concurrent_trials=SLOTS),
        run_config=ray.tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    started = time.perf_counter()
    grid = tune_run.fit()
    seconds = time.perf_counter() - started
    assert len(grid) == trials
    assert not grid.errors, grid.errors
    return seconds / trials, after_first([result.metrics["timestamp"] for result in grid])


def after_first(ends: list[float]) -> float:
    """Seconds a trial between the end of each slot's first one and the last one's."""
    ends = sorted(ends)
    return (ends[-1] - ends[SLOTS - 1]) / (len(ends) - SLOTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--default-trials", type=int, default=20)
    parser.add_argument("--pattern-trials", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.workers > 1:
            compare_workers(given, Path(name))
        else:
            compare(given, Path(name))


def compare(given: argparse.Namespace, folder: Path) -> None:
    # Two logical CPUs for the trials and two for the workers that the documented pattern starts beside them.
    with cluster(2 * SLOTS):
        ours, _ = measure_ours(given.trials, folder)
        default, _ = measure_ray(ray_noop, given.default_trials, folder, {"CPU": 1})
        pattern, _ = measure_ray(documented_pattern, given.pattern_trials, folder, {"CPU": 1})
    save(
        "overhead",
        {
            "slots": SLOTS,
            "reports_per_trial": STEPS,
            "trials": {
                "ours": given.trials,
                "ray_default": given.default_trials,
                "ray_pattern": given.pattern_trials,
            },
            "seconds_per_trial": {"ours": ours, "ray_default": default, "ray_pattern": pattern},
            "ratio_default": default / ours,
            "ratio_pattern": pattern / ours,
        },
    )


def compare_workers(given: argparse.Namespace, folder: Path) -> None:
    workers = given.workers
    with cluster((1 + workers) * SLOTS):
        ours = measure_ours(given.trials, folder, workers)
        trainable = functools.partial(documented_pattern, workers=workers)
        pattern = measure_ray(trainable, given.pattern_trials, folder, {"CPU": 1})
    save(
        f"overhead_{workers}_workers",
        {
            "slots": SLOTS,
            "workers": workers,
            "reports_per_trial": STEPS,
            "trials": {"ours": given.trials, "ray_pattern": given.pattern_trials},
            "seconds_per_trial": {"ours": ours[0], "ray_pattern": pattern[0]},
            "seconds_per_trial_after_the_first": {"ours": ours[1], "ray_pattern": pattern[1]},
            "ratio_pattern": pattern[0] / ours[0],
            "ratio_pattern_after_the_first": pattern[1] / ours[1],
        },
    )


@contextmanager
def cluster(num_cpus: int) -> Iterator[None]:
    ray.init("local", num_cpus=num_cpus, include_dashboard=True, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


if __name__ == "__main__":
    main()
