"""The name of a metric for Ray Tune and its schedulers: its own, unless Ray Tune uses that itself."""

# Ray Tune gives these names in a result a meaning: `done` ends a trial, `should_checkpoint` asks for a checkpoint.
RAYS_OWN = frozenset(
    {
        *("training_iteration", "time_total_s", "time_this_iter_s", "timestamp", "date", "done", "should_checkpoint"),
        *(
            "trial_id",
            "trial_name",
            "trainable_name",
            "experiment_tag",
            "experiment_id",
            "config",
            "checkpoint_dir_name",
        ),
        *("hostname", "node_ip", "pid", "episodes_total", "episodes_this_iter", "episode_reward_mean", "_metric"),
        *("timesteps_total", "timesteps_this_iter", "mean_loss", "mean_accuracy"),
        *("time_since_restore", "timesteps_since_restore", "iterations_since_restore"),
        *("__duplicate__", "__trial_info__", "__stdout_file__", "__stderr_file__"),
    }
)


def metric_key(name: str) -> str:
    return f"metric: {name}" if name in RAYS_OWN else name
