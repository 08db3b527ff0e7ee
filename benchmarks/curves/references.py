"""The two values that a regret is measured between: the best known of a task, and what one random training reaches.

`python -m benchmarks.curves.references` finds them anew (ten minutes on one core) and writes `references.json`.
"""

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks.curves.tasks import LCBench, Recorded, TaskSet, load_task, stream_seed, task_names
from tuner.methods.optuna_space import distribution

FILE = Path(__file__).parent / "references.json"
# Random full trainings of a surrogate's task, and how its best are improved on.
NUM_RANDOM = 2000
PARENTS = 20
CHILDREN = 10
ROUNDS = 25


@dataclass(frozen=True)
class Reference:
    """Attributes:
    best: the best value known, at any step of any configuration.
    random: the median over random configurations of the best value of a full training.
    """

    best: float
    random: float

    def regret(self, value: float) -> float:
        """0 for the best known, 1 for what one random full training reaches."""
        return max(0.0, (self.best - value) / (self.best - self.random))


@functools.cache
def references() -> dict[str, Reference]:
    return {name: Reference(**values) for name, values in json.loads(FILE.read_text()).items()}


@functools.cache
def reference(name: str) -> Reference:
    """Of a recorded sweep they are seen in its table."""
    if name in references():
        return references()[name]
    task = load_task(name)
    assert isinstance(task, Recorded), f"{name}: run `python -m benchmarks.curves.references` first"
    return Reference(task.best, task.middle)


def find(name: str) -> Reference:
    task = load_task(name)
    if isinstance(task, TaskSet):
        curves = np.where(np.isfinite(task.curves), task.curves, np.inf)
        return Reference(float(curves.min()), float(np.median(curves.min(axis=1))))
    assert isinstance(task, LCBench)
    rng = np.random.default_rng(stream_seed(name, -1))
    points = rng.random((NUM_RANDOM, len(task.space.parameters)))
    values = _best_of_curves(task, points)
    middle = float(np.median(values))
    for round_ in range(ROUNDS):
        top = np.argsort(values)[-PARENTS:]
        points, values = points[top], values[top]
        # Each child differs from its parent in some coordinates, by less and less.
        parents = np.repeat(points, CHILDREN, axis=0)
        moves = rng.normal(scale=0.2 * 0.9**round_, size=parents.shape) * (rng.random(parents.shape) < 0.5)
        children = np.clip(parents + moves, 0.0, 1.0)
        points = np.vstack([points, children])
        values = np.concatenate([values, _best_of_curves(task, children)])
    return Reference(float(values.max()), middle)


def _best_of_curves(task: LCBench, points: np.ndarray) -> np.ndarray:
    """`[n]` for points `[n, parameters]` of the unit cube; every third epoch is looked at."""
    columns = []
    for unit, parameter in zip(points.T, task.space.parameters, strict=True):
        dist = distribution(parameter.domain)  # type: ignore[arg-type]  # a surrogate has no constants
        assert isinstance(dist, FloatDistribution | IntDistribution)
        low, high = (np.log(dist.low), np.log(dist.high)) if dist.log else (dist.low, dist.high)
        column = low + unit * (high - low)
        column = np.exp(column) if dist.log else column
        columns.append(np.round(column) if isinstance(dist, IntDistribution) else column)
    epochs = np.arange(4, 53, 3)
    rows = np.column_stack([np.tile(epochs, len(points)), np.repeat(np.column_stack(columns), len(epochs), axis=0)])
    best: np.ndarray = task.predict(rows).reshape(len(points), len(epochs)).max(axis=1)
    return best


def main() -> None:
    found = {name: asdict(find(name)) for name in task_names("all")}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
