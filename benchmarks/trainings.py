"""Equal wall clock on real trainings: ours beside random search and Optuna's TPE through Ray Tune, all with halving.

    python -m benchmarks.trainings digits --seconds 90
    python -m benchmarks.trainings fashion_mnist --seconds 600 --seeds 3

Each search has two slots of one CPU, the space of `search_spaces/NAME.yaml` and the same training loop; ours is the
method and the rule that are the default, the peers have Ray's asynchronous successive halving with the same rungs, and
none is told a known good configuration. The cluster is there already, the clock starts where a user starts the search.
`seconds_to_peer` is when ours stood where the better of the peers ended with the same seed, null where it never did.
"""

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import ray
import ray.tune
import torch
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from ruamel.yaml import YAML

import tuner
from benchmarks.common import Silent, save
from benchmarks.overhead import SLOTS, cluster
from tuner.errors import StopTrial
from tuner.methods.optuna_space import suggest
from tuner.records import Report
from tuner.run_folder.trial_files import read_reports
from tuner.spec.space import SearchSpace
from tuner.trial.seeds import seed_everything
from tuner.trial.trial import Trial

OURS = "tuner bayes + auto"
# (seconds since the start, value) of each report, in the order of time.
Reports = list[tuple[float, float]]


def run_ours(spec: Mapping[str, Any], seconds: float, seed: int, folder: Path) -> Reports:
    keys = {key: value for key, value in spec.items() if key not in ("name", "trainable", "start_with")}
    keys |= {"method": "bayes", "early_terminate": {**spec["early_terminate"], "type": "auto"}}
    keys |= {"run_cap": 10_000, "budget": {"hours": seconds / 3600}, "parallel": SLOTS, "seed": seed}
    sweep = tuner.Sweep(spec["trainable"], **keys, output=folder)
    started = time.time()
    results = sweep.run(console=Silent())
    name = spec["metric"]["name"]
    reports = [report for path in (results.folder / "trials").iterdir() for report in read_reports(path)]
    found = sorted((report.timestamp - started, report.metrics[name]) for report in reports)
    return [(at, value) for at, value in found if at <= seconds]


def run_peer(spec: Mapping[str, Any], seconds: float, sampler: BaseSampler, folder: Path) -> Reports:
    name, rule = spec["metric"]["name"], spec["early_terminate"]
    clock = Clock(name)
    define = functools.partial(ask, SearchSpace.from_dict(spec["parameters"]))
    search = ray.tune.Tuner(
        ray.tune.with_resources(ray.tune.with_parameters(train_peer, metric=name), {"CPU": 1}),
        tune_config=ray.tune.TuneConfig(
            search_alg=OptunaSearch(define, metric=name, mode="max", sampler=sampler),
            scheduler=ASHAScheduler(
                metric=name,
                mode="max",
                max_t=rule["max_iter"],
                grace_period=rule["min_iter"],
                reduction_factor=rule["eta"],
            ),
            num_samples=-1,
            max_concurrent_trials=SLOTS,
            time_budget_s=seconds,
        ),
        run_config=ray.tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[clock]),
    )
    started = time.time()
    search.fit()
    return [(at - started, value) for at, value in clock.reports if at - started <= seconds]


class Clock(ray.tune.Callback):  # type: ignore[misc]  # Ray's classes are untyped
    """Keeps the time, in seconds since the epoch, and the value of each report."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.reports: Reports = []

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        self.reports.append((time.time(), result[self.metric]))


def ask(space: SearchSpace, trial: optuna.Trial) -> dict[str, Any]:
    """The whole configuration: of what is asked for in this way Ray sees nothing that is not returned."""
    return suggest(space, trial)


def train_peer(config: dict[str, Any], metric: str) -> None:
    """The same loop, with the same checkpoints, as a plain function of Ray Tune."""
    from trainables.image_classification import train

    def report(given: Report, stop: StopTrial | None) -> None:
        ray.tune.report({metric: given.metrics[metric]})

    torch.set_num_threads(1)
    seed_everything(0)
    with tempfile.TemporaryDirectory() as folder:
        train(Trial(config, number=0, seed=0, dir=Path(folder), metrics=(), deliver=report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("digits", "fashion_mnist"))
    parser.add_argument("--seconds", type=float, required=True, help="of each search")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    spec = YAML(typ="safe").load(Path(f"search_spaces/{given.name}.yaml"))
    searches: dict[str, Callable[[int, Path], Reports]] = {
        OURS: lambda seed, folder: run_ours(spec, given.seconds, seed, folder),
        "random + Ray ASHA": lambda seed, folder: run_peer(spec, given.seconds, RandomSampler(seed), folder),
        "Ray OptunaSearch + Ray ASHA": lambda seed, folder: run_peer(
            spec, given.seconds, TPESampler(seed=seed), folder
        ),
    }
    runs: dict[str, list[Reports]] = {name: [] for name in searches}
    with cluster(SLOTS):
        for seed in range(given.seeds):
            for name, search in searches.items():
                with tempfile.TemporaryDirectory() as folder:
                    runs[name].append(search(seed, Path(folder)))
            # Hours go into it: what is there so far is kept.
            save(f"trainings_{given.name}", {"seconds": given.seconds, **figures(runs)})


def figures(runs: Mapping[str, Sequence[Reports]]) -> dict[str, Any]:
    """What is recorded of the runs, one for each seed, by name of the search."""
    final = {name: [max((value for _, value in reports), default=0.0) for reports in runs[name]] for name in runs}
    bars = [max(of_seed) for of_seed in zip(*(final[name] for name in runs if name != OURS), strict=True)]
    return {
        "final": final,
        "final_mean": {name: statistics.fmean(values) for name, values in final.items()},
        "reports": {name: [len(reports) for reports in runs[name]] for name in runs},
        "incumbents": {name: [incumbents(reports) for reports in runs[name]] for name in runs},
        "seconds_to_peer": [
            next((at for at, value in reports if value >= bar), None)
            for reports, bar in zip(runs[OURS], bars, strict=True)
        ],
    }


def incumbents(reports: Reports) -> Reports:
    """The reports that were better than all before them."""
    best = itertools.accumulate((value for _, value in reports), max, initial=float("-inf"))
    return [(round(at, 2), value) for (at, value), before in zip(reports, best, strict=False) if value > before]


if __name__ == "__main__":
    main()
