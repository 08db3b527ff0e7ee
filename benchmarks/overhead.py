"""Seconds a trial costs beyond its training: no-op trials of 10 reports on 2 slots, ours beside Ray Tune's.

    python -m benchmarks.overhead [--trials 200] [--default-trials 20] [--pattern-trials 4]

Ours runs with everything on (study, TensorBoard, metrics.jsonl). Beside it, in the same run and on the same
cluster: a plain Ray Tune function trainable with its default settings, and the pattern that Ray documents for
tuning distributed training, a `TorchTrainer` inside a Tune function. The cluster's start is left out of all
three, and each one's time is its wall time over its trials.
"""

import argparse
import tempfile
import time
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
        trial.report(step, {"loss": trial.params["x"] / step})


def ray_noop(config: dict[str, Any]) -> None:
    for step in range(1, STEPS + 1):
        ray.tune.report({"loss": config["x"] / step})


def ray_train_noop(config: dict[str, Any]) -> None:
    for step in range(1, STEPS + 1):
        ray.train.report({"loss": config["x"] / step})


def documented_pattern(config: dict[str, Any]) -> None:
    """As in Ray's user guide "Hyperparameter Tuning with Ray Tune" of Ray Train."""
    from ray.tune.integration.ray_train import TuneReportCallback

    trainer = ray.train.torch.TorchTrainer(
        ray_train_noop,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=f"trial-{ray.tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def measure_ours(trials: int, folder: Path) -> float:
    sweep = tuner.Sweep(
        noop,
        parameters={"x": {"min": 0.0, "max": 1.0}},
        metric={"name": "loss"},
        method="random",
        run_cap=trials,
        parallel=SLOTS,
        seed=0,
        output=folder,
    )
    started = time.perf_counter()
    results = sweep.run(console=Silent())
    seconds = time.perf_counter() - started
    assert results.counts() == {"completed": trials}, results.counts()
    return seconds / trials


def measure_ray(function: Any, trials: int, folder: Path, resources: dict[str, float]) -> float:
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
    return seconds / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--default-trials", type=int, default=20)
    parser.add_argument("--pattern-trials", type=int, default=4)
    given = parser.parse_args()
    # Two logical CPUs for the trials and two for the workers that the documented pattern starts beside them.
    ray.init(num_cpus=2 * SLOTS, include_dashboard=True, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = measure_ours(given.trials, folder)
        default = measure_ray(ray_noop, given.default_trials, folder, {"CPU": 1})
        pattern = measure_ray(documented_pattern, given.pattern_trials, folder, {"CPU": 1})
    ray.shutdown()
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


if __name__ == "__main__":
    main()
