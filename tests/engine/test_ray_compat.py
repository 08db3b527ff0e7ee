"""What is private of Ray and used by us is there: each name that a version of Ray lacks is named."""

from pathlib import Path

import pytest
import ray
from packaging.version import Version

from tests.private_names import missing, missing_texts, private_names


def _of_controller(names: str) -> list[str]:
    return [f"ray.tune.execution.tune_controller:TuneController.{name}" for name in names.split()]


# Since which version of Ray the names are there; what is not there yet is said when it is used.
NAMES = {
    "2.48": [
        "ray._private.ray_logging:stdout_deduplicator.skip_re",
        "ray._private.state:actors(actor_id)",
        "ray._private.state:available_resources_per_node",
        "ray._private.utils:get_entrypoint_name",
        "ray._private.worker:Worker.node",
        "ray._private.node:Node.get_session_dir_path",
        "ray._raylet:Config.initialize",
        "ray.actor:ActorHandle._actor_id",
        "ray.air.execution:PlacementGroupResourceManager",
        "ray.air.execution._internal:RayActorManager(resource_manager)",
        "ray.air.execution._internal:RayActorManager._actor_task_events",
        "ray.air.execution._internal:RayActorManager._actor_task_failed(tracked_actor_task, exception)",
        "ray.air.execution._internal:RayActorManager._live_actors_to_ray_actors_resources",
        "ray.air.execution._internal:RayActorManager._tracked_actors_to_task_futures",
        "ray.air.execution._internal:RayActorManager.add_actor(cls, kwargs, resource_request, on_start, on_error)",
        "ray.air.execution._internal:RayActorManager.next(timeout)",
        "ray.air.execution._internal:RayActorManager.num_live_actors",
        "ray.air.execution._internal:RayActorManager.remove_actor(tracked_actor, kill)",
        "ray.air.execution._internal:RayActorManager.schedule_actor_task(tracked_actor)",
        "ray.air.execution._internal.event_manager:RayEventManager.get_futures",
        "ray.air.execution._internal.tracked_actor:TrackedActor.set_on_error(on_error)",
        "ray.air.execution._internal.tracked_actor:TrackedActor.set_on_stop(on_stop)",
        "ray.air.execution._internal.tracked_actor_task:TrackedActorTask._tracked_actor",
        "ray.air.execution.resources.placement_group:PlacementGroupAcquiredResources.placement_group",
        "ray.cloudpickle:dumps",
        "ray.exceptions:RayActorError.actor_id",
        "ray.exceptions:RayActorError.preempted",
        "ray.exceptions:RayTaskError.cause",
        "ray.experimental.internal_kv:_internal_kv_del(key)",
        "ray.experimental.internal_kv:_internal_kv_exists(key)",
        "ray.experimental.internal_kv:_internal_kv_put(key, value)",
        "ray._private.runtime_env.packaging:GCS_STORAGE_MAX_SIZE",
        "ray._private.runtime_env.packaging:_get_excludes(path, excludes)",
        "ray.job_submission:JobSubmissionClient._do_request(method, endpoint)",
        "ray.job_submission:JobSubmissionClient._raise_error",
        "ray.train._internal.session:_TrainingResult(checkpoint, metrics)",
        "ray.train._internal.storage:StorageContext._update_checkpoint_index(metrics)",
        "ray.train.v2._internal.constants:V2_ENABLED_ENV_VAR",
        "ray.train.v2._internal.constants:is_v2_enabled",
        "ray.train.v2.api.config:FailureConfig(max_failures)",
        "ray.train.v2.api.config:RunConfig(name, storage_path, failure_config)",
        "ray.train.v2.api.config:ScalingConfig(num_workers, use_gpu, resources_per_worker, placement_strategy)",
        "ray.train.v2._internal.execution.controller.controller:TrainController.get_result",
        "ray.train.v2._internal.execution.controller.controller:TrainController.run",
        "ray.train.v2._internal.execution.controller.controller:TrainController.worker_group_cls",
        "ray.train.v2._internal.execution.scaling_policy.fixed:FixedScalingPolicy(scaling_config)",
        "ray.train.v2._internal.execution.worker_group.worker_group:WorkerGroup.create",
        "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer._create_default_callbacks",
        "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer._initialize_and_run_controller",
        "ray.train.v2.torch.torch_trainer:TorchTrainer(train_loop_per_worker, train_loop_config, torch_config)",
        "ray.tune.execution.class_cache:ENV_VARS_TO_PROPAGATE",
        "ray.tune.execution.tune_controller:TuneController(search_alg, scheduler, storage, reuse_actors)",
        *_of_controller(
            "_actor_cache _actor_failed _actor_manager _actor_started(tracked_actor,log) _actor_stopped "
            "_actor_to_trial _cleanup_cached_actors(force_all) _failed_trials _live_trials "
            "_mark_trial_to_checkpoint(trial) "
            "_max_pending_trials _maybe_add_actors _maybe_execute_queued_decision(trial) "
            "_maybe_reuse_cached_actor(trial) _maybe_update_trial_queue _on_restoring_result _on_saving_result(trial) "
            "_on_trial_reset(trial,success) _on_training_result(trial) _pending_trials_list _print_trial_errors "
            "_process_trial_results(trial,results) _resetting_trials "
            "_schedule_trial_actor(trial) _schedule_trial_reset(trial,new_config,new_experiment_tag) "
            "_schedule_trial_restore(trial) _schedule_trial_stop(trial,exception) "
            "_schedule_trial_task(trial,method_name,args,on_result,on_error) _schedule_trial_train(trial) "
            "_scheduler_alg _set_trial_status(trial,status) _staged_trials _stopped_trials _trial_task_failure(trial) "
            "_trial_to_actor _trials _trials_to_cache _try_recover(trial,exc) _unstage_trial_with_resources(trial) "
            "_update_trial_queue(blocking) _wrapped add_trial(trial) checkpoint cleanup is_finished step "
            "stop_trial(trial)"
        ),
        "ray.train._internal.checkpoint_manager:_CheckpointManager._latest_checkpoint_result",
        "ray.tune.experiment.trial:_TemporaryTrialState.ray_actor",
        "ray.tune.experiment.trial:_TemporaryTrialState.restoring_from",
        "ray.tune.experiment:Trial(trainable_name, config, trial_id, stub, storage)",
        "ray.tune.experiment:Trial.create_placement_group_factory",
        "ray.tune.experiment:Trial.handle_error(exc)",
        "ray.tune.experiment:Trial.init_local_path",
        "ray.tune.experiment:Trial.latest_checkpoint_result",
        "ray.tune.experiment:Trial.placement_group_factory",
        "ray.tune.experiment:Trial.run_metadata",
        "ray.tune.experiment:Trial.set_config(config)",
        "ray.tune.experiment:Trial.set_ray_actor(ray_actor)",
        "ray.tune.experiment:Trial.should_recover",
        "ray.tune.experiment:Trial.temporary_state",
        "ray.tune.experiment:Trial.update_last_result(result)",
        "ray.tune.result:DONE",
        "ray.tune.schedulers:AsyncHyperBandScheduler._max_t",
        "ray.tune.schedulers:AsyncHyperBandScheduler._metric",
        "ray.tune.schedulers:AsyncHyperBandScheduler._time_attr",
        "ray.tune.schedulers:HyperBandScheduler._max_t_attr",
        "ray.tune.schedulers:HyperBandScheduler._metric",
        "ray.tune.schedulers:HyperBandScheduler._time_attr",
        "ray.tune.schedulers:MedianStoppingRule._metric",
        "ray.tune.schedulers:MedianStoppingRule._time_attr",
        "ray.tune.schedulers:PopulationBasedTraining._metric",
        "ray.tune.schedulers:PopulationBasedTraining._time_attr",
        "ray.tune.search:SearchAlgorithm.is_finished",
        "ray.tune.utils.object_cache:_ObjectCache._max_num_objects",
        "ray.tune.utils.object_cache:_ObjectCache.increase_max(key, by)",
    ],
    "2.51": [
        "ray.train.v2._internal.execution.train_fn_utils:DistributedTrainFnUtils.report(metrics, checkpoint)",
        "ray.train.v2._internal.execution.train_fn_utils:LocalTrainFnUtils(experiment_name)",
        "ray.train.v2._internal.execution.train_fn_utils:_train_fn_utils",
        "ray.train.v2._internal.execution.train_fn_utils:set_train_fn_utils(train_fn_utils)",
        "ray.train:CheckpointUploadMode",
        "ray.train.v2.api.exceptions:WorkerGroupError.worker_failures",
        "ray.train.v2.api.exceptions:ControllerError.controller_failure",
    ],
    "2.53": [
        "ray._private.runtime_env.packaging:_dir_travel(path, excludes, handler, include_gitignore)",
        "ray._raylet:AuthenticationTokenLoader.has_token",
        "ray._raylet:AuthenticationTokenLoader.reset_cache",
        "ray.train.v2._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback",
    ],
    "2.54": [
        "ray.train.v2._internal.callbacks.datasets:DatasetsCallback",
        "ray.train.v2._internal.execution.worker_group.placement_group_handle:DefaultPlacementGroupHandle.shutdown",
        "ray.train.v2._internal.execution.worker_group.worker_group:WorkerGroup._create_placement_group",
    ],
    "2.55": [
        "ray._private.ray_constants:get_runtime_env_default_excludes",
        "ray.job_submission:JobSubmissionClient.submit_job(entrypoint_label_selector)",
        "ray.train.v2._internal.execution.scaling_policy.fixed:FixedScalingPolicy._maybe_send_resource_request",
        "ray.train.v2._internal.execution.scaling_policy.fixed:FixedScalingPolicy.after_controller_start",
    ],
}
# Texts of `sentences`, and of names that are not in Python, by Ray's files that hold them; by version likewise.
TEXTS = {
    "2.48": {
        "ray/autoscaler/v2/utils.py": ["__internal_head__"],
        "ray/_private/node.py": ["plasma_store"],
        "ray/_private/utils.py": ["Version mismatch"],
        "ray/_private/worker.py": ['"_temp_dir"'],
        "ray/exceptions.py": ["creation task"],
        "ray/_private/services.py": ["--gcs-address=", "--autoscaling-config="],
        "ray/_private/ray_constants.py": [
            ":job_id:",
            ":actor_name:",
            ":task_name:",
        ],
        "ray/_raylet.so": ["*** %s received at time="],
        "ray/dashboard/modules/job/job_manager.py": ["already exists"],
        "ray/dashboard/modules/state/state_head.py": ["/api/v0/logs/{media_type}", "/api/v0/nodes"],
    },
    "2.52": {"ray/dashboard/modules/job/job_supervisor.py": ["Running entrypoint for job"]},
    "2.54": {"ray/core/src/ray/raylet/raylet": ["ray.io/node-id"]},
    "2.55": {"ray/_private/ray_constants.py": ["RAY_API_SERVER_ADDRESS"]},
    "2.57": {"ray/train/v2/_internal/constants.py": ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"]},
}
DOOR = sorted((Path(__file__).parents[2] / "tuner/engine/ray_compat").glob("*.py"))


def skip_before(since: str) -> None:
    if Version(ray.__version__) < Version(since):
        pytest.skip(f"Ray {ray.__version__} is older")


@pytest.mark.parametrize("since", NAMES)
def test_ray_has_the_private_names_that_are_used(since: str) -> None:
    skip_before(since)
    assert missing(NAMES[since]) == []


@pytest.mark.parametrize("since", TEXTS)
def test_ray_says_the_sentences_that_are_read(since: str) -> None:
    skip_before(since)
    assert missing_texts(TEXTS[since]) == []


def test_all_private_names_in_the_door_are_listed() -> None:
    listed = {part for names in NAMES.values() for name in names for part in name.partition("(")[0].split(":")}
    parts = {part for name in listed for part in name.split(".")}
    assert private_names(DOOR) - parts == set()
