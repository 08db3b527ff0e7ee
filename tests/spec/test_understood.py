"""What `tuner check` says of a space, and of what is right and hardly ever meant."""

import pytest

from tests.bad_specs import GOOD
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.understood import describe, hints

SPACE = {
    "lr": {"min": 1e-4, "max": 1, "distribution": "log_uniform_values"},
    "width": {"min": 16, "max": 512, "distribution": "q_log_uniform_values", "q": 16},
    "layers": {"min": 1, "max": 4},
    "dropout": {"min": 0.2, "max": 0.8, "distribution": "q_uniform", "q": 0.3},
    "optimizer": {"values": ["sgd", None, True, [1, "ä"]]},
    "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": ["sgd", None]}},
    "fold": {"grid": [1, 2]},
    "epochs": 27,
    "name": "x",
}


def described(space: object, **keys: object) -> list[str]:
    return describe(SweepSpec.from_dict({**GOOD, "parameters": space, **keys}))


def test_each_parameter_is_told_as_it_was_understood() -> None:
    assert described(SPACE) == [
        "lr: a number from 0.0001 to 1, logarithmic",
        "width: a whole number from 16 to 512 in steps of 16, logarithmic (32 values)",
        "layers: a whole number from 1 to 4 (4 values)",
        "dropout: a number from 0.2 to 0.8 in steps of 0.3 (3 values)",
        'optimizer: one of sgd, null, true, [1, "ä"] (4 values)',
        "momentum: a number from 0.5 to 0.99; only when optimizer is sgd or null",
        "fold: one of 1, 2 (2 values), each in turn",
        "epochs: always 27",
        "name: always the text 'x'",
        "in all: infinitely many configurations, at most 3,072 combinations of what can be counted",
    ]


def test_a_text_that_looks_like_something_else_is_quoted() -> None:
    line = described({"x": {"values": ["1", 1, "null", "a b", ""]}})[0]
    assert line == 'x: one of "1", 1, "null", a b, "" (5 values)'


@pytest.mark.parametrize(
    ("space", "size"),
    [
        ({"x": {"value": 1}}, "1 configuration"),
        ({"x": {"min": 0, "max": 9}, "y": {"values": [1, 2]}}, "20 configurations"),
        ({"x": {"min": 0.0, "max": 9}}, "infinitely many configurations"),
        ({"a": {"values": [1, 2]}, "b": {"values": [1, 2, 3], "when": {"a": 1}}}, "4 configurations"),
        ({"a": {"grid": list(range(1000))}, "b": {"grid": list(range(1000))}}, "1,000,000 configurations"),
    ],
)
def test_the_size_of_a_space(space: object, size: str) -> None:
    is_grid = "min" not in str(space)
    assert described(space, method="grid" if is_grid else "random")[-1] == f"in all: {size}"


@pytest.mark.parametrize(
    ("node", "hint"),
    [
        ({"min": 0, "max": 1}, "is 0 or 1, since whole bounds make a range of whole numbers: write 1.0 for all"),
        ({"values": ["None", "sgd"]}, ": None is a text here; write null for None."),
        ("yes", ": yes is a text here, as in YAML 1.2; write true for a truth value."),
        ({"value": "Off"}, ": Off is a text here, as in YAML 1.2; write false for a truth value."),
        ({"grid": ["-inf", 1]}, ": -inf is a text here, which float() reads; parameters are finite numbers."),
        ({"values": ["1e-4", 1]}, ": '1e-4' is a text here; write it without quotes for a number."),
    ],
)
def test_what_is_hardly_ever_meant_is_hinted_at(node: object, hint: str) -> None:
    data = {**GOOD, "parameters": {"x": node}}
    SweepSpec.from_dict(data)
    (found,) = hints(data)
    assert found.startswith("parameters.x")
    assert hint in found


@pytest.mark.parametrize(
    "node",
    [
        *({"min": 0, "max": 1.0}, {"min": 0, "max": 2}, {"values": [0, 1]}, {"values": [None, "none", "no_decay"]}),
        *({"min": 0, "max": 1, "distribution": "int_uniform"}, "1:30", True, None, {"value": None}, "sgd"),
    ],
)
def test_what_is_meant_gets_no_hint(node: object) -> None:
    assert hints({**GOOD, "parameters": {"x": node}}) == []
