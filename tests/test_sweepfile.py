"""A sweep file with what is changed on the command line."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import folder_of
from tuner.cli import cli
from tuner.errors import SpecError
from tuner.sweepfile import changed, load_and_import

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
    assert changed({"early_terminate": {"type": "asha"}}, {"early_terminate.max_iter": 9}) == {
        "early_terminate": {"type": "asha", "max_iter": 9}
    }
    data: dict[str, Any] = {"early_terminate": "auto", "parameters": {"method": {"values": [1, 2]}}}
    assert changed(data, {"early_terminate.type": "asha", "method": 1}) == {
        "early_terminate": {"type": "asha"},
        "parameters": {"method": {"value": 1}},
    }
    assert data["early_terminate"] == "auto"


def test_a_name_that_there_is_not_is_told_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as told:
        load_and_import(DIGITS, {"leraning_rate": 0.1, "epoch": 3, "budget.": 1})
    assert len(told.value.problems) == 3
    assert "--set epoch: neither a parameter of the file nor a key of it; did you mean epochs" in str(told.value)
    with pytest.raises(SpecError, match=r"run_cap must be a whole number of 1 or more; got 0"):
        load_and_import(DIGITS, {"run_cap": 0})
    output = folder_of(tmp_path / "runs")
    ended = CliRunner().invoke(cli, ["run", str(DIGITS), "--output", str(output), "--set", "epochs"])
    assert ended.exit_code != 0
    assert not list(output.iterdir())


def test_the_command_line_takes_them() -> None:
    ended = CliRunner().invoke(cli, ["check", str(DIGITS), "--set", "method=random", "--set", "early_terminate=none"])
    assert ended.exit_code == 0, ended.output
    assert "is right: random, no early stopping" in ended.output
