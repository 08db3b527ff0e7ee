"""Whether trial 5,000 costs what trial 1 did: the pace of the first and last 500, and the driver's memory.

python -m benchmarks.growth [--trials 5000]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray

import tuner
from benchmarks.common import Silent, save
from tuner.console import SweepView

WINDOW = 500


def noop(trial: tuner.Trial) -> None:
    for step in range(1, 4):
        trial.report({"loss": trial.params["x"] / step}, step=step)


class Watch(Silent):
    """Writes down when each trial ended and how much memory the driver held then."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.rss_mb: list[float] = []

    def event(self, text: str, *, is_detail: bool = False) -> None:
        if text.startswith("trial "):
            self.ends.append(time.perf_counter())
            if len(self.ends) % 100 == 0:
                self.rss_mb.append(psutil.Process().memory_info().rss / 2**20)

    def update(self, view: SweepView) -> None: ...


def figures(watch: Watch) -> dict[str, Any]:
    ends = watch.ends
    first = ends[WINDOW - 1] - ends[0]
    last = ends[-1] - ends[-WINDOW]
    # The first 1,000 trials fill caches that do not grow any more.
    settled = watch.rss_mb[9:] if len(watch.rss_mb) > 20 else watch.rss_mb
    growth = (settled[-1] - settled[0]) / (len(settled) - 1) * 10
    return {
        "trials": len(ends),
        "first_500_s": first,
        "last_500_s": last,
        "ratio": last / first,
        "driver_rss_mb": [round(mb) for mb in watch.rss_mb[9::10]],
        "driver_growth_mb_per_1000_trials": growth,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    given = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        tuner.Sweep(
            noop,
            parameters={"x": {"min": 0.0, "max": 1.0}},
            metric={"name": "loss"},
            method="random",
            run_cap=given.trials,
            parallel=2,
            seed=0,
            output=Path(folder),
        ).run(console=watch)
    ray.shutdown()
    save("growth", figures(watch))


if __name__ == "__main__":
    main()
