"""Ray Tune's control loop, made to take batches of reports and to forget what the study remembers."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune.result import DONE

from tuner.engine.cluster import alive_nodes, can_grow, is_own_node, name_of
from tuner.engine.driver.losses import ending_of
from tuner.engine.driver.ray_trial import RayTrial, result_of
from tuner.engine.driver.remedies import Remedy, remedy_for
from tuner.engine.driver.search import StudySearch
from tuner.engine.driver.slots import Slots
from tuner.engine.driver.stalls import forgive, is_overdue, stall
from tuner.engine.driver.warm import WarmController
from tuner.engine.process.report_queue import Batch, Ending
from tuner.engine.ray_compat.actors import TrackedActor
from tuner.engine.ray_compat.runtime import id_of, node_of
from tuner.errors import SpecError, StorageError
from tuner.records import FailureReason, Report, TrialState
from tuner.run_folder.checkpoints import trial_and_step
from tuner.run_folder.outage import outage
from tuner.stopping.table import STEP, Stopping
from tuner.study.recorder import Recorder
from tuner.trial.devices import Memory, share_for

# How long an ended process may take to be gone.
EXIT_GRACE_S = 0.5
# How long a trial waits for an unavailable whole GPU, and lets all others wait.
GIVE_UP_WAITING_S = 60.0
# How long the process of an ended trial may take to report its memory.
MEASURE_TIMEOUT_S = 10.0


class Controller(WarmController):
    """Runs the trials of a study.

    Unlike its base class, it records whole batches before it asks the scheduler about the few reports that matter to
    it, retries under the same number, and keeps no trial after its end.

    A trial that ran out of memory on a share of a GPU is retried on a whole one. While it waits, no other trial starts
    and no idle process is kept, so that it gets its GPU once the running trials have ended.

    Attributes:
        is_abandoned: whether the cluster ended before the sweep.
        on_rest: called with the name of each node that has to rest, and why.
        on_share: called when gpu `auto` has chosen a share, with the number and memory of the measured trial.
    """

    def __init__(
        self, recorder: Recorder, stopping: Stopping, search: StudySearch, slots: Slots, **kwargs: Any
    ) -> None:
        self._recorder = recorder
        self._asking, self._watch = stopping.asking, stopping.watch
        self._search = search
        self._slots = slots
        self._usual = slots.usual
        self._is_winding_down = self._has_cut_short = self.is_abandoned = False
        self._left: set[TrackedActor] = set()
        self._handled: Exception | None = None
        # For trials that were given a whole GPU, how they failed before; and since when none is available.
        self._out_of_memory: dict[RayTrial, Ending] = {}
        self._hopeless_since: dict[RayTrial, float] = {}
        self.on_rest: Callable[[str, str], None] = lambda node, message: None
        self.on_share: Callable[[int, Memory, float], None] = lambda number, memory, share: None
        super().__init__(search_alg=search, scheduler=stopping.scheduler, **kwargs)
        self.queue_at_most(slots.count)

    def wind_down(self) -> None:
        """Start no more trials, and leave each at its next report, to be resumed; does not block.

        Call it again until all are left: a trial that was being saved may be paused by then.
        """
        self._search.finish("interrupted")
        self._is_winding_down = True
        for trial in self._live():
            if trial.status != trial.RUNNING:
                self._leave(trial)

    def abandon(self) -> None:
        """Leave all trials, to be resumed, after the cluster is gone: no call can reach it."""
        self._search.finish("interrupted")
        self.is_abandoned = True
        for trial in self._live():
            del self._search.live[trial.trial_id]
            self._recorder.interrupt(trial.number)

    def end_all(self, ended_by: str) -> None:
        """End the sweep: running trials become STOPPED with what they have reported."""
        self._search.finish(ended_by)
        self._has_cut_short = bool(self._live())
        for trial in self._live():
            trial.ending = Ending(TrialState.STOPPED, message=f"the sweep ended ({ended_by})")
            self._search.on_trial_complete(trial.trial_id)
            self._stop_amid(trial)

    def resize(self) -> None:
        """Keep as many processes as there are slots now; surplus trials run to their end."""
        usual = self._slots.usual
        if usual is not self._usual:
            # They may be on nodes where no trials may start. Ray Tune itself counts those that wait to be started.
            before = self._usual.request
            self.keep(before, self.num_staged(before))
            self.rest()
            self._usual = usual
        self.keep(usual.request, self._slots.count)

    def rest(self) -> None:
        """End the idle processes while nothing runs or is to start, which frees their resources."""
        self.end_idle_processes()

    def forgive(self, lost_s: float) -> None:
        """Do not count the time in which the driver did not listen as a stall of any trial."""
        forgive(self._live(), self._recorder.running.values(), lost_s)

    def kill_stalled(self) -> None:
        """Kill the process of each trial that has not reported for too long; Ray Tune then notices its end.

        A process that is not ready for its trial is replaced, which does not count against the trial. A trial whose
        report has arrived but was not processed yet is not stalled.
        """
        for trial in self._live():
            if self.actors.has_news(self.tracked(trial)):
                continue
            preparing = self.process_preparing(trial)
            if is_overdue(trial, preparing is not None):
                trial.preparing_since, trial.is_replaced = None, True
                ray.kill(preparing)
            if trial.status == trial.RUNNING and not trial.killed_for:
                trial.killed_for = stall(self._recorder.running[trial.number], self._recorder.spec.stall_timeout)
                if trial.killed_for:
                    ray.kill(trial.temporary_state.ray_actor)

    def give_up_waiting(self, now: float) -> None:
        """End each trial that waits for a whole GPU held by others: it would keep all others waiting forever."""
        waiting = self._waiting_for_more()
        is_hopeless = {trial: not self._could_have(trial) for trial in waiting}
        self._hopeless_since = {
            trial: self._hopeless_since.get(trial, now) for trial, hopeless in is_hopeless.items() if hopeless
        }
        for trial, since in self._hopeless_since.items():
            if now - since < GIVE_UP_WAITING_S:
                continue
            gpus = self._recorder.running[trial.number].gpus
            known = self._out_of_memory.get(trial, Ending(TrialState.FAILED, FailureReason.OOM, "it ran out of memory"))
            message = f"{known.message}; {gpus:g} GPU is not available, since others hold them"
            trial.ending = replace(known, message=message)
            if self.is_staged(trial):
                self.unstage(trial)
            self._end_failed(trial, trial.ending)

    def _could_have(self, trial: RayTrial) -> bool:
        """Whether a trial's resources will be free once this sweep's other trials have ended."""
        gpus = self._recorder.running[trial.number].gpus
        return self._slots.can_hold(gpus, self.actors.within_reach()) or can_grow()

    def fill_queue(self) -> None:
        if not self._waiting_for_more():
            self.queue_at_most(self._slots.count)
            super().fill_queue()

    def place_trials(self) -> None:
        waiting = self._waiting_for_more()
        if not waiting:
            super().place_trials()
            return
        self.end_idle_processes()
        for trial in waiting:
            if not self.is_staged(trial):
                self.stage(trial)

    def _waiting_for_more(self) -> list[RayTrial]:
        """The trials that need more than a new one gets, and do not have it yet."""
        return [
            trial
            for trial in self._live()
            if trial.status == trial.PENDING
            and self._recorder.running[trial.number].gpus != self._slots.gpus
            and self.process_of(trial) is None
        ]

    def add_trial(self, trial: RayTrial) -> None:
        super().add_trial(trial)
        request = trial.placement_group_factory
        is_usual = trial.slot is self._slots.usual and not self._slots.is_measuring
        if is_usual and not self.kept(request):
            # Room for every slot's actor, so that none is ended because its next trial comes a moment later.
            self.keep(request, self._slots.count)

    def cleanup(self) -> None:
        """End all actors: those still training are killed, the others clean up and stop by themselves."""
        if self.is_abandoned:
            return
        for process in self.actors.processes_of(self._left | self.all_tracked()):
            ray.kill(process)
        super().cleanup()
        if self._has_cut_short:
            # Nothing reports when an ended process is gone; until then it may leave a half-written checkpoint,
            # which the recorder removes after this.
            time.sleep(EXIT_GRACE_S)

    def _live(self) -> list[RayTrial]:
        return list(self._search.live.values())

    def on_result(self, trial: RayTrial, batch: Batch) -> None:
        if trial.is_replaced:
            # Killing it may end what delayed it, so that it trains for its last moment.
            return
        before = self._recorder.running[trial.number].last_step
        self._recorder.report(trial.number, batch.reports)
        self._watch(batch.reports)
        results = [
            result_of(report) for report in self._asking.select(batch.reports, before) if self._is_finite(report)
        ]
        trial.ending = batch.ending
        if batch.ending is not None and batch.ending.error:
            self._fail(trial, batch.ending)
        elif batch.ending is not None:
            last = self._recorder.running[trial.number].last
            results = [r for r in results if last is None or r[STEP] != last.step]
            closing = trial.closing(last if last and self._is_finite(last) else None, self._recorder.spec.metrics)
            self.decide(trial, [*results, {**closing, DONE: True}])
        elif results:
            self.decide(trial, results)
        elif not self._is_winding_down:
            self.train_on(trial)
        if self._is_winding_down and trial.trial_id in self._search.live and not trial.is_saving:
            self._leave(trial)

    @property
    def training(self) -> list[int]:
        """The numbers of the trials that have all their processes."""
        return [trial.number for trial in self._live() if trial.status == trial.RUNNING]

    @property
    def is_training(self) -> bool:
        """Whether any trial has all its processes."""
        return any(trial.status != trial.PENDING for trial in self._live())

    def _is_finite(self, report: Report) -> bool:
        """Whether a scheduler can use a report; NaN makes every comparison false, so the trial would keep running."""
        return all(math.isfinite(report.metrics[metric.name]) for metric in self._recorder.spec.metrics)

    def on_saved(self, trial: RayTrial, path: str) -> None:
        self._recorder.checkpoints.pin(*trial_and_step(path))

    def stop_trial(self, trial: RayTrial) -> None:
        memory = self._memory_of(trial) if self._slots.is_measuring else None
        super().stop_trial(trial)
        self.forget(trial)
        # A failed trial may have ended before it took what it needs: the next one is measured.
        if memory is not None and self._recorder.tally.state_of(trial.number) is not TrialState.FAILED:
            share = share_for(memory)
            self._slots.share(share)
            self._recorder.gpus = share
            self._recorder.study.set_gpu_share(share, asdict(memory))
            self.on_share(trial.number, memory, share)

    def _memory_of(self, trial: RayTrial) -> Memory | None:
        """The GPU memory that a trial used; None if its process can't be asked."""
        if trial.status != trial.RUNNING:
            return None
        try:
            memory: Memory = ray.get(trial.temporary_state.ray_actor.memory.remote(), timeout=MEASURE_TIMEOUT_S)
        except RayError:
            return None
        return memory

    def forget(self, trial: RayTrial) -> None:
        """Drop a trial: the driver's memory must not grow with the number of trials."""
        self._out_of_memory.pop(trial, None)
        super().forget(trial)

    def _leave(self, trial: RayTrial) -> None:
        """Leave a trial, to be resumed."""
        del self._search.live[trial.trial_id]
        self._recorder.interrupt(trial.number)
        self._stop_amid(trial)

    def _stop_amid(self, trial: RayTrial) -> None:
        """End a trial that is still training, without waiting for its process."""
        if (tracked := self.tracked(trial)) is not None:
            self._left.add(tracked)
        self.end_trial(trial)
        self.forget(trial)

    def on_process_failed(self, trial: RayTrial, exception: Exception) -> None:
        """Handle a dead process, or a failed call to it; errors of the training loop come as its ending."""
        # A process that dies during its reset is reported twice: as the actor's end and as the call's.
        if trial.trial_id in self._search.live and exception is not self._handled:
            self._handled = exception
            self.give_up_process(trial)
            ending = ending_of(trial, exception)
            self._take(trial, ending.left)
            self._fail(trial, ending)

    def _take(self, trial: RayTrial, left: Sequence[Report]) -> None:
        """Record reports that a dead process could not deliver."""
        last = self._recorder.running[trial.number].last
        # They may include reports that have arrived; a file rounds to microseconds.
        new = [report for report in left if last is None or report.timestamp > last.timestamp + 1e-6]
        self._recorder.report(trial.number, new)
        self._watch(new)

    def _fail(self, trial: RayTrial, ending: Ending) -> None:
        trial.ending = ending
        running = self._recorder.running[trial.number]
        remedy = remedy_for(
            ending,
            running,
            retries=self._recorder.spec.failures.retries,
            has_reports=self._recorder.tally.has_reports,
            is_winding_down=self._is_winding_down,
            has_whole_gpu=lambda: self._slots.can_hold(1),
            rests_node=lambda: self._rest_node(trial, ending),
        )
        if remedy in (Remedy.REFUSE, Remedy.WAIT):
            told = ending.message.partition(": ")[2]
            self._search.error = SpecError([told]) if remedy is Remedy.REFUSE else StorageError(told)
            self._has_cut_short = True
        elif remedy is Remedy.WHOLE_GPU:
            self._out_of_memory[trial] = ending
            message = f"it ran out of GPU memory on {running.gpus:g} of a GPU and gets a whole one: {ending.message}"
            self._retry(trial, replace(ending, message=message), gpus=1)
        elif remedy is Remedy.MOVE:
            self._retry(trial, ending)
        elif remedy is Remedy.LEAVE:
            self._leave(trial)
        elif remedy is Remedy.RETRY:
            self._retry(trial, ending)
        else:
            if trial.status == trial.PAUSED:
                self.mark_as_running(trial)
            self._end_failed(trial, ending)

    def _rest_node(self, trial: RayTrial, ending: Ending) -> bool:
        """Rest the node of a trial that could not write, unless nobody can write to the run folder."""
        actor = trial.temporary_state.ray_actor
        node = ending.node_id or (node_of(id_of(actor)) if actor else "")
        if not node or (ending.lacks_storage and (is_own_node(node) or outage(self._recorder.folder))):
            return False
        if not self._slots.rest(node, alive_nodes()):
            return False
        self.resize()
        self.on_rest(name_of(node), ending.message.partition(": ")[2])
        return True

    def _end_failed(self, trial: RayTrial, ending: Ending) -> None:
        self.tell_rule_of_failure(trial)
        self._search.on_trial_complete(trial.trial_id, error=True)
        self.end_trial(trial, RuntimeError(ending.message))
        self.forget(trial)

    def _retry(self, trial: RayTrial, ending: Ending, gpus: float | None = None) -> None:
        """Continue the same trial from its last checkpoint in another process, with other `gpus` if given."""
        running = self._recorder.retry(trial.number, ending.message, ending.error, gpus)
        trial.move(self._slots.of(running.gpus))
        trial.ending, trial.killed_for, trial.is_replaced = None, "", False
        trial.go_back(running.params, running.restore_step)
        self.try_again(trial, RuntimeError(ending.message))

    def on_process_started(self, trial: RayTrial) -> None:
        # A trial's clock starts with its process, not when the trial was created.
        if trial.number in self._recorder.running:
            self._recorder.running[trial.number].reported_at = time.monotonic()
