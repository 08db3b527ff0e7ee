"""Sweeps that are refused: one table for the checks and for the JSON schema."""

LR = {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"}
GOOD = {
    "trainable": "trainables.quadratic:train",
    "metric": {"name": "loss"},
    "parameters": {"lr": LR},
    "run_cap": 4,
}


def also(**changes):
    return {**GOOD, **changes}


def param(node, **changes):
    return also(**changes, parameters={"lr": node})


def without(*keys):
    return {key: value for key, value in GOOD.items() if key not in keys}


TWO_METRICS = [{"name": "loss"}, {"name": "size"}]
CIRCLE = {
    "a": {"values": [1], "when": {"b": 1}},
    "b": {"values": [1], "when": {"c": 1}},
    "c": {"values": [1], "when": {"a": 1}},
}
LOG = "log_uniform_values"

# id, the sweep, a part of the sentence that refuses it, whether the JSON schema refuses it as well.
BAD = [
    ("no mapping", ["x"], "the sweep must be a mapping with name, trainable,", True),
    ("unknown key", also(run_cpa=3), "run_cpa is not a known key, did you mean run_cap; known", True),
    ("no trainable", without("trainable"), "trainable is missing: give the training function", True),
    ("no metric", without("metric"), "metric is missing", True),
    ("no parameters", without("parameters"), "parameters is missing", True),
    (
        "trainable without function",
        also(trainable="train.py"),
        "got the text 'train.py': write module:",
        True,
    ),
    ("bad name", also(name="a/b"), "name must be a text; got the text 'a/b': use letters, digits", True),
    ("unknown method", also(method="byes"), "got the text 'byes', did you mean bayes.", True),
    ("run_cap 0", also(run_cap=0), "got 0: a run_cap of 0 would run nothing.", True),
    ("run_cap in quotes", also(run_cap="4"), "got the text '4': write the number without quotes.", True),
    ("run_cap true", also(run_cap=True), "run_cap must be a whole number of 1 or more; got true.", True),
    (
        "run_cap nothing",
        also(run_cap=None),
        "run_cap must be a whole number of 1 or more; got nothing.",
        True,
    ),
    ("half a trial", also(run_cap=1.5), "run_cap must be a whole number of 1 or more; got 1.5.", True),
    ("parallel 0", also(parallel=0), "parallel must be auto or a whole number of 1 or more; got 0.", True),
    ("parallel word", also(parallel="atuo"), "got the text 'atuo', did you mean auto.", True),
    ("negative seed", also(seed=-1), "seed must be a whole number of 0 or more; got -1.", True),
    ("stall_timeout 0", also(stall_timeout=0), "stall_timeout must be a number above 0; got 0.", True),
    ("budget a number", also(budget=2), "budget must be a mapping; got 2.", True),
    ("budget key", also(budget={"hour": 2}), "budget.hour is not a known key, did you mean hours;", True),
    ("no hours", also(budget={"hours": 0}), "budget.hours must be a number above 0; got 0.", True),
    (
        "hours nan",
        also(budget={"hours": float("nan")}),
        "budget.hours must be a number above 0; got nan.",
        False,
    ),
    ("gpu_hours, no gpu", also(budget={"gpu_hours": 2}), "budget.gpu_hours counts nothing while", False),
    ("no cpu", also(resources={"cpu": 0}), "resources.cpu must be a number above 0; got 0.", True),
    (
        "negative gpu",
        also(resources={"gpu": -1}),
        "resources.gpu must be auto or a number of 0 or more; got -1.",
        True,
    ),
    ("gpu 1.5", also(resources={"gpu": 1.5}), "resources.gpu must be a fraction below 1 or a whole", True),
    ("gpu word", also(resources={"gpu": "atuo"}), "got the text 'atuo', did you mean auto.", True),
    (
        "gpu auto, workers",
        also(resources={"gpu": "auto", "workers": 2}),
        "resources.gpu auto is for trials of one worker; got workers 2: give the GPUs of each worker",
        False,
    ),
    ("no workers", also(resources={"workers": 0}), "resources.workers must be a whole number of 1", True),
    ("keep", also(checkpoints={"keep": "bset"}), "got the text 'bset', did you mean best.", True),
    ("keep 0", also(checkpoints={"keep": 0}), "must be best or last or all or a whole number of 1", True),
    ("retries", also(failures={"retries": -1}), "failures.retries must be a whole number of 0", True),
    ("metric text", also(metric="loss"), "metric must be a mapping with name, goal, target,", True),
    ("metric without name", also(metric={"goal": "minimize"}), "metric.name is missing", True),
    (
        "goal",
        also(metric={"name": "x", "goal": "max"}),
        "metric.goal must be one of minimize, maximize; got the text 'max', did you mean maximize.",
        True,
    ),
    ("patience 0", also(metric={"name": "x", "patience": 0}), "metric.patience must be a whole number", True),
    ("min_delta alone", also(metric={"name": "x", "min_delta": 1}), "min_delta belongs to patience", True),
    ("no metrics", also(metric=[]), "metric must name at least one metric", True),
    ("metric twice", also(metric=[{"name": "x"}] * 2), "metric names x more than once", False),
    (
        "metric key",
        also(metric=[{"name": "x", "gaol": 1}]),
        "metric[0].gaol is not a known key, did you",
        True,
    ),
    (
        "patience of the second",
        also(metric=[{"name": "a"}, {"name": "b", "patience": 2}]),
        "metric[1].patience has no effect",
        False,
    ),
    (
        "gp for a front",
        also(method="gp", metric=TWO_METRICS),
        "method gp takes one metric; got 2: use one of bayes, tpe, nsgaii.",
        False,
    ),
    (
        "stopping a front",
        also(metric=TWO_METRICS, early_terminate={"type": "median"}),
        "early_terminate median takes one metric; got 2: use type auto",
        False,
    ),
    ("rule unknown", also(early_terminate={"type": "ahsa"}), "got the text 'ahsa', did you mean asha.", True),
    ("rule without type", also(early_terminate={"eta": 3}), "early_terminate.type is missing", True),
    (
        "rule key",
        also(early_terminate={"type": "asha", "max_itre": 9}),
        "early_terminate.max_itre is not a known key, did you mean max_iter;",
        True,
    ),
    ("eta 1", also(early_terminate={"type": "asha", "eta": 1}), "eta must be a number above 1; got 1.", True),
    (
        "min_iter 0",
        also(early_terminate={"type": "median", "min_iter": 0}),
        "early_terminate.min_iter must",
        True,
    ),
    (
        "max_iter below min_iter",
        also(early_terminate={"type": "asha", "min_iter": 9, "max_iter": 3}),
        "early_terminate.max_iter 3 is below min_iter 9",
        False,
    ),
    ("pbt interval", also(early_terminate={"type": "pbt"}), "early_terminate.interval is missing", True),
    (
        "pbt quantile",
        also(early_terminate={"type": "pbt", "interval": 1, "quantile": 0.6}),
        "early_terminate.quantile must be a number above 0 up to 0.5; got 0.6.",
        True,
    ),
    (
        "pbt without sampled",
        param(3, early_terminate={"type": "pbt", "interval": 1}),
        "early_terminate.type pbt needs at least one sampled parameter",
        False,
    ),
    (
        "endless",
        without("run_cap"),
        "the sweep would never end: give run_cap, budget.hours or metric.target.",
        False,
    ),
    ("grid of a range", also(method="grid"), "parameters.lr is a continuous range, and method grid", False),
    ("start_with text", also(start_with=["x"]), "start_with[0] must be a mapping", True),
    ("start_with mapping", also(start_with={"lr": 1}), "start_with must be a list; got {'lr': 1}.", True),
    (
        "start_with unknown",
        also(start_with=[{}, {"lrr": 0.1}]),
        "start_with[1].lrr is not a known parameter, did you mean lr; known here: lr.",
        False,
    ),
    (
        "start_with outside",
        also(start_with=[{"lr": 3}]),
        "start_with[0].lr must be a number from 0.0001",
        False,
    ),
    ("start_from text", also(start_from="runs/a"), "start_from must be a list; got the text 'runs/a'.", True),
    (
        "start_from number",
        also(start_from=["runs/a", 3]),
        "start_from[1] must be a run folder, or the URI of one",
        True,
    ),
    ("no parameter", also(parameters={}), "parameters must map at least one name to its values", True),
    ("parameters list", also(parameters=[1]), "parameters must map at least one name", True),
    (
        "parameter key",
        param({"mim": 1, "min": 1, "max": 2}),
        "parameters.lr.mim is not a known key, did you",
        True,
    ),
    ("parameter list", param([1, 2]), "write {values: [...]} to choose among several.", True),
    ("parameter nothing", param(None), "parameters.lr must be a mapping or one value; got nothing", True),
    (
        "parameter empty",
        param({}),
        "parameters.lr gives no values: give one of value, values, grid, or min",
        True,
    ),
    ("two forms", param({"value": 1, "values": [1]}), "parameters.lr gives value and values at once", True),
    ("values and min", param({"values": [1], "min": 1}), "parameters.lr gives values and min at once", True),
    (
        "values text",
        param({"values": "sgd"}),
        "parameters.lr.values must be a list; got the text 'sgd'.",
        True,
    ),
    ("empty values", param({"values": []}), "parameters.lr.values is empty: give at least one value.", True),
    ("empty grid", param({"grid": []}), "parameters.lr.grid is empty: give at least one value.", True),
    ("duplicate", param({"values": [1, 2, 1]}), "parameters.lr.values holds 1 more than once", True),
    ("1 and true", param({"values": [2, 1, True]}), "values holds 1 and true, which a study can't tell apart:", False),
    ("false and 0.0", param({"grid": [False, 0.0]}), "grid holds false and 0.0, which a study can't tell", False),
    ("a list and its text", param({"values": [[1], "[1]"]}), "holds [1] and the text '[1]', which a study", False),
    ("1 and 1.0", param({"values": [1, 1.0]}), "values holds 1.0 more than once: remove the duplicate.", True),
    (
        "number in quotes",
        param({"min": "1e-4", "max": 1.0}),
        "got the text '1e-4': write the number without",
        True,
    ),
    ("bool bound", param({"min": 0, "max": True}), "parameters.lr.max must be a number; got true.", True),
    (
        "inf bound",
        param({"min": 0, "max": float("inf")}),
        "parameters.lr.max must be a number; got inf.",
        False,
    ),
    ("min above max", param({"min": 2, "max": 1}), "parameters.lr.min 2 is above max 1: swap them.", False),
    ("min is max", param({"min": 1, "max": 1}), "parameters.lr.min and max are both 1", False),
    ("no max", param({"min": 1}), "parameters.lr.max is missing: a range needs both min and max.", True),
    ("no min", param({"max": 1}), "parameters.lr.min is missing: a range needs both min and max.", True),
    (
        "log of 0",
        param({"min": 0, "max": 1, "distribution": LOG}),
        "parameters.lr.min must be above 0 for a log",
        True,
    ),
    (
        "log of less",
        param({"min": -1, "max": 8, "distribution": "int_log_uniform"}),
        "must be above 0 for",
        True,
    ),
    (
        "half an int",
        param({"min": 0.5, "max": 8, "distribution": "int_uniform"}),
        "lr.min must be a whole",
        True,
    ),
    (
        "q 0",
        param({"min": 0, "max": 1, "q": 0, "distribution": "q_uniform"}),
        "lr.q must be a number above 0",
        True,
    ),
    (
        "q large",
        param({"min": 0, "max": 1, "q": 2, "distribution": "q_uniform"}),
        "lr.q 2 is larger than",
        False,
    ),
    (
        "q left out and too large",
        param({"min": 0, "max": 0.5, "distribution": "q_uniform"}),
        "parameters.lr.q is 1 where it is left out, more than from 0 to 0.5: give a q.",
        False,
    ),
    ("q alone", param({"min": 0, "max": 1, "q": 0.1}), "q needs `distribution: q_uniform`", True),
    (
        "q with uniform",
        param({"min": 0, "max": 1, "q": 0.1, "distribution": "uniform"}),
        "q needs `distribution",
        True,
    ),
    (
        "unknown distribution",
        param({"min": 0, "max": 1, "distribution": "unifrom"}),
        "parameters.lr.distribution must be one of uniform, int_uniform, log_uniform_values, "
        "int_log_uniform, q_uniform, q_log_uniform_values, constant, categorical; "
        "got the text 'unifrom', did you mean uniform.",
        True,
    ),
    (
        "W&B's exponents",
        param({"min": -4, "max": 0, "distribution": "log_uniform"}),
        "parameters.lr.distribution is log_uniform, whose min and max are exponents in W&B: "
        "write log_uniform_values, with the values themselves as min and max.",
        True,
    ),
    (
        "wrong form",
        param({"values": [1], "distribution": "uniform"}),
        "uniform does not go with values",
        True,
    ),
    (
        "when text",
        param({"values": [1], "when": "x"}),
        "parameters.lr.when must map other parameters' names",
        True,
    ),
    (
        "when unknown",
        param({"values": [1], "when": {"rl": 1}}),
        "parameters.lr.when.rl is not a known",
        False,
    ),
    (
        "when empty",
        also(parameters={"a": 1, "b": {"value": 1, "when": {"a": []}}}),
        "when.a is an empty",
        True,
    ),
    (
        "when outside",
        also(parameters={"opt": {"values": ["sgd"]}, "m": {"values": [1], "when": {"opt": "adam"}}}),
        "parameters.m.when.opt names the text 'adam', but opt is one of sgd.",
        False,
    ),
    ("circle", also(parameters=CIRCLE), "parameters.a.when goes round in a circle: a -> b -> c -> a;", False),
    ("own parent", param({"values": [1], "when": {"lr": 1}}), "circle: lr -> lr;", False),
    (
        "grid under sampled",
        also(parameters={"o": {"values": [1, 2]}, "m": {"grid": [1], "when": {"o": 1}}}),
        "parameters.m.grid hangs on o, which is sampled",
        False,
    ),
    (
        "two of a range of int_uniform",
        param({"min": 1, "max": 1.5, "distribution": "int_uniform"}),
        "parameters.lr.max must be a whole number; got 1.5.",
        True,
    ),
    (
        "Ray's num_samples",
        also(num_samples=10),
        "num_samples is not a known key, did you mean run_cap; known here: name",
        True,
    ),
    ("W&B's program", also(program="x.py"), "program is not a known key, did you mean trainable;", True),
    ("Ray's mode", also(mode="max"), "mode is not a known key, did you mean metric.goal;", True),
    ("W&B's entity", also(entity="me"), "entity is not a known key, and there is no such thing here; known", True),
    ("Ray's max_t", also(max_t=9), "max_t is not a known key, did you mean early_terminate.max_iter;", True),
    (
        "Ray's reduction_factor",
        also(early_terminate={"type": "asha", "reduction_factor": 4}),
        "early_terminate.reduction_factor is not a known key, did you mean eta;",
        True,
    ),
    (
        "W&B's strict",
        also(early_terminate={"type": "hyperband", "strict": True}),
        "early_terminate.strict is not a known key, and there is no such thing here;",
        True,
    ),
    (
        "successive halving",
        also(early_terminate={"type": "successive_halving"}),
        "got the text 'successive_halving', did you mean asha.",
        True,
    ),
    ("W&B's bayesian", also(method="bayesian"), "got the text 'bayesian', did you mean bayes.", True),
    ("upper case", also(method="CMA-ES"), "got the text 'CMA-ES', did you mean cmaes.", True),
    (
        "Optuna's low",
        param({"low": 0.1, "min": 0.1, "max": 1.0}),
        "lr.low is not a known key, did you mean min;",
        True,
    ),
    (
        "normal",
        param({"min": 0, "max": 1, "distribution": "normal"}),
        "got the text 'normal', and there is no such thing here.",
        True,
    ),
    ("choice", param({"values": [1], "distribution": "choice"}), "'choice', did you mean categorical.", True),
    ("loguniform", param({"min": 1, "max": 2, "distribution": "loguniform"}), "did you mean log_uniform_values.", True),
    ("name of a parameter", also(parameters={3: 1}), "parameters.3 must have a text as its name", False),
]
