"""The keys of the sweep file, as tables that the checks and the JSON schema are both made from.

`parameters` has its own table in `tuner.spec.domains`.
"""

from typing import Any

from tuner.spec.fields import Field

METHODS = ("grid", "random", "bayes", "tpe", "gp", "cmaes", "qmc", "nsgaii")

# The methods that can search for a Pareto front.
FRONT_METHODS = ("bayes", "tpe", "nsgaii")

# The value for no early stopping.
NONE = "none"

_MIN_ITER = Field("integer", "the step at which a trial may first be stopped", default=1, minimum=1)
_MAX_ITER = Field("integer", "the step at which a trial has run its full length", minimum=1)
_ETA = Field("number", "one in this many trials continues at each rung", default=3, above=1)

# The keys of `early_terminate` beside `type`, for each type.
EARLY_TERMINATE: dict[str, dict[str, Field]] = {
    "asha": {"min_iter": _MIN_ITER, "max_iter": _MAX_ITER, "eta": _ETA},
    "auto": {"min_iter": _MIN_ITER, "max_iter": _MAX_ITER, "eta": _ETA},
    "hyperband": {
        "min_iter": _MIN_ITER,
        "max_iter": _MAX_ITER,
        "eta": _ETA,
        "s": Field("integer", "number of brackets", minimum=1),
    },
    "median": {
        "min_iter": _MIN_ITER,
        "min_samples": Field("integer", "trials that a median needs", default=3, minimum=1),
    },
    "pbt": {
        "interval": Field("integer", "steps between two perturbations", required=True, minimum=1),
        "quantile": Field("number", "share of trials that copy better ones", default=0.25, above=0, maximum=0.5),
        "resample": Field("number", "chance of sampling anew, not perturbing", default=0.25, minimum=0, maximum=1),
        "max_iter": _MAX_ITER,
    },
}
RULE_TYPE = Field("string", "the early stopping rule", required=True, choices=tuple(EARLY_TERMINATE))

# A run folder's name begins with its sweep's name.
MAX_NAME = 100

METRIC = {
    "name": Field(
        "string",
        "the metric's name, as the trainable reports it",
        required=True,
        pattern="[^\\x00-\\x1f\\x7f]{1,400}",
        hint="name it, on one line of 400 characters at most",
    ),
    "goal": Field("string", "the direction that is better", default="minimize", choices=("minimize", "maximize")),
    "target": Field("number", "the sweep ends when a trial reaches this value"),
    "patience": Field("integer", "a trial ends after this many steps without improvement", minimum=1),
    "min_delta": Field("number", "the least change that counts as an improvement", minimum=0),
}

BUDGET = {
    "hours": Field("number", "wall-clock hours after which the sweep ends", above=0),
    "failed": Field("integer", "failed trials after which the sweep ends", minimum=1),
    "gpu_hours": Field("number", "GPU hours, of all trials together, after which the sweep ends", above=0),
}
RESOURCES = {
    "cpu": Field("number", "CPUs of each worker", default=1, above=0),
    "gpu": Field(
        "number",
        "GPUs of each worker: a fraction below 1, a whole number, or auto for the share that the first trial needs",
        default=0,
        minimum=0,
        choices=("auto",),
    ),
    "workers": Field("integer", "processes of each trial", default=1, minimum=1),
}
CHECKPOINTS = {
    "keep": Field(
        "integer",
        "which checkpoints to keep, or of how many trials",
        default="best",
        minimum=1,
        choices=("best", "last", "all"),
    ),
    "max_gb": Field("number", "gigabytes that all checkpoints together may take", above=0),
}
FAILURES = {"retries": Field("integer", "how often a failed trial is tried again", default=0, minimum=0)}

SCALARS = {
    "name": Field(
        "string",
        "the sweep's name, part of its folder's name",
        pattern=f"[A-Za-z0-9._-]{{1,{MAX_NAME}}}",
        hint=f"use letters, digits, dots, dashes and underscores, {MAX_NAME} at most",
    ),
    "trainable": Field(
        "string",
        "the training function, as module:function",
        required=True,
        pattern=r"[^:\s]+:[^:\s]+",
        hint="write module:function, such as trainables.image_classification:train",
    ),
    "method": Field("string", "how configurations are chosen", default="bayes", choices=METHODS),
    "run_cap": Field(
        "integer", "trials after which the sweep ends", minimum=1, hint="a run_cap of 0 would run nothing"
    ),
    "parallel": Field(
        "integer",
        "trials that run at a time; auto is as many as fit on the cluster",
        default="auto",
        minimum=1,
        choices=("auto",),
    ),
    "seed": Field("integer", "makes the sweep's choices repeatable; picked and recorded if absent", minimum=0),
    "stall_timeout": Field("number", "seconds without a report after which a trial counts as stalled", above=0),
    "warm": Field(
        "boolean", "false gives each trial a process of its own, whose main thread runs the loop; true if left out"
    ),
}

_EMPTY: dict[str, Any] = {}
SECTIONS = {
    "metric": Field("any", "the metric that is optimized, or a list of several", required=True),
    "parameters": Field("any", "the search space: names and what they may be", required=True),
    "early_terminate": Field(
        "any",
        "the rule that stops trials early, or none; auto by default with bayes, otherwise none",
    ),
    "budget": Field("object", "what the sweep may spend", default=_EMPTY),
    "resources": Field("object", "what each trial needs", default=_EMPTY),
    "start_with": Field("array", "configurations to try first; parameters they leave out are sampled", default=[]),
    "start_from": Field("array", "run folders of earlier sweeps to learn from", default=[]),
    "checkpoints": Field("object", "which checkpoints stay on disk", default=_EMPTY),
    "failures": Field("object", "what happens to failed trials", default=_EMPTY),
}
SWEEP = {**SCALARS, **SECTIONS}
