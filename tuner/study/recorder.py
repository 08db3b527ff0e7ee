"""Records a sweep: in the study first, then in the trials' files, TensorBoard and `best/`.

The engine calls it from one thread, and keeps no state itself that would have to survive. Does not depend on Ray.
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler

from tuner.records import FailureReason, Report, TrialRecord, TrialState
from tuner.run_folder.background import Beside
from tuner.run_folder.outage import storing
from tuner.run_folder.trial_files import TrialFiles, read_reports, set_trial_aside, trial_dir
from tuner.spec.sweep_spec import SweepSpec
from tuner.study.best_keeper import BestKeeper
from tuner.study.checkpoint_store import CheckpointStore
from tuner.study.database import DATABASE_ERRORS
from tuner.study.derived import mend
from tuner.study.running_trial import Attempts, Running
from tuner.study.study import Study
from tuner.study.sweep_end import Progress
from tuner.study.tally import Tally
from tuner.study.tensorboard import EventLog
from tuner.study.usage import Usage


class Recorder:
    """The record of a running sweep.

    Args:
        folder: the run folder.
        method: the method's name, or a sampler instance instead.
        start_with: configurations to try first; those of `spec` by default.
        clock: a monotonic clock, in seconds.

    Attributes:
        checkpoints: the existing ones.
        running: unfinished trials, by number.
        tally: the counts of the sweep as a whole.
        gpus: for each worker of the next trial; a whole one until the share of gpu `auto` is measured.
        on_end: called with the record of each trial that ends.
        on_retry: called with each trial that is retried, and why.
        on_note: called with a running trial and a note about it.
        on_advice: called with advice about the training loop's code.
        on_aside: called with each new trial that found files in its place, and where those are now.
        on_damage: called with each trial that resumes from an older checkpoint, and what is wrong with newer ones.
    """

    def __init__(
        self,
        folder: Path,
        spec: SweepSpec,
        study: Study,
        method: str | BaseSampler,
        seed: int,
        start_with: Sequence[Mapping[str, Any]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.study = study
        self.running: dict[int, Running] = {}
        self.tally = Tally(spec.metrics[0].goal)
        self.gpus = study.gpu_share() or spec.resources.gpus
        self.on_end: Callable[[TrialRecord], None] = lambda record: None
        self.on_retry: Callable[[Running, str], None] = lambda running, message: None
        self.on_note: Callable[[Running, str], None] = lambda running, note: None
        self.on_advice: Callable[[str], None] = lambda advice: None
        self.on_aside: Callable[[int, Path], None] = lambda number, aside: None
        self.on_damage: Callable[[Running, Sequence[str]], None] = lambda running, damaged: None
        self._method, self._seed = method, seed
        self._start_with = spec.start_with if start_with is None else start_with
        self._clock = clock
        self._usage = Usage(study, spec.resources.workers, clock=clock)
        self._beside = Beside()
        self._best_keeper = BestKeeper(folder, study, seed, self._beside)
        self.checkpoints = CheckpointStore(folder, spec.checkpoints, spec.metrics[0].goal, self._beside)
        self._is_summed_up = bool(study.summary())
        self._params_of_best: dict[int, Mapping[str, Any]] = {}
        records = study.records()
        for record in records:
            self._remember(record)
        mend(folder, spec, records)

    @property
    def elapsed_s(self) -> float:
        return self._usage.elapsed_s

    def set_elapsed(self, elapsed_s: float) -> None:
        """Set the clock back: a sweep that is paused with nothing running spends no time."""
        self._usage.set_elapsed(elapsed_s)

    @storing(*DATABASE_ERRORS)
    def look(self, training: Collection[int]) -> None:
        """Count the time that passes, and record it every few seconds; `training` are the trials with processes."""
        self._usage.look(self.running, training)

    @property
    def num_asked(self) -> int:
        return self.study.num_trials

    def progress(self) -> Progress:
        tally = self.tally
        good = tally.counts[TrialState.COMPLETED] + tally.counts[TrialState.PRUNED] + tally.num_diverged
        return Progress(
            elapsed_s=self.elapsed_s,
            gpu_s=self._usage.gpu_s(self.running),
            num_good=good + sum(running.last is not None for running in self.running.values()),
            num_failed=tally.num_failed,
            mistakes=tally.mistakes,
            best=tally.best.value if tally.best else None,
        )

    @property
    def pace_s(self) -> float | None:
        """Seconds of wall time per trial ended since this process took over."""
        ended = self.tally.num_ended_now
        return self._usage.run_s / ended if ended else None

    def params_of(self, number: int) -> Mapping[str, Any]:
        if number in self.running:
            return self.running[number].params
        if number not in self._params_of_best:
            self._params_of_best = {number: self.study.record(number).params}
        return self._params_of_best[number]

    @storing(*DATABASE_ERRORS)
    def ask(self) -> Running | None:
        """The next trial, with its folder ready; None if the space is exhausted."""
        asked = self.study.ask(self._method, self._seed, self._start_with)
        if asked is None:
            return None
        if self._is_summed_up:
            # It is of an earlier run; if this driver is killed, it would look like this run's end.
            self.study.set_summary({})
            self._is_summed_up = False
        if not asked.resumed and (aside := set_trial_aside(self.folder, asked.number)):
            self.on_aside(asked.number, aside)
        files = TrialFiles(trial_dir(self.folder, asked.number))
        log, gpus = self._event_log(asked.number), asked.gpus or self.gpus
        running = Running(asked.number, asked.params, files, log, gpus, reported_at=self._clock())
        self.running[asked.number] = running
        running.attempts = Attempts(**asked.attempts)
        if asked.resumed:
            self._rewind(running, self.study.record(asked.number).curve)
            self._usage.taken_up(running)
        else:
            files.write_params(asked.params)
            running.log.start(asked.params)
        return running

    @storing(*DATABASE_ERRORS)
    def may_continue(self, number: int) -> bool:
        return self.study.may_continue(self._method, self._seed, number, self.spec.start_with)

    @storing(*DATABASE_ERRORS)
    def report(self, number: int, reports: Sequence[Report]) -> None:
        """Record a batch of a running trial's reports."""
        if not reports:
            return
        running = self.running[number]
        if running.has_new_params:
            running.has_new_params = False
            self.study.change_params(number, reports[0].step - 1, running.params)
        if reports[0].step <= running.last_step:
            # It took over another trial's state and continues from there: its own later steps are undone.
            self._restart_from(running, running.files.cut(reports[0].step - 1))
        self.study.report(number, reports)
        self.tally.has_reports = True
        running.become(TrialState.RUNNING)
        running.silent_gpu_s = 0.0
        running.files.append(reports)
        running.log.add(reports)
        now = self._clock()
        running.step_times_s = [*running.step_times_s[-20:], (now - running.reported_at) / len(reports)]
        running.reported_at = now
        for report in reports:
            self._follow(running, report)
            if report.note:
                self.on_note(running, report.note)
            if report.advice:
                self.on_advice(report.advice)
        self.checkpoints.drop_while_running(number)

    @storing(*DATABASE_ERRORS)
    def finish(
        self,
        number: int,
        state: TrialState,
        reason: FailureReason | None = None,
        message: str = "",
        error: str = "",
    ) -> None:
        """End a trial in a final state. A trial that reported nothing can't be COMPLETED: it is FAILED."""
        running = self.running[number]
        if state is TrialState.COMPLETED and running.last is None:
            state, reason = TrialState.FAILED, FailureReason.ERROR
            message = "the trainable returned without a single trial.report"
        elif state is TrialState.COMPLETED and not all(map(math.isfinite, self._values(running))):
            state, reason, message = TrialState.FAILED, FailureReason.NAN, "it reported no finite value"
        running.become(state)
        if error:
            running.files.write_error(error)
        # Before the study records the end: files of a trial without a recorded end are rewritten when it resumes.
        running.log.end(state)
        self.study.tell(
            number,
            state,
            values=self._values(running) if state is TrialState.COMPLETED else None,
            reason=reason,
            message=message,
            last_step=running.last_step,
            duration_s=running.trained_s,
            gpu_s=running.gpu_s,
            ended_at_s=self.elapsed_s,
        )
        del self.running[number]
        running.log.close()
        running.files.close()
        running.files.tidy()
        self.tally.finished(number, state, reason, message)
        self._usage.finished(number, running.gpu_s, self.elapsed_s)
        self._best_keeper.keep(self.tally.best)
        self.checkpoints.drop_after(self.tally.ended)
        self.on_end(self.study.record(number))

    @storing(*DATABASE_ERRORS)
    def change_params(self, number: int, params: Mapping[str, Any]) -> None:
        """Give a running trial the configuration that a rule has chosen."""
        running = self.running[number]
        running.params, running.has_new_params = dict(params), True
        running.files.write_params(params)

    @storing(*DATABASE_ERRORS)
    def retry(self, number: int, message: str, error: str, gpus: float | None = None) -> Running:
        """Take a failed attempt back to its last checkpoint, to continue, with other `gpus` if given."""
        running = self.running[number]
        self.study.set_attempts(number, asdict(running.attempts))
        running.files.write_error(error or message)
        self._rewind(running, dict(running.curve))
        if gpus is not None:
            running.gpus = gpus
            self.study.set_gpus(number, gpus)
        self.on_retry(running, message)
        return running

    @storing(*DATABASE_ERRORS)
    def interrupt(self, number: int) -> None:
        """Leave a trial as it is, to resume with the sweep."""
        running = self.running.pop(number)
        running.become(TrialState.PENDING)
        self._usage.left(running)
        running.log.close()
        running.files.close()
        self.study.interrupt(number)

    def settle(self) -> None:
        """Block until `best/` is written and unneeded checkpoints are deleted. Raises `StorageError`."""
        self._beside.finish()

    @storing(*DATABASE_ERRORS)
    def close(self, summary: Mapping[str, Any]) -> None:
        """Record the summary; running trials are left to be resumed."""
        for number in list(self.running):
            self.interrupt(number)
        self.checkpoints.unpin()
        self.checkpoints.drop_after(self.tally.ended)
        for number in self.tally.cut_short:
            self.checkpoints.drop_late(number)
        self._best_keeper.keep(self.tally.best, surely=True)
        self.settle()
        self._beside.close()
        self._usage.book(self.running)
        self.study.set_summary({**summary, "elapsed_s": self.elapsed_s})
        self.study.close()

    def abandon(self) -> None:
        """Release everything after nothing can be written any more; resuming continues from the record."""
        self._beside.close()
        for running in self.running.values():
            with contextlib.suppress(OSError):
                running.files.close()
                running.log.close()
        with contextlib.suppress(OSError, *DATABASE_ERRORS):
            self.study.close()

    def _event_log(self, number: int) -> EventLog:
        return EventLog(self.folder / "tensorboard" / f"{number:04d}", self.spec.parameters)

    def _follow(self, running: Running, report: Report) -> None:
        metric = self.spec.metrics[0]
        value = report.metrics[metric.name]
        trained_s = max(0.0, report.time_s - (running.last.time_s if running.last else 0.0))
        running.trained_s += trained_s
        running.reported_gpu_s += trained_s * running.gpus * self.spec.resources.workers
        running.last = report
        running.curve[report.step] = value
        if math.isfinite(value) and (
            running.best is None or metric.goal.better(value, running.best.metrics[metric.name])
        ):
            running.best = report
        if report.has_checkpoint:
            self.checkpoints.add(running.number, report.step, value)
        self.tally.reported(running.number, report.step, value)

    def _rewind(self, running: Running, recorded: Mapping[int, float]) -> None:
        self.settle()  # a trial must not resume from a checkpoint that is about to be deleted
        rewound = running.files.rewind(max(recorded, default=0))
        running.restore_step = rewound.step
        # The configuration goes back with the state: a rule's later changes are undone.
        running.params, running.has_new_params = self.study.record(running.number).params_at(rewound.step + 1), False
        running.files.write_params(running.params)
        self.study.cut_changes(running.number, rewound.step)
        self._restart_from(running, rewound.kept)
        if rewound.damaged:
            self.on_damage(running, rewound.damaged)

    def _restart_from(self, running: Running, kept: Sequence[Report]) -> None:
        """Take the record of a running trial back to these reports."""
        running.log.close()
        self.checkpoints.forget(running.number)
        running.last = running.best = None
        used_s = running.gpu_s
        running.trained_s, running.curve, running.step_times_s = 0.0, {}, []
        running.reported_gpu_s = running.silent_gpu_s = 0.0
        running.reported_at = self._clock()
        for report in kept:
            self._follow(running, report)
        # The time of undone steps still counts.
        running.lost_gpu_s, running.reported_gpu_s = max(used_s, running.reported_gpu_s), 0.0
        best = self.tally.best
        if best and best.number == running.number and best.step not in running.curve:
            self._best_keeper.forget()
            self.tally.find_best((one.number, self._curve(one)) for one in self.study.records())
        path = self.folder / "tensorboard" / f"{running.number:04d}"
        EventLog.rewrite(path, running.params, kept, space=self.spec.parameters)
        running.log = self._event_log(running.number)

    def _curve(self, record: TrialRecord) -> Mapping[int, float]:
        return self.running[record.number].curve if record.number in self.running else record.curve

    def _values(self, running: Running) -> list[float]:
        """The values for the study: the best of the curve, or with several metrics those of the last step."""
        report = running.last if len(self.spec.metrics) > 1 else running.best or running.last
        assert report is not None
        return [report.metrics[metric.name] for metric in self.spec.metrics]

    def _remember(self, record: TrialRecord) -> None:
        """Take over the record of a trial of an earlier run."""
        self.tally.has_reports |= bool(record.curve)
        folder = trial_dir(self.folder, record.number)
        # A killed driver may have recorded more in the study than in the files; that step comes again.
        steps = record.curve if record.state.is_final else {report.step for report in read_reports(folder)}
        for step, value in record.curve.items():
            if step in steps:
                self.tally.reported(record.number, step, value)
        if not record.state.is_final:
            return
        self.tally.taken_up(record.number, record.state, record.reason)
        self._usage.finished(record.number, record.gpu_s, record.ended_at_s)
        self.checkpoints.take_up(record.number, record.curve)
