"""Nested cross-validation of `search_spaces/tabular.yaml`: the sweep's winner against scikit-learn's defaults.

Each of the five parts of a data set is the test set once; a sweep on the rest chooses, and never sees it. A call adds
its figures to `results/tabular.json`, so that the whole can be run in pieces.

python -m benchmarks.tabular wine diabetes --test-folds 0 1 2 3 4 --trials 40
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ruamel.yaml import YAML

import tuner
from benchmarks.common import RESULTS, Silent, save
from trainables.tables.estimators import ESTIMATORS
from trainables.tables.tables import BUNDLED
from trainables.tabular import evaluate

SPEC = Path("search_spaces/tabular.yaml")
# The metric of the search, and the score on the test set.
METRICS = {
    "classification": ({"name": "val_accuracy", "goal": "maximize"}, "test_accuracy"),
    "regression": ({"name": "val_rmse", "goal": "minimize"}, "test_rmse"),
}


def measure(dataset: str, test_fold: int, num_trials: int) -> dict[str, Any]:
    """Of one part of a data set: the score of the sweep's winner, and of each of scikit-learn's models as it comes."""
    metric, score = METRICS["regression" if dataset == "diabetes" else "classification"]
    keys = YAML(typ="safe", pure=True).load(SPEC.read_text(encoding="utf-8"))
    keys["parameters"] |= {"dataset": {"value": dataset}, "test_fold": {"value": test_fold}}
    keys |= {"metric": metric, "run_cap": num_trials}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = tuner.Sweep(keys.pop("trainable"), **keys, output=folder).run(console=Silent())
        best = results.best_json()
    assert best is not None
    seconds = time.perf_counter() - started
    plain = {"dataset": dataset, "test_fold": test_fold}
    return {
        "dataset": dataset,
        "test_fold": test_fold,
        "score": score,
        "trials": results.counts(),
        "seconds": round(seconds, 1),
        "model": best["params"]["model"],
        "validation": best["value"],
        "winner": best["test"][score],
        "defaults": {name: evaluate({**plain, "model": name}, {"seed": 0}, "cpu")[score] for name in ESTIMATORS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", choices=list(BUNDLED))
    parser.add_argument("--test-folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--trials", type=int, default=40)
    arguments = parser.parse_args()
    path = RESULTS / "tabular.json"
    known = json.loads(path.read_text())["parts"] if path.exists() else []
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    for dataset in arguments.datasets:
        for test_fold in arguments.test_folds:
            part = measure(dataset, test_fold, arguments.trials)
            known = [k for k in known if (k["dataset"], k["test_fold"]) != (dataset, test_fold)] + [part]
            save("tabular", {"parts": sorted(known, key=lambda part: (part["dataset"], part["test_fold"]))})


if __name__ == "__main__":
    main()
