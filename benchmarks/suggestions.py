"""What a suggestion costs in studies of 100, 1,000 and 5,000 trials: our sampler, and Optuna's TPE beside it.

python -m benchmarks.suggestions [--trials 100 1000 5000]

Six parameters of all kinds; a trial reports at the rungs 1, 3, 9 and 27 and one in three goes on from each, as under
early stopping. The study is that of a sweep, with its journal on disk. A model's fit is a part of a suggestion.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.common import save
from tuner.metric import Goal, Metric
from tuner.records import Report, TrialState
from tuner.spec.space import SearchSpace
from tuner.study.study import Study

SPACE = SearchSpace.from_dict(
    {
        "lr": {"min": 1e-5, "max": 1.0, "distribution": "log_uniform_values"},
        "momentum": {"min": 0.0, "max": 0.99},
        "dropout": {"min": 0.0, "max": 0.8},
        "layers": {"min": 1, "max": 8},
        "width": {"min": 16, "max": 1024, "distribution": "int_log_uniform"},
        "optimizer": {"values": ["sgd", "adam", "adamw"]},
    }
)
LOSS = Metric("loss", Goal.MINIMIZE)
MEASURED = 60


def loss(params: dict[str, Any], step: int, rng: random.Random) -> float:
    away = (np.log10(params["lr"]) + 2) ** 2 + params["dropout"] + 0.1 * abs(params["layers"] - 4)
    return float(away + 1 / step + 0.1 * (params["optimizer"] == "sgd") + 0.05 * rng.random())


def run(study: Study, method: str, count: int, rng: random.Random) -> list[float]:
    """Milliseconds of each of so many suggestions; four trials run at a time."""
    asked_ms, running = [], []
    for _ in range(count):
        began = time.perf_counter()
        asked = study.ask(method, 0)
        asked_ms.append((time.perf_counter() - began) * 1e3)
        assert asked is not None
        running.append(asked)
        if len(running) < 4:
            continue
        trial = running.pop(0)
        for step in (1, 3, 9, 27):
            value = loss(dict(trial.params), step, rng)
            study.report(trial.number, [Report(step, {"loss": value}, 1.0, 1.0)])
            if step == 27 or rng.random() > 1 / 3:
                break
        if step == 27:
            study.tell(trial.number, TrialState.COMPLETED, values=[value], last_step=step)
        else:
            study.tell(trial.number, TrialState.PRUNED, last_step=step)
    for trial in running:
        study.tell(trial.number, TrialState.STOPPED)
    return asked_ms


def measure(method: str, trials: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), "suggestions", None, [LOSS], SPACE, write=True)
        rng = random.Random(0)
        # What is in the study does not change what a suggestion costs: random trials fill it faster.
        run(study, "random", trials - MEASURED, rng)
        asked_ms = run(study, method, MEASURED, rng)
        study.close()
    return {
        "method": method,
        "trials": trials,
        "median_ms": statistics.median(asked_ms),
        "p95_ms": float(np.quantile(asked_ms, 0.95)),
        "mean_ms": statistics.fmean(asked_ms),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = [measure(method, trials) for method in ("bayes", "tpe") for trials in given.trials]
    save("suggestions", {"parameters": len(SPACE.parameters), "rows": rows})


if __name__ == "__main__":
    main()
