"""Runs a sweep through Ray Tune from its first trial to its last."""

import functools
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import cloudpickle
from ray.tune.error import TuneError

from tuner.console import Console
from tuner.engine.cluster import connected, has_ended, node_resources
from tuner.engine.driver.controller import Controller
from tuner.engine.driver.display import Display
from tuner.engine.driver.interrupts import Interrupts
from tuner.engine.driver.ray_trial import RayTrial
from tuner.engine.driver.search import StudySearch
from tuner.engine.driver.slots import Slots
from tuner.engine.driver.stalls import MAX_TURN_S
from tuner.engine.files.driver_node import DriverNode
from tuner.engine.process.trial_process import Job
from tuner.engine.ray_compat.trials import NoStorage
from tuner.errors import SpecError, StorageError
from tuner.records import TrialRecord
from tuner.run_folder.checkpoints import checkpoint_steps
from tuner.run_folder.control import Control, Verb
from tuner.run_folder.outage import storing
from tuner.run_folder.trial_files import read_reports, trial_dir
from tuner.stopping.replay import replay
from tuner.stopping.table import Stopping
from tuner.study.recorder import Recorder
from tuner.study.running_trial import Running
from tuner.study.sweep_end import Verdict, judge
from tuner.trial.trial import Trial

_LRU_CACHE: Any = type(functools.cache(len))
_VIEW_EVERY_S = 0.25
_CHECK_EVERY_S = 1.0
_LISTEN_EVERY_S = 1.0
_IDLE_S = 0.2
_PLAN_EVERY_S = 5.0
# Ray takes no more than 100 MB of code.
MAX_TRAINABLE_BYTES = 90 << 20
# How long a cluster that is ended together with its driver may take to end.
CLUSTER_ENDS_S = 1.0
_TELL_WAITING_AFTER_S = 30.0


@dataclass(frozen=True)
class Ended:
    """How a run of a sweep ended."""

    verdict: Verdict
    slots: int


def run(
    recorder: Recorder,
    train: Callable[[Trial], None],
    stopping: Stopping,
    console: Console,
    *,
    seed: int,
    run_cap: int | None,
    address: str | None,
    verbose: bool,
) -> Ended:
    """Run the sweep's trials; blocks until it is over.

    Raises `ResourceError` before the first trial if the cluster can't hold one, `SpecError` if the very first report
    lacks the sweep's metric, `StorageError` if something could not be written, KeyboardInterrupt at the second Ctrl-C.
    Everything recorded stays recorded in each case.
    """
    spec = recorder.spec
    trainable = pickled(train)
    if not ray.is_initialized():
        there = address or os.environ.get("RAY_ADDRESS")
        console.event(f"connecting to {there}" if there else "starting a cluster on this machine")
    # Samplers and rules lose precision with values near the limits of floats; numpy's repeated warnings don't help.
    with connected(address, verbose=verbose), np.errstate(over="ignore", invalid="ignore"):
        with storing():
            driver_node = DriverNode(recorder.folder.resolve())
        job = Job(
            train=trainable,
            sys_path=tuple(sys.path),
            argv=tuple(sys.argv),
            cwd=str(Path.cwd()),
            folder=str(recorder.folder.resolve()),
            token=driver_node.token,
            metrics=spec.metrics,
            asking=stopping.asking,
            seed=seed,
            cpus=spec.resources.cpu,
            gpus=recorder.gpus,
            workers=spec.resources.workers,
            warm=spec.warm is not False,
        )
        slots = Slots(
            job,
            spec.resources,
            spec.parallel,
            gpus=recorder.gpus,
            is_measuring=spec.resources.gpu == "auto" and recorder.study.gpu_share() is None,
            nodes=node_resources,
        )
        search = StudySearch(recorder, _trial_maker(recorder, slots), slots, run_cap, stopping.max_iter)
        controller = Controller(recorder, stopping, search, slots, storage=NoStorage())
        with storing():
            replay(
                stopping.scheduler,
                recorder.study.records(),
                spec.metrics,
                stopping.asking,
                lambda number: read_reports(trial_dir(recorder.folder, number)),
                functools.partial(_restore_step, recorder.folder),
            )
        stopping.consult(recorder.may_continue)
        try:
            verdict = _Loop(controller, search, recorder, console, slots, run_cap, driver_node).run()
        finally:
            controller.cleanup()
            if not controller.is_abandoned:
                driver_node.close()
    return Ended(verdict, slots.count)


def pickled(train: Callable[[Trial], None]) -> bytes:
    """Pickle the trainable for the actors: by name if they can import it, otherwise by value."""
    # No trial comes twice, and a wrapper of the function may have no importable name.
    function = train.__wrapped__ if isinstance(train, _LRU_CACHE) else train
    try:
        data: bytes = cloudpickle.dumps(function)
    except Exception as error:
        raise SpecError([f"trainable: {train!r} can't be sent to another process: {error}"]) from None
    if len(data) > MAX_TRAINABLE_BYTES:
        raise SpecError(
            [
                f"trainable: {train!r} holds {len(data) / 2**20:.0f} MiB of data, in a variable around it or one of "
                f"its script; at most {MAX_TRAINABLE_BYTES / 2**20:.0f} MiB can be sent. Load data in the trial: "
                "trial.shared(key, load) keeps it in memory once for all trials of a machine."
            ]
        )
    return data


def _restore_step(folder: Path, record: TrialRecord) -> int:
    """The step that an interrupted trial resumes from: of a checkpoint no newer than its record, or 0."""
    steps = checkpoint_steps(trial_dir(folder, record.number))
    return max((step for step in steps if step <= max(record.curve)), default=0)


def _trial_maker(recorder: Recorder, slots: Slots) -> Callable[[Running], RayTrial]:
    def make_trial(running: Running) -> RayTrial:
        on_params = functools.partial(recorder.change_params, running.number)
        slot = slots.of(running.gpus)
        return RayTrial(running.number, running.params, running.restore_step, slot, recorder.folder, on_params)

    return make_trial


class _Loop:
    """One run of the control loop, with its display and its end."""

    def __init__(
        self,
        controller: Controller,
        search: StudySearch,
        recorder: Recorder,
        console: Console,
        slots: Slots,
        run_cap: int | None,
        driver_node: DriverNode,
    ) -> None:
        self._driver_node = driver_node
        self._controller = controller
        self._search = search
        self._recorder = recorder
        self._console = console
        self._display = Display(recorder, controller, slots, console, run_cap)
        self._slots = slots
        self._verdict: Verdict | None = None
        self._interrupts = Interrupts()
        self._control = Control(recorder.folder)
        self._verb = Verb.RESUME
        self._held_at_s: float | None = None
        self._shown_at = self._checked_at = self._listened_at = self._waiting_since = -math.inf
        self._turned_at = self._planned_at = time.monotonic()

    def run(self) -> Verdict:
        with self._interrupts:
            # If an end is reached already, such as the target of a resumed sweep, no trial starts; nor if the sweep was
            # paused before its storage was gone.
            self._listen()
            self._end_if_due()
            while not (self._controller.is_abandoned or self._controller.is_finished()):
                self._step()
                if self._search.error is not None:
                    raise self._search.error
                self._rest_if_idle()
                self._end_if_due()
                self._every(time.monotonic())
        self._display.tell_best()
        self._display.show()
        return self._verdict or Verdict(self._search.ended_by, _SENTENCES.get(self._search.ended_by, ""))

    def _step(self) -> None:
        try:
            self._controller.step()
        except TuneError as error:
            # Ray Tune turns errors of its callbacks into the text of its own error.
            if isinstance(error.__context__, StorageError):
                raise error.__context__ from None
            raise

    def _end_if_due(self) -> None:
        if self._interrupts.is_asked and self._verdict is None:
            self._verdict = Verdict("interrupted", "interrupted")
            self._console.event("interrupted: running trials end their current step; Ctrl-C again ends at once")
            self._abandon_if_gone(CLUSTER_ENDS_S)
        if self._interrupts.is_asked and not self._controller.is_abandoned:
            self._abandon_if_gone(0.0)
        if self._controller.is_abandoned:
            return
        if self._interrupts.is_asked:
            self._controller.wind_down()
        if self._verdict is not None:
            return
        spec = self._recorder.spec
        self._verdict = judge(self._recorder.progress(), spec.budget, spec.metrics[0])
        if self._verdict is not None:
            self._console.event(f"the sweep ends: {self._verdict.message}")
            self._controller.end_all(self._verdict.ended_by)

    def _abandon_if_gone(self, within_s: float) -> None:
        """Leave all trials if the cluster ends with this driver, as a batch system ends all processes of a job."""
        if self._interrupts.is_from_outside and has_ended(within_s):
            self._console.event("the cluster has ended as well: trials are left at their last reports")
            self._controller.abandon()

    def _rest_if_idle(self) -> None:
        """Free all resources of a paused sweep with nothing running, and stop its clock."""
        if not self._search.is_paused or self._search.live:
            self._held_at_s = None
            return
        if self._held_at_s is None:
            self._held_at_s = self._recorder.elapsed_s
        self._controller.rest()
        time.sleep(_IDLE_S)
        self._recorder.set_elapsed(self._held_at_s)

    def _listen(self) -> None:
        """Handle a user's request to the running sweep."""
        verb = self._control.look()
        if verb is self._verb or self._verdict is not None:
            return
        self._verb = verb
        self._search.is_paused = verb is Verb.PAUSE
        self._console.event(_ANSWERS[verb])
        if verb is Verb.STOP:
            self._search.finish("stopped")
        elif verb is Verb.CANCEL:
            self._verdict = Verdict("cancelled", "cancelled by the user")
            self._controller.end_all("cancelled")

    def _every(self, now: float) -> None:
        lost_s, self._turned_at = now - self._turned_at - MAX_TURN_S, now
        if lost_s > 0:
            self._controller.forgive(lost_s)
        if now - self._listened_at >= _LISTEN_EVERY_S:
            self._listened_at = now
            self._listen()
        if now - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = now
            self._recorder.look(self._controller.training)
            self._controller.kill_stalled()
            self._controller.give_up_waiting(now)
            self._driver_node.poll()
            self._tell_waiting(now)
            self._display.tell_best()
        if now - self._planned_at >= _PLAN_EVERY_S:
            self._planned_at = now
            self._plan()
        if now - self._shown_at >= _VIEW_EVERY_S:
            self._shown_at = now
            self._display.show()

    def _plan(self) -> None:
        """Use nodes that have joined, and stop using lost ones."""
        if self._slots.update():
            self._controller.resize()
            count = self._slots.count
            self._console.event(f"the cluster has changed: {count} trial{'s' * (count != 1)} at a time from now on")

    def _tell_waiting(self, now: float) -> None:
        """Print once that the sweep waits: Ray says nothing while others use all resources of a cluster."""
        if self._controller.is_training or self._search.is_paused:
            self._waiting_since = math.inf
        elif self._waiting_since == -math.inf:
            self._waiting_since = now
        elif now - self._waiting_since > _TELL_WAITING_AFTER_S:
            self._waiting_since = math.inf
            self._console.event(
                "waiting for the cluster: a trial's resources are in use, or no node offers them yet, or processes are "
                "slow to start"
            )


_ANSWERS = {
    Verb.PAUSE: "paused: running trials continue, no new ones start",
    Verb.RESUME: "resumed: new trials start again",
    Verb.STOP: "stopping: running trials finish, no new ones start",
    Verb.CANCEL: "cancelled: running trials are ended now",
}

_SENTENCES = {
    "run_cap": "run_cap is reached",
    "stopped": "stopped by the user",
    "space": "every configuration of the grid has been tried",
}
