"""`Running`, a trial between being asked for and its end, as the driver knows it."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.files import TrialFiles
from tuner.tensorboard import EventLog
from tuner.trial import Report


@dataclass
class Running:
    """A trial that was asked for and has not ended."""

    number: int
    params: Mapping[str, Any]
    files: TrialFiles
    log: EventLog
    # Of each of its workers.
    gpus: float = 0.0
    restore_step: int = 0
    last: Report | None = None
    best: Report | None = None
    curve: dict[int, float] = field(default_factory=dict)
    retries: int = 0
    # Processes that it lost before it could report anything.
    losses: int = 0
    # Nodes that it lost without a newer checkpoint between, and the step that it had gone on from.
    lost_nodes: int = 0
    lost_from: int = 0
    # Its node was lost, and it has not reported since.
    is_preempted: bool = False
    # Given by a rule and not in the study yet: they hold from the next report on.
    has_new_params: bool = False
    trained_s: float = 0.0
    # The same by the GPUs of all its workers.
    gpu_s: float = 0.0
    reported_at: float = field(default_factory=time.monotonic)
    # Between reports of this process, the latest only.
    step_times_s: list[float] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        return self.last.step if self.last else 0

    def lose_node(self) -> int:
        """Its node was lost: how many were, without a newer checkpoint between."""
        self.lost_nodes = 1 if self.restore_step > self.lost_from else self.lost_nodes + 1
        self.lost_from, self.is_preempted = self.restore_step, True
        return self.lost_nodes

    def median_step_s(self) -> float | None:
        return statistics.median(self.step_times_s) if self.step_times_s else None
