"""Ray Tune's control loop by public names: what it calls of ours, and what ours asks of it; in the driver.

All of it is `ray.tune.execution.tune_controller`'s. Gone: a loop of our own beside `Controller`, which asks the search
for trials while there is room, starts an actor for each, calls `train` on it, and asks the rule about the results.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.tune.execution.tune_controller import TuneController

from tuner.engine.ray_compat.actors import RayActors, TrackedActor


def variables_to_pass_on() -> dict[str, str]:
    """The environment variables of the driver that Ray Tune gives its actors. Gone: AWS' keys alone."""
    return {name: os.environ[name] for name in ENV_VARS_TO_PROPAGATE if name in os.environ}


class RayController(TuneController):  # type: ignore[misc]  # Ray's classes are untyped
    """Writes no files of Ray Tune's own, and replaces an actor that can't be reset.

    Its trials' classes answer `train`, `save`, `reset(config)` and `restore(path)`. The methods that begin with `on_`,
    and `fill_queue`, `place_trials`, `start_process`, `reuse_process`, are called by Ray Tune, and meant to be
    overridden; the others are to be called.
    """

    def __init__(self, actors: RayActors, **kwargs: Any) -> None:
        super().__init__(reuse_actors=True, **kwargs)
        self.actors = self._actor_manager = actors
        self._print_trial_errors = False

    # What Ray Tune calls.

    def fill_queue(self) -> None:
        """Ask the search for trials, where fewer wait than may."""
        super()._maybe_update_trial_queue()

    def place_trials(self) -> None:
        """Ask for the resources of those that wait."""
        super()._maybe_add_actors()

    def start_process(self, trial: Any) -> None:
        """Have an actor run a trial, as soon as its resources are there."""
        raise NotImplementedError

    def reuse_process(self, trial: Any) -> bool:
        """Have an actor that waits for one run a trial; False where there is none."""
        return bool(super()._maybe_reuse_cached_actor(trial))

    def on_process_started(self, trial: Any) -> None:
        """The actor of a trial has got its resources."""

    def on_process_failed(self, trial: Any, exception: Exception) -> None:
        """The actor of a trial has died, or a call to it has failed; may come twice for one death."""
        super()._trial_task_failure(trial, exception)

    def on_result(self, trial: Any, result: Any) -> None:
        """What a call of `train` has returned."""
        super()._on_training_result(trial, result)

    def on_saved(self, trial: Any, path: str) -> None:
        """A call of `save` has returned a checkpoint at this path."""

    def _maybe_update_trial_queue(self) -> None:
        self.fill_queue()

    def _maybe_add_actors(self) -> None:
        self.place_trials()

    def _schedule_trial_actor(self, trial: Any) -> None:
        self.start_process(trial)

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        return self.reuse_process(trial)

    def _actor_started(self, tracked_actor: TrackedActor, log: str = "STARTED") -> None:
        self.on_process_started(self._actor_to_trial[tracked_actor])
        super()._actor_started(tracked_actor, log)

    def _trial_task_failure(self, trial: Any, exception: Exception) -> None:
        self.on_process_failed(trial, exception)

    def _on_training_result(self, trial: Any, result: Any) -> None:
        self.on_result(trial, result)

    def _on_saving_result(self, trial: Any, checkpoint_value: Any) -> None:
        self.on_saved(trial, checkpoint_value.checkpoint.path)
        super()._on_saving_result(trial, checkpoint_value)

    # What Ray Tune does otherwise.

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing is written."""

    def _mark_trial_to_checkpoint(self, trial: Any) -> None:
        """Nothing is written."""

    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        # Never waits for a trial: the loop has others to listen to while a sweep is paused.
        added: bool = super()._update_trial_queue(blocking=False)
        return added

    def _schedule_trial_reset(self, trial: Any, new_config: dict[str, Any], new_experiment_tag: str) -> None:
        # Ray Tune's own hands over a logger, which each process would import Ray Tune for; so does its restore.
        trial.set_config(new_config)
        self._resetting_trials.add(trial)
        self._schedule_trial_task(
            trial=trial,
            method_name="reset",
            args=(trial.config,),
            on_result=self._on_trial_reset,
            on_error=self._trial_task_failure,
        )

    def _schedule_trial_restore(self, trial: Any) -> bool:
        saved = trial.latest_checkpoint_result
        if saved is None:
            return False
        trial.temporary_state.restoring_from = saved
        self._schedule_trial_task(
            trial=trial,
            method_name="restore",
            args=(saved.checkpoint.path,),
            on_result=self._on_restoring_result,
            on_error=self._trial_task_failure,
        )
        return True

    def _on_trial_reset(self, trial: Any, success: bool) -> None:
        if success:
            super()._on_trial_reset(trial, success)
            return
        # The actor is not fit for another trial: kill it, which a loop that does not end can't hold up, and stage the
        # trial again, in a new one.
        self._resetting_trials.remove(trial)
        tracked = self._trial_to_actor.pop(trial)
        self._actor_to_trial.pop(tracked)
        trial.set_ray_actor(None)
        tracked.set_on_stop(None)
        tracked.set_on_error(None)
        self._actor_manager.remove_actor(tracked, kill=True)
        self._unstage_trial_with_resources(trial)
        self._pending_trials_list.insert(0, trial)

    # Of a trial's actor.

    def add_process(self, trial: Any, actor_class: Any) -> None:
        """Ask for an actor of a class, made with `config`, for a trial."""
        tracked = self._actor_manager.add_actor(
            cls=actor_class,
            resource_request=trial.placement_group_factory,
            kwargs={"config": trial.config},
            on_start=self._actor_started,
            on_stop=self._actor_stopped,
            on_error=self._actor_failed,
        )
        self._trial_to_actor[trial] = tracked
        self._actor_to_trial[tracked] = trial

    def tracked(self, trial: Any) -> TrackedActor | None:
        """A trial's actor, which may still wait for its resources."""
        return self._trial_to_actor.get(trial)

    def all_tracked(self) -> set[TrackedActor]:
        """The actors of all trials."""
        return set(self._actor_to_trial)

    def process_of(self, trial: Any) -> Any:
        """The handle of a trial's actor; None before it has got its resources."""
        return self.actors.process_of(self._trial_to_actor.get(trial))

    def is_resetting(self, trial: Any) -> bool:
        """Whether a trial waits for an actor that makes itself ready for it."""
        return trial in self._resetting_trials

    def end_idle_processes(self) -> None:
        """End the actors that wait for a trial."""
        self._cleanup_cached_actors(force_all=True)

    def keep(self, request: Any, most: int) -> None:
        """Let so many actors of a request wait for a trial, those that wait to be started included."""
        self._actor_cache._max_num_objects[request] = most

    def kept(self, request: Any) -> int:
        """How many actors of a request may wait for a trial."""
        return int(self._actor_cache._max_num_objects[request])

    # Of trials that wait for an actor.

    def queue_at_most(self, most: int) -> None:
        """Ask the search for no more trials while so many wait."""
        self._max_pending_trials = most

    def num_staged(self, request: Any) -> int:
        """How many trials wait for the resources of a request."""
        return sum(trial.placement_group_factory == request for trial in self._staged_trials)

    def is_staged(self, trial: Any) -> bool:
        """Whether a trial waits for its resources."""
        return trial in self._staged_trials

    def stage(self, trial: Any) -> None:
        """Let a trial wait for its resources."""
        self._staged_trials.add(trial)
        self._actor_cache.increase_max(trial.placement_group_factory)
        self.start_process(trial)

    def unstage(self, trial: Any) -> None:
        """Let a trial that waits for its resources wait no more."""
        self._unstage_trial_with_resources(trial)

    def give_up_process(self, trial: Any) -> None:
        """The actor that a trial waited for has died."""
        self._resetting_trials.discard(trial)
        if trial in self._staged_trials and trial in self._trial_to_actor:
            self._unstage_trial_with_resources(trial)

    # Of trials that run.

    def train_on(self, trial: Any) -> None:
        """Call `train` once more."""
        self._schedule_trial_train(trial)

    def decide(self, trial: Any, results: Sequence[Mapping[str, Any]]) -> None:
        """Ask the rule about results, and do what it decides."""
        self._process_trial_results(trial, results)
        self._maybe_execute_queued_decision(trial)

    def end_trial(self, trial: Any, exception: Exception | None = None) -> None:
        """End a trial without asking the rule; with an exception as one that has failed."""
        self._schedule_trial_stop(trial, exception=exception)

    def tell_rule_of_failure(self, trial: Any) -> None:
        self._scheduler_alg.on_trial_error(self._wrapped(), trial)

    def mark_as_running(self, trial: Any) -> None:
        self._set_trial_status(trial, trial.RUNNING)

    def try_again(self, trial: Any, exception: Exception) -> None:
        """Run a trial again, in another actor, as its config has it and not from what Ray Tune holds for its newest."""
        trial.run_metadata.checkpoint_manager._latest_checkpoint_result = None
        self._try_recover(trial, exc=exception)

    def forget(self, trial: Any) -> None:
        """Hold nothing of a trial that has ended; of one that has not, do not count it as one that runs."""
        self._live_trials.discard(trial)
        for known in (self._stopped_trials, self._failed_trials, self._trials_to_cache):
            known.discard(trial)
        if trial in self._trials and trial.is_finished():
            self._trials.remove(trial)
