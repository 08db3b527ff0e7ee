"""A trial's progress: its time, its best value, and the rules that end it without a look at other trials."""

import math
import time
from collections.abc import Mapping
from typing import Any

from tuner.errors import NotFinite, Plateau, StopTrial
from tuner.metric import Goal, Metric


class Progress:
    """The progress of one trial, including steps before it was restored.

    Args:
        metrics: of the sweep; the first one decides the best.
    """

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._metrics = metrics
        self._time_s = 0.0
        self._resumed_at = time.monotonic()
        self._best = metrics[0].goal.worst if metrics else 0.0
        self._best_step = 0

    @property
    def time_s(self) -> float:
        """Seconds of training."""
        return self._time_s + time.monotonic() - self._resumed_at

    def saved(self) -> dict[str, float | str]:
        """The values that `restore` takes."""
        return {"time_s": self.time_s, "best": self._best, "best_step": self._best_step}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self._time_s, self._best, self._best_step = saved["time_s"], saved["best"], saved["best_step"]
        self._resumed_at = time.monotonic()

    def follow(self, step: int, values: Mapping[str, float]) -> None:
        """Update the best value, ignoring improvements too small for the patience."""
        if not self._metrics:
            return
        first = self._metrics[0]
        margin = first.patience.min_delta if first.patience else 0.0
        bar = self._best + margin if first.goal is Goal.MAXIMIZE else self._best - margin
        if first.goal.better(values[first.name], bar):
            self._best, self._best_step = values[first.name], step

    def judge(self, step: int, values: Mapping[str, float]) -> StopTrial | None:
        """Why the trial ends here, if it does: a value that is not finite, or a plateau."""
        for metric in self._metrics:
            value = values[metric.name]
            if not math.isfinite(value):
                return NotFinite(f"{metric.name} is {value} at step {step}")
        patience = self._metrics[0].patience if self._metrics else None
        if patience is not None and step - self._best_step >= patience.steps:
            return Plateau(
                f"{self._metrics[0].name} has not improved for {step - self._best_step} steps; "
                f"best {self._best:g} at step {self._best_step}"
            )
        return None
