"""Ray Tune's control loop with processes that go from one trial to the next, and without files of its own."""

from typing import Any

from ray.tune.execution.tune_controller import TuneController

from tuner.engine.driver.actor_manager import ActorManager
from tuner.engine.driver.ray_trial import RayTrial


class WarmController(TuneController):  # type: ignore[misc]  # Ray's classes are untyped
    """Keeps every actor for the trials that follow, and replaces those that are unfit for another.

    Ray Tune's own experiment files are not written: the study is the record.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(reuse_actors=True, **kwargs)
        self._actor_manager = ActorManager.of_placement_groups()
        self._print_trial_errors = False

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """The study is the record."""

    def _mark_trial_to_checkpoint(self, trial: RayTrial) -> None:
        """The study is the record."""

    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        # Never waits for a trial: the loop has others to listen to while a sweep is paused.
        added: bool = super()._update_trial_queue(blocking=False)
        return added

    def _process_preparing(self, trial: RayTrial) -> Any:
        """The actor that has its resources and is not ready for the trial yet, None where there is none."""
        there = self._actor_manager._live_actors_to_ray_actors_resources.get(self._trial_to_actor.get(trial))
        return there[0] if there and trial.status == trial.PENDING else None

    def _schedule_trial_actor(self, trial: RayTrial) -> None:
        """Its base hands over objects of Ray Tune's, which each process would import it for."""
        if self._maybe_reuse_cached_actor(trial):
            return
        tracked = self._actor_manager.add_actor(
            cls=trial.slot.actor_class,
            resource_request=trial.placement_group_factory,
            kwargs={"config": trial.config},
            on_start=self._actor_started,
            on_stop=self._actor_stopped,
            on_error=self._actor_failed,
        )
        self._trial_to_actor[trial] = tracked
        self._actor_to_trial[tracked] = trial

    def _schedule_trial_reset(self, trial: RayTrial, new_config: dict[str, Any], new_experiment_tag: str) -> None:
        trial.set_config(new_config)
        self._resetting_trials.add(trial)
        self._schedule_trial_task(
            trial=trial,
            method_name="reset",
            args=(trial.config,),
            on_result=self._on_trial_reset,
            on_error=self._trial_task_failure,
        )

    def _schedule_trial_restore(self, trial: RayTrial) -> bool:
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

    def _maybe_reuse_cached_actor(self, trial: RayTrial) -> bool:
        """An actor whose process is starting is waited for: the cached one is the next trial's.

        One that still waits for resources is given up, since the cached one may be what holds them.
        """
        own = self._trial_to_actor.get(trial)
        is_starting = own in self._actor_manager._live_actors_to_ray_actors_resources
        if is_starting and trial not in self._resetting_trials:
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _on_trial_reset(self, trial: RayTrial, success: bool) -> None:
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
