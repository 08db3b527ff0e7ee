"""Compares methods on one task, with several seeds each."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.errors import SpecError
from tuner.methods.table import METHODS
from tuner.run_folder.trial_files import finite
from tuner.simulation.simulator import best_after, simulate
from tuner.simulation.sweep import SimulatedSweep
from tuner.simulation.task import Task
from tuner.trial.seeds import derive_seed

DEFAULT = ("random", "random+asha", "tpe+asha", "bayes+auto")
# Shares of the budget at which the best value so far is reported.
SHARES = (0.1, 0.25, 0.5, 1.0)
# Those that never pause a trial, which is what a recorded curve allows.
_RULES = ("asha", "auto", "hyperband")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a method, as means over seeds.

    Attributes:
        best: the best value so far, by the spent share of the budget; NaN if a seed had none yet.
        error: standard error of the last one; NaN with one seed.
        trials, whole: how many trials began, and how many ran to their full length.
    """

    method: str
    best: Mapping[float, float]
    error: float
    trials: float
    whole: float

    def to_json(self) -> dict[str, Any]:
        best = {f"{share:g}": finite(value) for share, value in self.best.items()}
        return {**vars(self), "best": best, "error": finite(self.error)}


def check_methods(names: Sequence[str]) -> None:
    """Raise `SpecError` for a name that is not METHOD or METHOD+RULE."""
    problems = []
    for name in names:
        method, plus, rule = name.partition("+")
        if method not in METHODS or method == "grid":
            allowed = ", ".join(sorted(set(METHODS) - {"grid"}))
            problems.append(f"--method {name}: {method!r} is not a method; use one of {allowed}.")
        if plus and rule not in _RULES:
            problems.append(f"--method {name}: {rule!r} can't be simulated; use one of {', '.join(_RULES)}.")
    if problems:
        raise SpecError(problems)


def compare(task: Task, names: Sequence[str], *, seeds: int, workers: int, trainings: int) -> Iterator[Outcome]:
    """Run each method with each seed, on a budget of whole trainings; yield an outcome as each method is done."""
    budget = trainings * task.max_step
    for name in names:
        method, _, rule = name.partition("+")
        halving = {"type": rule, "min_iter": 1, "max_iter": task.max_step, "eta": 3} if rule else None
        runs = []
        for seed in range(seeds):
            np.random.seed(derive_seed(seed, 0))  # which Ray's hyperband draws a trial's bracket from
            sweep = SimulatedSweep(task, derive_seed(seed, 0), method, halving)
            try:
                runs.append(simulate(task, sweep, workers=workers, budget=budget))
            finally:
                sweep.close()
        found = [run.incumbents(task.metrics[0].goal) for run in runs]
        best = [[best_after(incumbents, share * budget) for share in SHARES] for incumbents in found]
        last = [values[-1] for values in best]
        yield Outcome(
            method=name,
            best={share: statistics.fmean(column) for share, *column in zip(SHARES, *best, strict=True)},
            error=statistics.stdev(last) / math.sqrt(seeds) if seeds > 1 else math.nan,
            trials=statistics.fmean(len(run.lengths) for run in runs),
            whole=statistics.fmean(run.lengths.count(task.max_step) for run in runs),
        )
