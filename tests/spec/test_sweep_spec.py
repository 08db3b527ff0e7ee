"""The sweep file: what is refused and with which sentence, round trips, YAML, the schema."""

import json
import random
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import tuner
from tests.bad_specs import BAD, GOOD, LR, also, without
from tuner.errors import SpecError
from tuner.metric import Goal, Metric, Patience
from tuner.spec.domains import Choice, Constant, Float
from tuner.spec.json_schema import json_schema
from tuner.spec.keys import EARLY_TERMINATE, METHODS
from tuner.spec.sections import Budget, Resources
from tuner.spec.space import Parameter, SearchSpace
from tuner.spec.sweep_spec import SweepSpec

SCHEMA_FILE = Path(tuner.__file__).with_name("sweep.schema.json")
FULL = {
    "name": "fashion-mnist",
    "trainable": "trainables.image_classification:train",
    "method": "tpe",
    "metric": {"name": "acc", "goal": "maximize", "target": 0.94, "patience": 5, "min_delta": 0.001},
    "parameters": {
        "optimizer": {"values": ["sgd", "adamw"]},
        "lr": LR,
        "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
        "width": {"min": 16, "max": 512, "distribution": "q_log_uniform_values", "q": 16},
        "depth": {"grid": [1, 2]},
        "batch_size": {"value": 128},
        "epochs": 27,
    },
    "early_terminate": {"type": "asha", "max_iter": 27},
    "run_cap": 64,
    "parallel": 4,
    "budget": {"hours": 2, "failed": 10, "gpu_hours": 1.5},
    "resources": {"cpu": 2, "gpu": 0.25, "workers": 2},
    "seed": 0,
    "start_with": [{"optimizer": "sgd", "lr": 0.1, "momentum": 0.9}, {}],
    "start_from": ["runs/a-1", "s3://sweeps/runs/b-2"],
    "checkpoints": {"keep": 3, "max_gb": 0.5},
    "failures": {"retries": 2},
    "stall_timeout": 600,
    "warm": False,
}


def refusal(data):
    with pytest.raises(SpecError) as caught:
        SweepSpec.from_dict(data)
    return caught.value.problems


@pytest.mark.parametrize(("data", "sentence"), [pytest.param(b[1], b[2], id=b[0]) for b in BAD])
def test_a_bad_sweep_is_refused_with_one_sentence(data, sentence):
    (problem,) = refusal(data)
    assert sentence in problem
    assert "\n" not in problem
    assert problem.endswith(".")


@pytest.mark.parametrize(("data", "rejects"), [pytest.param(b[1], b[3], id=b[0]) for b in BAD])
def test_the_schema_refuses_what_one_key_shows_to_be_wrong(data, rejects):
    data = json.loads(json.dumps(data))
    assert bool(list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))) == rejects


def test_all_mistakes_are_told_at_once():
    problems = refusal(
        {
            "trainable": "a:b",
            "method": "grdi",
            "metirc": {"name": "x"},
            "metric": [{"name": "x", "goal": "up"}, {"name": "y", "patience": "3"}],
            "parameters": {
                "lr": {"min": 2, "max": 1, "distribution": "q_uniform", "q": -1, "extra": 1},
                "m": {"min": "0.1", "when": {"opt": "sgd"}},
                "n": {"values": [1, 1, float("nan")]},
            },
            "run_cap": 0,
            "resources": {"gpu": 2.5, "cpus": 1},
            "early_terminate": {"type": "asha", "eta": 0.5, "max_iter": "9"},
            "checkpoints": {"keep": "bset"},
        }
    )
    starts = [
        "metirc is not",
        "method must",
        "run_cap must",
        "metric[0].goal must",
        "metric[1].patience must",
        "parameters.lr.extra is not",
        "parameters.lr.q must",
        "parameters.lr.min 2 is above",
        "parameters.m.max is missing",
        "parameters.n.values must",
        "parameters.n.values holds",
        "parameters.m.when.opt is not",
        "early_terminate.max_iter must",
        "early_terminate.eta must",
        "resources.cpus is not",
        "checkpoints.keep must",
        "resources.gpu must be a fraction",
        "early_terminate asha takes one metric",
    ]
    assert [start for start in starts if not any(p.startswith(start) for p in problems)] == []
    assert len(problems) == len(starts) + 1  # a number in quotes is told beside the missing max
    assert "parameters.m.min must be a number; got the text '0.1': write the number without quotes." in problems


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"hours": "2h"}},
        {"budget": {"hour": 2}},
        {"budget": 2},
        {"run_cpa": 3},
        {"num_samples": 3},
        {"time_budget_s": 60},
        {"run_cap": "4"},
        {"metric": {"name": "loss", "target": "0.1"}},
        {"metric": {"name": "loss", "traget": 0.1}},
        {"metirc": {"name": "loss", "target": 0.1}, "metric": None},
        {"method": "gird"},
        {"parameters": {"lr": {"min": 1, "max": 1}}},
        {"parameters": {"lr": [1, 2]}},
        {"parameters": {"lr": {"value": [float("nan")]}}},
    ],
)
def test_what_may_have_been_meant_to_end_the_sweep_is_no_second_mistake(changes):
    data = {**without("run_cap"), **changes}
    assert len(refusal({key: value for key, value in data.items() if value is not None})) == 1


def test_the_right_parameters_are_checked_beside_wrong_ones():
    problems = refusal(
        {
            **GOOD,
            "parameters": {
                "optimizer": {"values": ["sgd", "adam", "sgd"]},
                "momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "adm"}},
                "lr": LR,
                "size": {"grid": [1, 2], "when": {"optimizer": "sgd"}},
                "deep": {"grid": [1, 2], "when": {"size": 1, "lr": 3}},
            },
            "start_with": [{"optimizer": "rmsprop", "momentum": 0.5}, {"momentum": 2, "lrr": 1}, "x", {"size": 3}],
        }
    )
    starts = [
        "parameters.optimizer.values holds",
        "parameters.deep.when.lr names 3",
        "start_with[2] must be a mapping",
        "parameters.size.grid depends on optimizer",
        "parameters.deep.grid depends on lr",
        "start_with[1].lrr is not a known parameter, did you mean lr; known here: momentum, lr, size, deep, optimizer",
        "start_with[1].momentum must be a number from 0 to 0.9",
        "start_with[3].size must be one of 1, 2",
    ]
    assert [start for start in starts if not any(p.startswith(start) for p in problems)] == []
    assert len(problems) == len(starts)


@pytest.mark.parametrize("data", [GOOD, FULL], ids=["good", "full"])
def test_good_sweeps_round_trip_and_fit_the_schema(data):
    spec = SweepSpec.from_dict(data)
    plain = spec.to_dict()
    assert SweepSpec.from_dict(plain) == spec
    assert SweepSpec.from_dict(json.loads(json.dumps(plain))) == spec
    jsonschema.Draft202012Validator(json_schema()).validate(plain)
    jsonschema.Draft202012Validator(json_schema()).validate(data)


def test_what_a_full_file_says():
    spec = SweepSpec.from_dict(FULL)
    assert spec.metrics == (Metric("acc", Goal.MAXIMIZE, 0.94, Patience(5, 0.001)),)
    assert spec.early_terminate == {"type": "asha", "min_iter": 1, "max_iter": 27, "eta": 3}
    assert spec.budget == Budget(hours=2, failed=10, gpu_hours=1.5)
    assert spec.resources == Resources(cpu=2, gpu=0.25, workers=2)
    assert (spec.checkpoints.keep, spec.checkpoints.max_gb, spec.failures.retries) == (3, 0.5, 2)
    assert spec.start_with == ({"optimizer": "sgd", "lr": 0.1, "momentum": 0.9}, {})
    assert (spec.seed, spec.parallel, spec.stall_timeout, spec.run_cap) == (0, 4, 600, 64)


def test_defaults():
    spec = SweepSpec.from_dict(GOOD, name_default="my sweep")
    assert (spec.name, spec.method, spec.parallel, spec.seed) == ("my-sweep", "bayes", "auto", None)
    assert (spec.budget, spec.resources, spec.early_terminate) == (Budget(), Resources(1, 0, 1), AUTO)
    assert (spec.metrics[0].goal, spec.start_with, spec.checkpoints.keep) == (Goal.MINIMIZE, (), "best")


def random_sweep(rng):
    nodes = [
        LR,
        {"min": 1, "max": 9},
        {"min": 0, "max": 1, "distribution": "q_uniform", "q": 0.25},
        {"values": ["a", None, True, 1.5, [1, 2]]},
        {"grid": [8, 16]},
        {"value": {"deep": [1]}},
        3,
    ]
    data = {**GOOD, "parameters": {f"p{i}": rng.choice(nodes) for i in range(rng.randint(1, 6))}}
    data["parameters"]["opt"] = {"values": ["x", "y"]}
    data["parameters"]["child"] = {"min": 0.0, "max": 1.0, "when": {"opt": rng.choice(["x", ["x", "y"]])}}
    for key in (
        "name",
        "budget",
        "resources",
        "checkpoints",
        "failures",
        "seed",
        "stall_timeout",
        "warm",
        "parallel",
    ):
        if rng.random() < 0.5:
            data[key] = FULL[key]
    data["resources"] = FULL["resources"]
    data["early_terminate"] = rng.choice([{"type": "median"}, {"type": "pbt", "interval": 2}, FULL["early_terminate"]])
    return data


AUTO = {"type": "auto", "min_iter": 1, "eta": 3}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, AUTO),
        ({"method": "bayes"}, AUTO),
        ({"metric": [{"name": "acc"}, {"name": "size"}]}, AUTO),
        ({"early_terminate": "none"}, None),
        ({"early_terminate": "asha"}, {"type": "asha", "min_iter": 1, "eta": 3}),
        ({"method": "random"}, None),
        ({"method": "tpe", "early_terminate": "auto"}, AUTO),
        ({"parameters": {"lr": {"grid": [0.1, 0.2]}}}, None),
    ],
)
def test_bayes_stops_trials_early_unless_it_is_told_otherwise(changes, rule):
    spec = SweepSpec.from_dict({**GOOD, **changes})
    assert spec.early_terminate == rule
    assert SweepSpec.from_dict(spec.to_dict()) == spec
    assert spec.to_dict()["early_terminate"] == (rule or "none")


@pytest.mark.parametrize("seed", range(40))
def test_random_sweeps_round_trip(seed):
    rng = random.Random(seed)
    spec = SweepSpec.from_dict(random_sweep(rng))
    assert SweepSpec.from_dict(spec.to_dict()) == spec
    jsonschema.Draft202012Validator(json_schema()).validate(spec.to_dict())
    params = spec.parameters.sample(rng)
    assert spec.parameters.problems_of(params) == []
    again = SweepSpec.from_dict({**spec.to_dict(), "start_with": [params]})
    assert again.start_with == (params,)


def test_a_sweep_that_is_built_in_python_is_checked_too():
    space = SearchSpace((Parameter("lr", Float(0.0, 1.0)),))
    with pytest.raises(SpecError) as caught:
        SweepSpec(trainable="a:b", metrics=(Metric("x"),), parameters=space, method="byes", run_cap=0)
    assert len(caught.value.problems) == 2
    with pytest.raises(SpecError, match="never end"):
        SweepSpec(trainable="a:b", metrics=(Metric("x"),), parameters=space)
    with pytest.raises(SpecError, match="budget"):
        Budget(hours=-1)
    with pytest.raises(SpecError) as caught:
        SweepSpec(
            trainable="a",
            metrics=(Metric("x"), Metric("x", patience=Patience(2))),
            parameters=space,
            run_cap="4",
            method="gp",
            early_terminate={"type": "asha", "eta": 0},
            start_with=({"lr": 2}, 3),
            resources=Resources(gpu=1.5),
            budget=Budget(gpu_hours=1),
        )
    starts = ["trainable must", "run_cap must", "early_terminate.eta must", "start_with[1] must", "resources.gpu must"]
    starts += ["metric names x more", "metric[1].patience has", "method gp takes", "early_terminate asha takes"]
    starts += ["start_with[0].lr must"]
    assert [problem for problem in caught.value.problems if not problem.startswith(tuple(starts))] == []
    assert len(caught.value.problems) == len(starts)
    with pytest.raises(
        SpecError, match=r"early_terminate must be one of .*, none, or a mapping; got 'ahsa': did you mean asha"
    ):
        SweepSpec(trainable="a:b", metrics=(Metric("x"),), parameters=space, run_cap=1, early_terminate="ahsa")
    finite = SearchSpace((Parameter("lr", Choice((1, 2), grid=True)),))
    assert SweepSpec(trainable="a:b", metrics=(Metric("x"),), parameters=finite).run_cap is None


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"hours": 1}},
        {"metric": {"name": "loss", "target": 0.0}},
        {"budget": {"gpu_hours": 1}, "resources": {"gpu": 1}},
        {"budget": {"gpu_hours": 1}, "resources": {"gpu": "auto"}},
        {"method": "grid", "parameters": {"lr": {"values": [1, 2]}}},
        {"parameters": {"lr": {"grid": [1, 2]}, "epochs": 3}},
    ],
)
def test_sweeps_that_end_need_no_run_cap(changes):
    assert SweepSpec.from_dict({**without("run_cap"), **changes}).run_cap is None


def test_tables_name_every_method_and_rule():
    for method in METHODS:
        spec = SweepSpec.from_dict({**GOOD, "method": method, "parameters": {"a": {"values": [1, 2]}}})
        assert spec.method == method
    for name, table in EARLY_TERMINATE.items():
        required = {key: 2 for key, field in table.items() if field.required}
        assert SweepSpec.from_dict({**GOOD, "early_terminate": {"type": name, **required}}).early_terminate


def test_yaml_is_read_as_1_2(tmp_path):
    path = tmp_path / "my.sweep.yaml"
    path.write_text(
        "trainable: a:b\nmetric: {name: on}\nrun_cap: 1e2\n"
        "parameters:\n  lr: {min: 1e-4, max: 1, distribution: log_uniform_values}\n"
        "  switch: {values: [on, off]}\n"
    )
    spec = SweepSpec.from_yaml(path)
    lr, switch = spec.parameters.parameters
    assert lr.domain == Float(1e-4, 1.0, log=True)
    assert switch.domain == Choice(("on", "off"))
    assert (spec.name, spec.run_cap, type(spec.run_cap)) == ("my.sweep", 100, int)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1\nb: 2\n", "line 2, column 2: this is not valid YAML: "),
        ("seed: 1\nname: x\nseed: 2\n", "line 3, column 1: this is not valid YAML: found duplicate key"),
        ("", "the sweep must be a mapping"),
        ("a: \x01\n", "this is not valid YAML"),
        (None, "there is no such file; give the path of a sweep file."),
    ],
)
def test_files_that_are_no_yaml(tmp_path, text, sentence):
    path = tmp_path / "sweep.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError) as caught:
        SweepSpec.from_yaml(path)
    (problem,) = caught.value.problems
    assert sentence in problem


@pytest.mark.parametrize("node", ["2026-01-02", "{values: [3, 2026-01-02]}", "{value: 2026-01-02}"])
def test_a_date_is_told_how_it_becomes_a_text(tmp_path, node):
    path = tmp_path / "x.yaml"
    path.write_text(f"trainable: m:f\nmetric: {{name: loss}}\nrun_cap: 1\nparameters: {{x: {node}}}\n")
    with pytest.raises(SpecError, match="got the date 2026-01-02: put it in quotes to make it a text"):
        SweepSpec.from_yaml(path)


def test_numpys_numbers_are_numbers():
    given = also(
        run_cap=np.int64(3),
        seed=np.uint8(7),
        metric={"name": np.str_("loss"), "target": np.float32(0.5)},
        parameters={
            "lr": {"min": np.float64(1e-3), "max": np.float32(0.5)},
            "width": {"values": np.arange(3)},
            "on": {"values": [np.bool_(True), np.bool_(False)]},
            "depth": np.int8(2),
        },
        start_with=[{"depth": np.int64(2), "on": np.True_}],
    )
    spec = SweepSpec.from_dict(given)
    assert json.loads(json.dumps(spec.to_dict())) == spec.to_dict()
    assert (spec.run_cap, spec.seed, spec.metrics[0].target) == (3, 7, 0.5)
    domains = {parameter.name: parameter.domain for parameter in spec.parameters.parameters}
    assert domains == {
        "lr": Float(0.001, 0.5),
        "width": Choice((0, 1, 2)),
        "on": Choice((True, False)),
        "depth": Constant(2),
    }
    assert [type(value) for value in (domains["lr"].low, *domains["width"].values)] == [float, int, int, int]


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xc3\x28")
    with pytest.raises(SpecError, match="can't be read as UTF-8 text"):
        SweepSpec.from_yaml(tmp_path / "x.yaml")
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "x.yaml").write_text("name: a", encoding=encoding)
        with pytest.raises(SpecError, match="the file is UTF-16 text, as some editors write: save it as UTF-8"):
            SweepSpec.from_yaml(tmp_path / "x.yaml")
    with pytest.raises(SpecError, match="can't be read"):
        SweepSpec.from_yaml(tmp_path)


def test_the_shipped_schema_is_the_one_of_the_tables():
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema(), "write it anew: tuner schema > tuner/sweep.schema.json"
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_key_of_the_schema_is_described():
    def walk(node, path):
        for key, value in node.get("properties", {}).items() if isinstance(node, dict) else ():
            if isinstance(value, dict) and not path.endswith(("then", "if")):
                assert value.get("description"), f"{path}.{key}"
                assert value.get("title"), f"{path}.{key}"
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, dict | list):
                walk(value, f"{path}.{key}")

    walk(json_schema(), "")
