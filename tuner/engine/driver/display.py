"""Shows a running sweep: the table of its trials, and a line for each event."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.console import Console, SweepView, TrialView
from tuner.engine.driver.controller import Controller
from tuner.engine.driver.resting import REST_S
from tuner.engine.driver.slots import Slots
from tuner.records import TrialRecord, TrialState
from tuner.run_folder.trial_files import ERROR_FILE, trial_dir
from tuner.study.recorder import Recorder
from tuner.study.running_trial import Running
from tuner.trial.devices import Memory


class Display:
    """Shows a sweep on a console, and listens to events of its trials."""

    def __init__(
        self, recorder: Recorder, controller: Controller, slots: Slots, console: Console, run_cap: int | None
    ) -> None:
        self._recorder = recorder
        self._space = recorder.spec.parameters
        self._slots = slots
        self._console = console
        self._run_cap = run_cap
        self._told_best = recorder.tally.best
        self._has_told_note = False
        self._advice: set[str] = set()
        recorder.on_end = self._tell_end
        recorder.on_retry = self._tell_retry
        recorder.on_damage = self._tell_damage
        recorder.on_note = self._tell_note
        recorder.on_advice = self._tell_advice
        recorder.on_aside = self._tell_aside
        controller.on_share = self._tell_share
        controller.on_rest = self._tell_rest

    def show(self) -> None:
        """Update the table."""
        self._console.update(self._view())

    def tell_best(self) -> None:
        """Print a new best step, if there is one since the last call."""
        best = self._recorder.tally.best
        if best is not None and best != self._told_best:
            self._told_best = best
            name = self._recorder.spec.metrics[0].name
            self._console.event(f"new best: trial {best.number:04d} {name}={best.value:.6g} at step {best.step}")

    def _tell_end(self, record: TrialRecord) -> None:
        reason = f" ({record.reason.value})" if record.reason else ""
        message = f": {record.message}" if record.message and record.state is not TrialState.PRUNED else ""
        text = f"trial {record.number:04d} {record.state.value}{reason}{_told(record, self._recorder)}{message}"
        self._console.event(text, is_detail=record.state is not TrialState.FAILED)

    def _tell_retry(self, running: Running, message: str) -> None:
        at = f"from its checkpoint of step {running.restore_step}" if running.restore_step else "from its start"
        self._console.event(f"trial {running.number:04d} is tried again, {at}: {message}")

    def _tell_damage(self, running: Running, damaged: Sequence[str]) -> None:
        at = f"that of step {running.restore_step} is used" if running.restore_step else "it starts anew"
        self._console.event(f"trial {running.number:04d} has damaged checkpoints ({'; '.join(damaged)}); {at}")

    def _tell_note(self, running: Running, note: str) -> None:
        """Print the first note only: all trials run the same loop."""
        if not self._has_told_note:
            self._console.event(f"trial {running.number:04d}: {note}")
        self._has_told_note = True

    def _tell_advice(self, advice: str) -> None:
        """Print advice about the trainable's code, which all trials run."""
        if advice not in self._advice:
            self._console.event(advice)
        self._advice.add(advice)

    def _tell_aside(self, number: int, aside: Path) -> None:
        self._console.event(f"trial {number:04d} is new, but files were in its place: they are kept in {aside}")

    def _tell_share(self, number: int, memory: Memory, share: float) -> None:
        held = f"{memory.peak / 2**30:.2f} of {memory.total / 2**30:.2f} GB"
        beside = f" beside the {memory.others / 2**30:.2f} GB of others" if memory.others else ""
        self._console.event(
            f"trial {number:04d} took {held} of its GPU{beside}: from now on each trial has {share:g} of a GPU, "
            f"{self._slots.count} at a time"
        )

    def _tell_rest(self, node: str, message: str) -> None:
        self._console.event(
            f"node {node} can't write to its disk ({message}): its trials move, and it is not used for "
            f"{REST_S / 60:.0f} minutes; {self._slots.count} at a time from now on"
        )

    def _view(self) -> SweepView:
        recorder = self._recorder
        metric = recorder.spec.metrics[0].name
        running = tuple(_trial_view(t, metric, self._space.varied(t.params)) for t in recorder.running.values())
        return SweepView(
            running=running,
            best=self._best_view(),
            counts={**recorder.tally.counts, TrialState.RUNNING: len(running)},
            run_cap=self._run_cap,
            elapsed_s=recorder.elapsed_s,
            remaining_s=self._remaining_s(),
            metric=recorder.spec.metrics[0].name,
            slots=self._slots.count,
        )

    def _best_view(self) -> TrialView | None:
        best = self._recorder.tally.best
        if best is None:
            return None
        return TrialView(
            number=best.number,
            state=self._recorder.tally.state_of(best.number),
            step=best.step,
            value=best.value,
            best=best.value,
            params=self._space.varied(self._recorder.params_of(best.number)),
            elapsed_s=0.0,
        )

    def _remaining_s(self) -> float | None:
        """The remaining time at the pace so far, at most the budget's hours."""
        recorder = self._recorder
        done = sum(recorder.tally.counts.values())
        pace = [recorder.pace_s * (self._run_cap - done)] if self._run_cap and recorder.pace_s else []
        hours = recorder.spec.budget.hours
        left = [hours * 3600 - recorder.elapsed_s] if hours else []
        return max(0.0, min([*pace, *left])) if pace or left else None


def _told(record: TrialRecord, recorder: Recorder) -> str:
    """`, 9 steps, best 0.98 at 7`, and the error's file if it failed."""
    told = f", {len(record.curve)} steps" if record.curve else ""
    best = record.best_step(recorder.spec.metrics[0].goal)
    told += f", best {record.curve[best]:.6g} at {best}" if best is not None else ""
    error = trial_dir(recorder.folder, record.number) / ERROR_FILE
    return told + (f" ({error})" if error.exists() else "")


def _trial_view(trial: Running, metric: str, params: Mapping[str, Any]) -> TrialView:
    return TrialView(
        number=trial.number,
        state=trial.state,
        step=trial.last_step,
        value=trial.last.metrics[metric] if trial.last else None,
        best=trial.best.metrics[metric] if trial.best else None,
        params=params,
        elapsed_s=trial.trained_s,
    )
