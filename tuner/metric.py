"""The metrics that a sweep watches."""

from dataclasses import dataclass

from tuner.records import Goal


@dataclass(frozen=True)
class Patience:
    """Ends a trial once its metric has not improved by more than `min_delta` for `steps` reports."""

    steps: int
    min_delta: float = 0.0


@dataclass(frozen=True)
class Metric:
    """A metric that a sweep watches. `target` ends the sweep when reached, `patience` a trial."""

    name: str
    goal: Goal = Goal.MINIMIZE
    target: float | None = None
    patience: Patience | None = None
