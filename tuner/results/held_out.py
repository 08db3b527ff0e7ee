"""Evaluates a sweep's winner once on the test data, which the search never sees."""

import json
from collections.abc import Callable
from pathlib import Path

from tuner.results.results import Results
from tuner.results.scores import find_evaluate, score, write_report
from tuner.run_folder.trial_files import read_json, write_atomic
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.devices import best_device
from tuner.trial.trial import Trial


def evaluate_best(folder: Path, train: Callable[[Trial], None]) -> dict[str, float | None] | None:
    """Evaluate the best checkpoint on the test data and write `best/test.json`; done only once for a checkpoint.

    Uses the function `evaluate(params, state, device)` of the trainable's module; returns None if there is none, or no
    checkpoint. Its `report`, if it returns one, goes to `best/report.json` and `best/report.txt`.
    """
    evaluate = find_evaluate(train)
    results = Results(folder)
    best = results.best
    target = folder / "best" / "test.json"
    if evaluate is None or best is None or best.checkpoint is None:
        return None
    done = read_json(target)
    if (done.get("trial"), done.get("step")) == (best.trial.number, best.step):
        return None
    state, _ = load_checkpoint(results.bring(best.checkpoint))
    scores, report = score(evaluate, best.params, state, best_device())
    write_report(folder / "best", report)
    write_atomic(target, json.dumps({"trial": best.trial.number, "step": best.step, **scores}, indent=2) + "\n")
    return scores
