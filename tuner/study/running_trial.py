"""`Running`, the driver's record of an unfinished trial, and its `Attempts`."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.records import Report, TrialState
from tuner.run_folder.trial_files import TrialFiles
from tuner.study.tensorboard import EventLog


@dataclass
class Attempts:
    """Losses of a trial's attempts; kept in the study, so that a driver that takes over continues the counts.

    Attributes:
        losses: processes lost before they could report anything.
        lost_nodes: nodes lost without a newer checkpoint between.
        lost_from: the step it had resumed from when it lost the last node.
    """

    retries: int = 0
    losses: int = 0
    lost_nodes: int = 0
    lost_from: int = 0

    def count_lost_node(self, restore_step: int) -> None:
        """Count a node that was lost after the trial had resumed from a step."""
        self.lost_nodes = 1 if restore_step > self.lost_from else self.lost_nodes + 1
        self.lost_from = restore_step


@dataclass
class Running:
    """An unfinished trial."""

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
    attempts: Attempts = field(default_factory=Attempts)
    state: TrialState = TrialState.RUNNING
    # Set by a rule and not in the study yet: they apply from the next report on.
    has_new_params: bool = False
    trained_s: float = 0.0
    # The same multiplied by the GPUs of all its workers: as reported in this attempt; since the last report; and before
    # this attempt, or for undone steps.
    reported_gpu_s: float = 0.0
    silent_gpu_s: float = 0.0
    lost_gpu_s: float = 0.0
    reported_at: float = field(default_factory=time.monotonic)
    # Between reports of this process, the latest only.
    step_times_s: list[float] = field(default_factory=list)

    def become(self, state: TrialState) -> None:
        """Change its state. Raises `ValueError` if that change is not allowed."""
        if not self.state.can_become(state):
            raise ValueError(f"trial {self.number} is {self.state.value} and can't become {state.value}")
        self.state = state

    @property
    def last_step(self) -> int:
        return self.last.step if self.last else 0

    @property
    def gpu_s(self) -> float:
        return self.lost_gpu_s + self.reported_gpu_s + self.silent_gpu_s

    def median_step_s(self) -> float | None:
        return statistics.median(self.step_times_s) if self.step_times_s else None
