"""The metrics that a sweep watches."""

import enum
import math
from dataclasses import dataclass


class Goal(enum.Enum):
    """The direction in which a metric improves."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`; NaN is never better."""
        return a > b if self is Goal.MAXIMIZE else a < b

    def rank(self, value: float) -> tuple[bool, float]:
        """A sort key: the best value first, values that are not finite last."""
        return not math.isfinite(value), -value if self is Goal.MAXIMIZE else value

    @property
    def worst(self) -> float:
        return float("-inf") if self is Goal.MAXIMIZE else float("inf")


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
