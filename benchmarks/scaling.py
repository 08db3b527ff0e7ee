"""Wall time of one ASHA sweep of sleeping trials on 1, 2, 4, ... 64 slots, against the ideal.

    python -m benchmarks.scaling [--slots 1 2 4 8 16 32 64] [--trials 96] [--step-s 10]

A step sleeps, so that a slot needs no core and this machine can hold 64 of them; a trial is one step, or four where
ASHA lets it go on. The ideal is what the very trials that ran would take, each started in its turn on the first slot
that is free, with nothing in between. The clock starts when the processes of all slots are up: to start 64 of them on
a few cores takes minutes, which is no matter of the number of slots; it is told apart as `start_s`.

Writes a table, `results/scaling.json` and, with the extra `bench`, `results/scaling.png`. Slots that an earlier run has
measured and that this one leaves out are kept.
"""

import argparse
import heapq
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

import tuner
from benchmarks.common import RESULTS, Silent, machine, save

LAST_STEP = 4


def sleeper(trial: tuner.Trial) -> None:
    trial.cached("all slots are up", lambda: _wait_for_all(trial))
    for step in range(1, LAST_STEP + 1):
        time.sleep(trial.params["step_s"])
        trial.report({"loss": trial.params["x"] / step, "ended_at": time.time()}, step=step)


def _wait_for_all(trial: tuner.Trial) -> bool:
    """The first trial of each process waits until those of all other slots have begun as well."""
    marks = Path(trial.params["marks"])
    (marks / f"{trial.number}").touch()
    while len(list(marks.iterdir())) < trial.params["slots"]:
        time.sleep(0.02)
    return True


def ideal_s(durations_s: Sequence[float], slots: int) -> float:
    """The wall time of trials that start in this order, each on the first slot that is free."""
    free_at = [0.0] * slots
    for duration in durations_s:
        heapq.heappush(free_at, heapq.heappop(free_at) + duration)
    return max(free_at)


def measure(slots: int, trials: int, step_s: float) -> dict[str, Any]:
    ray.init("local", num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as name:
            marks = Path(name) / "marks"
            marks.mkdir()
            began = time.time()
            results = tuner.Sweep(
                sleeper,
                parameters={"x": {"min": 0.0, "max": 1.0}, "step_s": step_s, "slots": slots, "marks": str(marks)},
                metric={"name": "loss"},
                method="random",
                early_terminate={"type": "asha", "min_iter": 1, "max_iter": LAST_STEP, "eta": LAST_STEP},
                run_cap=trials,
                seed=0,
                output=name,
            ).run(console=Silent())
            all_up = max(mark.stat().st_mtime for mark in marks.iterdir())
            curves = [results.curve(trial.number) for trial in results.trials]
    finally:
        ray.shutdown()
    assert len(curves) == trials
    wall_s = max(curve[-1].metrics["ended_at"] for curve in curves) - all_up
    ideal = ideal_s([len(curve) * step_s for curve in curves], slots)
    return {
        "slots": slots,
        "trial_s": sum(map(len, curves)) * step_s,
        "start_s": all_up - began,
        "wall_s": wall_s,
        "ideal_s": ideal,
        "of_ideal": ideal / wall_s,
    }


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib import pyplot

    slots = [row["slots"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(slots, [row["ideal_s"] for row in rows], "--", color="grey", label="ideal")
    axes.plot(slots, [row["wall_s"] for row in rows], "o-", label="measured")
    for row in rows:
        axes.annotate(f"{row['of_ideal']:.0%}", (row["slots"], row["wall_s"]), (4, 6), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="slots", ylabel="wall time (s)", xticks=slots, xticklabels=slots)
    axes.minorticks_off()
    axes.margins(0.1)  # room for the labels
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--step-s", type=float, default=10.0)
    given = parser.parse_args()
    path = RESULTS / "scaling.json"
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {row["slots"]: row for row in known}
    for slots in given.slots:
        row = measure(slots, given.trials, given.step_s)
        rows[slots] = {**row, "trials": given.trials, "step_s": given.step_s, "commit": machine()["commit"]}
        ordered = [rows[key] for key in sorted(rows)]
        save("scaling", {"rows": ordered})
    columns = ("slots", "start_s", "wall_s", "ideal_s", "of_ideal")
    print(*(f"{name:>9}" for name in columns))
    for row in ordered:
        print(*(f"{row[name]:9.4g}" for name in columns))
    try:
        plot(ordered, RESULTS / "scaling.png")
    except ImportError:
        print("no plot: it needs matplotlib, pip install -e '.[bench]'")


if __name__ == "__main__":
    main()
