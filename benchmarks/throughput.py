"""Reports a second that reach the logs, and how long a report keeps the training loop: ours beside Ray Tune's.

    python -m benchmarks.throughput [--trials 8] [--ray-trials 2]

Trials of 1,000 quick steps with three metrics on 2 slots; ours with study, TensorBoard and metrics.jsonl, Ray
Tune with its default loggers (JSON, CSV, TensorBoard), one after the other on the same cluster. Both are timed
from their first trial's start to the end of the run, process start excluded: each loop writes down when it began.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import ray.tune

import tuner
from benchmarks.common import Silent, save

STEPS = 1000
SLOTS = 2


def metrics_of(step: int) -> dict[str, float]:
    return {"loss": 1.0 / step, "accuracy": step / STEPS, "lr": 0.1}


def quick(trial: tuner.Trial) -> None:
    kept_s, began = [], time.time()
    for step in range(1, STEPS + 1):
        started = time.perf_counter()
        trial.report(metrics_of(step), step=step)
        kept_s.append(time.perf_counter() - started)
    note(Path(trial.params["notes"]), began, kept_s)


def ray_quick(config: dict[str, Any]) -> None:
    kept_s, began = [], time.time()
    for step in range(1, STEPS + 1):
        started = time.perf_counter()
        ray.tune.report(metrics_of(step))
        kept_s.append(time.perf_counter() - started)
    note(Path(config["notes"]), began, kept_s)


def note(folder: Path, began: float, kept_s: list[float]) -> None:
    (folder / f"{time.time_ns()}.json").write_text(json.dumps({"began": began, "kept_s": kept_s}))


def read_notes(folder: Path) -> tuple[float, list[float]]:
    """When the first loop began, and all the times that a report took, in seconds."""
    notes = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return min(n["began"] for n in notes), [s for n in notes for s in n["kept_s"]]


def figures(trials: int, notes: Path, ended: float) -> dict[str, float]:
    began, kept_s = read_notes(notes)
    return {
        "reports_per_s": trials * STEPS / (ended - began),
        "report_ms_median": 1e3 * statistics.median(kept_s),
        "report_ms_p99": 1e3 * statistics.quantiles(kept_s, n=100)[98],
    }


def measure_ours(trials: int, folder: Path) -> dict[str, float]:
    notes = folder / "ours"
    notes.mkdir()
    sweep = tuner.Sweep(
        quick,
        parameters={"x": {"min": 0.0, "max": 1.0}, "notes": {"value": str(notes)}},
        metric={"name": "loss"},
        method="random",
        run_cap=trials,
        parallel=SLOTS,
        seed=0,
        output=folder,
    )
    results = sweep.run(console=Silent())
    ended = time.time()
    assert results.counts() == {"completed": trials}, results.counts()
    for number in range(trials):
        assert [report.step for report in results.curve(number)] == list(range(1, STEPS + 1))
    return figures(trials, notes, ended)


def measure_ray(trials: int, folder: Path) -> dict[str, float]:
    notes = folder / "ray"
    notes.mkdir()
    tune_run = ray.tune.Tuner(
        ray_quick,
        param_space={"x": ray.tune.uniform(0.0, 1.0), "notes": str(notes)},
        tune_config=ray.tune.TuneConfig(metric="loss", mode="min", num_samples=trials, max_concurrent_trials=SLOTS),
        run_config=ray.tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    grid = tune_run.fit()
    ended = time.time()
    assert not grid.errors, grid.errors
    return figures(trials, notes, ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--ray-trials", type=int, default=2)
    given = parser.parse_args()
    ray.init("local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = measure_ours(given.trials, folder)
        theirs = measure_ray(given.ray_trials, folder)
    ray.shutdown()
    ratio = ours["reports_per_s"] / theirs["reports_per_s"]
    save("throughput", {"slots": SLOTS, "steps": STEPS, "ours": ours, "ray_default": theirs, "ratio": ratio})


if __name__ == "__main__":
    main()
