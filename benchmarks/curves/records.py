"""Runs on disk, one JSON line each, so that a comparison that was ended goes on where it stood."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tuner.metric import Goal
from tuner.simulation.simulator import Run


@dataclass(frozen=True)
class Record:
    """A run, and what of it the tables need.

    Attributes:
        ask_ms: the median of a suggestion.
        budget: steps.
        commit: that it was made on.
    """

    method: str
    task: str
    family: str
    seed: int
    budget: int
    incumbents: list[tuple[int, float]]
    trials: int
    full_runs: int
    ask_ms: float
    commit: str

    @property
    def key(self) -> tuple[str, str, int]:
        return self.method, self.task, self.seed


def summarise(
    run: Run, goal: Goal, method: str, task: str, family: str, seed: int, budget: int, max_step: int, commit: str
) -> Record:
    return Record(
        method=method,
        task=task,
        family=family,
        seed=seed,
        budget=budget,
        incumbents=run.incumbents(goal),
        trials=len(run.lengths),
        full_runs=sum(length == max_step for length in run.lengths),
        ask_ms=float(np.median(run.ask_ms)),
        commit=commit,
    )


def read_records(path: Path) -> list[Record]:
    if not path.exists():
        return []
    return [Record(**json.loads(line)) for line in _whole(path).splitlines()]


def append_records(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.write_text(_whole(path))
    with path.open("a") as file:
        for record in records:
            file.write(json.dumps(vars(record)) + "\n")
            file.flush()


def _whole(path: Path) -> str:
    """Without a last line that a process which was killed has left half written."""
    text = path.read_text()
    return text[: text.rfind("\n") + 1]
