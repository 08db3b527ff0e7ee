"""The same Fashion-MNIST sweep with one worker a trial and with two: does it find the same?

    python -m benchmarks.workers [--seeds 3] [--run-cap 8] [--epochs 3]

Two cores either way: two trials of one worker at a time, or one of two. The sweep is that of
`search_spaces/fashion_mnist.yaml`, shortened. A batch is shared out to the workers, so that a configuration means the
same training; what differs is the batch statistics of each worker's share, its dropout, and which trials have ended
when the next is asked for.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import tuner
from benchmarks.common import Silent, save
from tuner.spec.sweep_spec import SweepSpec


def measure(workers: int, seed: int, run_cap: int, epochs: int) -> dict[str, Any]:
    described = SweepSpec.from_yaml(Path("search_spaces/fashion_mnist.yaml")).to_dict()
    described |= {
        "seed": seed,
        "run_cap": run_cap,
        "parallel": 2 // workers,
        "resources": {"workers": workers, "cpu": 1},
        "early_terminate": {"type": "asha", "min_iter": 1, "max_iter": epochs, "eta": 3},
    }
    del described["budget"]  # what is found must not depend on how fast the machine is
    described["parameters"]["epochs"] = {"value": epochs}
    trainable = described.pop("trainable")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = tuner.Sweep(trainable, output=folder, **described).run(console=Silent())
        best = results.best_json()
    assert best is not None
    return {
        "workers": workers,
        "seed": seed,
        "best_val_accuracy": best["value"],
        "test_accuracy": best["test"]["test_accuracy"],
        "trials": results.counts(),
        "seconds": time.perf_counter() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--run-cap", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    rows = [measure(workers, seed, given.run_cap, given.epochs) for seed in range(given.seeds) for workers in (1, 2)]
    best = {n: [row["best_val_accuracy"] for row in rows if row["workers"] == n] for n in (1, 2)}
    save(
        "workers",
        {
            "run_cap": given.run_cap,
            "epochs": given.epochs,
            "rows": rows,
            "mean_best_val_accuracy": {str(n): statistics.mean(values) for n, values in best.items()},
            "difference": statistics.mean(best[2]) - statistics.mean(best[1]),
            # Of the best accuracy over seeds: what a difference has to exceed to mean anything.
            "standard_deviation": {str(n): statistics.stdev(values) for n, values in best.items()},
        },
    )


if __name__ == "__main__":
    main()
