"""Other tools' names (W&B, Ray Tune, Optuna) for the keys and values of a sweep file."""

# Ours -> theirs, for keys and values; a path says where a key belongs here.
_THEIRS = {
    "trainable": "program command",
    "parameters": "param_space search_space hyperparameters",
    "method": "sampler search_alg algorithm",
    "run_cap": "num_samples n_trials max_trials max_runs count",
    "parallel": "max_concurrent_trials max_concurrent n_jobs",
    "early_terminate": "scheduler pruner early_stopping",
    "start_with": "points_to_evaluate",
    "metric.goal": "mode direction",
    "budget.hours": "time_budget_s timeout",
    "failures.retries": "max_failures",
    "checkpoints.keep": "num_to_keep",
    "resources": "resources_per_trial",
    "resources.cpu": "cpus num_cpus",
    "resources.gpu": "gpus num_gpus use_gpu",
    "resources.workers": "num_workers",
    "early_terminate.min_iter": "grace_period min_resource n_warmup_steps",
    "early_terminate.max_iter": "max_t max_resource",
    "early_terminate.eta": "reduction_factor",
    "early_terminate.s": "brackets",
    "early_terminate.min_samples": "min_samples_required n_startup_trials",
    "early_terminate.interval": "perturbation_interval",
    "early_terminate.quantile": "quantile_fraction",
    "early_terminate.resample": "resample_probability",
    "min": "low lower",
    "max": "high upper",
    "values": "choices categories",
    "q": "step",
    "distribution": "log",
    "maximize": "max maximum",
    "minimize": "min minimum",
    "bayes": "bayesian bayesopt optuna hyperopt multifidelity",
    "random": "random_search",
    "grid": "grid_search",
    "gp": "gaussian_process botorch",
    "qmc": "sobol",
    "nsgaii": "nsga2",
    "asha": "successive_halving async_hyperband",
    "median": "median_stopping_rule",
    "pbt": "population_based_training",
    "log_uniform_values": "loguniform",
    "int_uniform": "randint",
    "int_log_uniform": "lograndint",
    "q_uniform": "qrandint",
    "categorical": "choice",
    # Not available here.
    "": "strict entity project description controller time_attr impute probabilities mu sigma "
    "normal log_normal q_normal q_log_normal inv_log_uniform inv_log_uniform_values randn beta",
}


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


_OURS = {_plain(theirs): ours for ours, names in _THEIRS.items() for theirs in names.split()}


def name_here(name: str) -> str | None:
    """Our name for one of theirs, as a path; empty if we have no such thing, None if the name is unknown."""
    return _OURS.get(_plain(name))
