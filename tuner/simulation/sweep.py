"""A simulated sweep: a method and an early stopping rule by name, on the same objects that a real sweep uses."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from optuna.samplers import RandomSampler
from ray.tune.schedulers import TrialScheduler

from tuner.methods.table import make_sampler
from tuner.records import FailureReason, Report, TrialRecord, TrialState
from tuner.results.start_from import History
from tuner.simulation.rows import RowSampler
from tuner.simulation.task import Task
from tuner.stopping.names import metric_key
from tuner.stopping.standin import SchedulerTrial
from tuner.stopping.table import STEP, make_stopping
from tuner.study.study import Study


class SimulatedSweep:
    """Drives our study, a method and an early stopping rule as the engine does.

    The study's journal is in memory if the machine has a folder there.

    Args:
        history: earlier trials to start from; for tasks that have a curve for every configuration.
    """

    def __init__(
        self, task: Task, seed: int, method: str, rule: Mapping[str, Any] | None, history: History | None = None
    ) -> None:
        history = history or History()
        self._task, self._seed, self._name = task, seed, method
        self._left = ExitStack()
        in_memory = Path("/dev/shm")
        folder = self._left.enter_context(tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None))
        self._study = Study(
            Path(folder), "simulated", None, task.metrics, task.space, write=True, earlier=history.trials
        )
        self._start_with = history.start_with
        self._left.callback(self._study.close)
        self._rows = None if task.rows is None else RowSampler(RandomSampler(), task.rows, task.space)
        self._stopping = make_stopping(rule, task.metrics, task.space)
        self._stopping.consult(lambda number: self._study.may_continue(method, seed, number))
        self._running: dict[int, SchedulerTrial] = {}
        self._told: dict[int, Sequence[float]] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        if self._rows is None:
            asked = self._study.ask(self._name, self._seed, self._start_with)
        elif self._rows.num_left:
            self._rows.inner = make_sampler(self._name, self._seed, self._study.num_trials)
            asked = self._study.ask(self._rows, self._seed)
        else:
            return None
        assert asked is not None
        trial = self._running[asked.number] = SchedulerTrial(f"{asked.number:04d}")
        self._stopping.scheduler.on_trial_add(None, trial)
        return asked.number, asked.params

    def report(self, number: int, step: int, value: Any, is_last: bool) -> bool:
        values = value if isinstance(value, tuple) else (value,)
        metrics = {metric.name: one for metric, one in zip(self._task.metrics, values, strict=True)}
        trial = self._running[number]
        reports = [Report(step, metrics, float(step), float(step))]
        self._study.report(number, reports)
        self._stopping.watch(reports)
        result = {**{metric_key(name): one for name, one in metrics.items()}, STEP: step}
        if not all(map(math.isfinite, values)):
            self._stopping.scheduler.on_trial_complete(None, trial, {})
            self._tell(number, TrialState.FAILED, step, FailureReason.NAN)
            return False
        best = self._told.get(number)
        # As in a recorder: the best of the curve, or with several metrics those of the last step.
        if best is None or len(values) > 1 or self._task.metrics[0].goal.better(values[0], best[0]):
            self._told[number] = values
        goes_on = not is_last
        if self._stopping.asking(step, step - 1):
            decision = self._stopping.scheduler.on_trial_result(None, trial, result)
            assert decision != TrialScheduler.PAUSE, "a simulated trial can't be paused"
            goes_on = goes_on and decision == TrialScheduler.CONTINUE
        if not goes_on:
            self._stopping.scheduler.on_trial_complete(None, trial, result)
            self._tell(number, TrialState.COMPLETED if is_last else TrialState.PRUNED, step)
        return goes_on

    def records(self) -> list[TrialRecord]:
        """All trials so far."""
        return self._study.records()

    def close(self) -> None:
        self._left.close()

    def _tell(self, number: int, state: TrialState, step: int, reason: FailureReason | None = None) -> None:
        values = self._told[number] if state is TrialState.COMPLETED else None
        self._study.tell(number, state, values=values, reason=reason, last_step=step)
        del self._running[number]
        self._told.pop(number, None)
