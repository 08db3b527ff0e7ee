"""The sweep of `search_spaces/fashion_mnist.yaml` as `tuner run` runs it: what it reaches, and in what time.

python -m benchmarks.fashion_mnist
"""

import tempfile
import time
from pathlib import Path

import tuner
from benchmarks.common import Silent, save


def main() -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        sweep = tuner.Sweep.from_file(Path("search_spaces/fashion_mnist.yaml"), output=folder)
        results = sweep.run(console=Silent())
        seconds = time.perf_counter() - started
        best = results.best_json()
    assert best is not None
    save(
        "fashion_mnist",
        {
            "seconds": seconds,
            "trials": results.counts(),
            "slots": results.summary["slots"],
            "best_val_accuracy": best["value"],
            "best_step": best["step"],
            "best_params": best["params"],
            "test": best["test"],
        },
    )


if __name__ == "__main__":
    main()
