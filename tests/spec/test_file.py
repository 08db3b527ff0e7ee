"""A sweep file with what is changed on the command line."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import folder_of
from tuner.cli.main import cli
from tuner.errors import SpecError
from tuner.spec.file import changed, load_and_import
from tuner.spec.space import SearchSpace
from tuner.spec.trainable import parameters_of
from tuner.trial.try_once import problems_of_chosen

DIGITS = Path("search_spaces/digits.yaml")


def test_parameters_become_constants_and_keys_are_changed() -> None:
    given = {"lr": 0.01, "run_cap": 3, "budget.hours": 0.5, "early_terminate": "none", "parameters.precision": "auto"}
    before, _ = load_and_import(DIGITS)
    spec, _ = load_and_import(DIGITS, given)
    assert (spec.run_cap, spec.budget.hours, spec.early_terminate) == (3, 0.5, None)
    params = spec.parameters.to_dict()
    assert params == {**before.parameters.to_dict(), "lr": {"value": 0.01}, "precision": {"value": "auto"}}
    assert before.start_with
    assert [dict(one) for one in spec.start_with] == [
        {name: value for name, value in one.items() if name != "lr"} for one in before.start_with
    ]


def test_a_rule_is_changed_within_and_a_word_for_it_replaced() -> None:
    rule = changed({"early_terminate": {"type": "asha"}}, {"early_terminate.max_iter": 9})["early_terminate"]
    assert rule == {"type": "asha", "max_iter": 9}
    data: dict[str, Any] = {"early_terminate": "auto", "parameters": {"method": {"values": [1, 2]}}}
    assert changed(data, {"early_terminate.max_iter": 9, "method": 1}) == {
        "early_terminate": {"type": "auto", "max_iter": 9},
        "parameters": {"method": {"value": 1}},
    }
    assert data["early_terminate"] == "auto"
    assert changed({}, {"early_terminate.max_iter": 9})["early_terminate"] == {"type": "auto", "max_iter": 9}


def test_a_file_without_parameters_is_told_of_them_unless_some_are_set(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text("trainable: tests.loops:descent\nmetric: {name: loss}\nrun_cap: 2\n")
    for changes in ({}, {"run_cap": 3}):
        with pytest.raises(SpecError, match="parameters is missing"):
            load_and_import(path, changes)
    spec, _ = load_and_import(path, {"parameters.lr": 0.1})
    assert spec.parameters.to_dict() == {"lr": {"value": 0.1}}
    path.write_text(path.read_text() + "parameters: 5\n")
    with pytest.raises(SpecError, match="parameters must map"):
        load_and_import(path, {"run_cap": 3})


def test_what_hangs_on_a_parameter_goes_with_it_or_stays() -> None:
    data = {
        "parameters": {
            "model": {"values": ["a", "b"]},
            "size": {"values": [1, 2], "when": {"model": "a"}},
            "width": {"min": 1, "max": 9, "when": {"size": [2], "model": ["a", "b"]}},
            "lr": {"min": 0.1, "max": 1.0},
        },
        "start_with": [{"model": "a", "size": 2, "width": 3, "lr": 0.2}, {"model": "b"}],
    }
    assert changed(data, {"model": "b"}) == {
        "parameters": {"model": {"value": "b"}, "lr": {"min": 0.1, "max": 1.0}},
        "start_with": [{"lr": 0.2}, {}],
    }
    parameters = changed(data, {"model": "a"})["parameters"]
    assert parameters.keys() == data["parameters"].keys()
    assert parameters["width"]["when"] == {"size": [2], "model": "a"}
    SearchSpace.from_dict(parameters)
    fixed = changed(data, {"size": 1, "lr": {"min": 0.2, "max": 0.3}})
    assert fixed["parameters"]["size"] == {"when": {"model": "a"}, "value": 1}
    assert "width" not in fixed["parameters"]
    assert fixed["parameters"]["lr"] == {"min": 0.2, "max": 0.3}
    for name, value in (("optimizer", "adamw"), ("optimizer", "sgd"), ("momentum", 0.9)):
        load_and_import(DIGITS, {name: value})


def test_a_parameter_that_the_trainable_takes_need_not_be_in_the_file() -> None:
    sentiment = Path("search_spaces/sentiment.yaml")
    before = load_and_import(sentiment)[0].parameters.to_dict()
    spec, train = load_and_import(sentiment, {"text_column": "body", "class_weight": {"values": ["none", "balanced"]}})
    added = {"text_column": {"value": "body"}, "class_weight": {"values": ["none", "balanced"]}}
    assert not added.keys() & before.keys()
    assert spec.parameters.to_dict() == before | added
    assert problems_of_chosen(load_and_import(sentiment)[0], train, {"text_column": "body"}) == []
    with pytest.raises(SpecError, match=r"--set text_colum: neither .* did you mean text_column\?"):
        load_and_import(sentiment, {"text_colum": "body"})
    (problem,) = problems_of_chosen(spec, train, {"label_colum": "mood"})
    assert "did you mean label_column" in problem
    # A trainable that is replaced as well is asked itself.
    with pytest.raises(SpecError, match="--set text_column: neither"):
        load_and_import(sentiment, {"trainable": "tests.loops:descent", "text_column": "body"})


def test_every_task_names_its_parameters() -> None:
    for path in sorted(Path("search_spaces").glob("*.yaml")):
        spec, train = load_and_import(path)
        names = {parameter.name for parameter in spec.parameters.parameters}
        assert names
        assert names <= {*parameters_of(train)}, path


def test_a_name_that_there_is_not_is_told_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as told:
        load_and_import(DIGITS, {"leraning_rate": 0.1, "epoch": 3, "num_samples": 2, "parameters.lr.max": 1})
    assert [problem.split(".")[0].split(";")[-1] for problem in told.value.problems] == [
        "--set leraning_rate: neither a parameter of the file or its trainable nor a key of the file",
        " did you mean epochs? A parameter that the file does not have yet is set as parameters",
        " did you mean run_cap? A parameter that the file does not have yet is set as parameters",
        "--set parameters",
    ]
    with pytest.raises(SpecError, match=r"run_cap must be a whole number of 1 or more; got 0"):
        load_and_import(DIGITS, {"run_cap": 0})
    two = {"metric": [{"name": "a"}, {"name": "b"}]}
    with pytest.raises(SpecError, match=r"--set metric.name: metric is a list of 2; change the file"):
        changed(two, {"metric.name": "a"})
    output = folder_of(tmp_path / "runs")
    for text in ("epochs", "epochs=", "epochs=[1"):
        ended = CliRunner().invoke(cli, ["run", str(DIGITS), "--output", str(output), "--set", text])
        assert isinstance(ended.exception, SpecError)
        assert f"--set {text}: " in str(ended.exception)
    assert not list(output.iterdir())


def test_the_command_line_takes_them() -> None:
    ended = CliRunner().invoke(cli, ["check", str(DIGITS), "--set", "method=random", "--set", "early_terminate=none"])
    assert ended.exit_code == 0, ended.output
    assert "is right: random, no early stopping" in ended.output
