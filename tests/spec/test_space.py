"""Domains and search spaces: sampling, checking, conditions, grids, and the file's syntax."""

import dataclasses
import math
import random

import pytest

from tuner.errors import SpecError
from tuner.spec.domains import Choice, Constant, Float, Int
from tuner.spec.space import Parameter, SearchSpace, SpaceDraft

DOMAINS = [
    Float(0.0, 1.0),
    Float(-3, 5),
    Float(1e-6, 1.0, log=True),
    Float(0.1, 0.95, step=0.1),
    Float(0.5, 64.0, log=True, step=0.5),
    Int(1, 9),
    Int(-5, 30, step=7),
    Int(1, 4096, log=True),
    Int(16, 250, log=True, step=16),
    Int(-(2**63), 2**63 - 1),
    Choice(("sgd", "adam")),
    Choice((1, 2.5, False, None, "x", [64, 64], {"a": 1})),
    Choice((16, 32), grid=True),
    Constant(128),
    Constant([1, {"a": None}]),
]

CONDITIONAL = {
    "nesterov": {"values": [True, False], "when": {"optimizer": "sgd", "momentum_on": True}},
    "optimizer": {"values": ["sgd", "adam"]},
    "momentum_on": {"values": [True, False], "when": {"optimizer": ["sgd"]}},
    "lr": {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"},
    "epochs": 27,
}


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_samples_are_contained_and_the_file_syntax_round_trips(domain):
    rng = random.Random(0)
    assert all(domain.contains(domain.sample(rng)) for _ in range(300))
    space = SearchSpace((Parameter("x", domain),))
    assert SearchSpace.from_dict(space.to_dict()) == space


def test_a_range_reaches_both_ends_and_is_uniform():
    rng = random.Random(1)
    draws = [Int(1, 4).sample(rng) for _ in range(4000)]
    # Each count has mean 1000 and deviation 27: a false alarm once in 10^8 runs, were the seed not fixed.
    assert all(abs(draws.count(value) - 1000) < 160 for value in (1, 2, 3, 4))
    assert {Float(0.0, 0.3, step=0.1).sample(rng) for _ in range(200)} == {0.0, 0.1, 0.2, 0.3}
    logs = [math.log10(Float(1e-4, 1.0, log=True).sample(rng)) for _ in range(4000)]
    assert abs(sum(logs) / 4000 + 2) < 0.1
    whole = [Int(1, 1000, log=True).sample(rng) for _ in range(4000)]
    assert 0.35 < sum(value <= 31 for value in whole) / 4000 < 0.65
    assert {1, 1000} < {Int(1, 1000, log=True).nearest(value) for value in (0.2, 500, 2000)}


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (Float(0, 1), 1.1),
        (Float(0, 1), True),
        (Float(0, 1), "0.5"),
        (Float(0, 1), math.nan),
        (Float(0, 1, step=0.25), 0.3),
        (Int(1, 9), 3.0),
        (Int(1, 9), True),
        (Int(1, 9), 10),
        (Int(1, 9, step=2), 2),
        (Choice((1, 2)), True),
        (Choice(("a",)), None),
        (Constant(1), 2),
    ],
)
def test_what_a_domain_does_not_contain(domain, value):
    assert not domain.contains(value)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Float(2, 1), "min 2 is above max 1: swap them."),
        (lambda: Float(1, 1), "min and max are both 1: write {value: 1}, or widen the range."),
        (lambda: Float(0, 1, log=True), "min must be above 0 for a logarithmic range"),
        (lambda: Float(math.nan, 1), "min must be a number; got nan."),
        (lambda: Float(0, math.inf), "max must be a number; got inf."),
        (lambda: Float(0, 10**400), "max must be a number"),
        (
            lambda: Float("1e-4", 1),
            "min must be a number; got the text '1e-4': write the number without quotes.",
        ),
        (lambda: Float(0, 1, step=0), "q must be a number above 0; got 0."),
        (lambda: Float(0, 1, step=2), "q 2 is larger than the range 0 to 1: give a smaller q."),
        (lambda: Int(0.5, 3), "min must be a whole number; got 0.5."),
        (lambda: Int(0, 8, step=2.5), "q must be a whole number; got 2.5."),
        (lambda: Int(0, True), "max must be a whole number; got true."),
        (lambda: Choice(()), "values is empty: give at least one value."),
        (lambda: Choice((), grid=True), "grid is empty: give at least one value."),
        (lambda: Choice((1, 2, 1)), "values holds 1 more than once: remove the duplicate."),
        (lambda: Choice((math.nan,)), "values must be text, finite numbers"),
        (lambda: Constant(object), "value must be text, finite numbers"),
        (
            lambda: SearchSpace((Parameter("a", Constant(1)), Parameter("a", Constant(2)))),
            "more than once: a, a",
        ),
    ],
)
def test_domains_are_checked_when_built(build, sentence):
    with pytest.raises(SpecError) as caught:
        build()
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("node", "domain"),
    [
        ({"min": 1, "max": 9}, Int(1, 9)),
        ({"min": 1, "max": 9.0}, Float(1, 9)),
        ({"min": 0, "max": 1, "distribution": "uniform"}, Float(0, 1)),
        ({"min": 1, "max": 8, "distribution": "log_uniform_values"}, Float(1, 8, log=True)),
        ({"min": 1.0, "max": 1e3, "distribution": "int_uniform"}, Int(1, 1000)),
        ({"min": 1, "max": 512, "distribution": "int_log_uniform"}, Int(1, 512, log=True)),
        ({"min": 16, "max": 64, "distribution": "q_uniform", "q": 16}, Int(16, 64, step=16)),
        ({"min": 1, "max": 5, "distribution": "q_uniform"}, Int(1, 5)),
        ({"min": 0.5, "max": 5, "distribution": "q_uniform"}, Float(0.5, 5, step=1)),
        ({"min": 0, "max": 1, "distribution": "q_uniform", "q": 0.1}, Float(0, 1, step=0.1)),
        ({"min": 1, "max": 9, "distribution": "q_log_uniform_values", "q": 2}, Int(1, 9, log=True, step=2)),
        ({"min": 0.5, "max": 9, "distribution": "q_log_uniform_values"}, Float(0.5, 9, log=True, step=1)),
        ({"value": [1, 2]}, Constant([1, 2])),
        ({"value": "x", "distribution": "constant"}, Constant("x")),
        ({"values": [1, "a"], "distribution": "categorical"}, Choice((1, "a"))),
        ({"grid": [1, 2]}, Choice((1, 2), grid=True)),
        (27, Constant(27)),
        ("sgd", Constant("sgd")),
    ],
)
def test_file_syntax(node, domain):
    (parameter,) = SearchSpace.from_dict({"x": node}).parameters
    assert parameter == Parameter("x", domain)
    assert type(parameter.domain) is type(domain)


def test_conditions_order_sampling_and_round_trip():
    space = SearchSpace.from_dict(CONDITIONAL)
    names = [parameter.name for parameter in space.parameters]
    assert names == ["optimizer", "momentum_on", "nesterov", "lr", "epochs"]
    assert SearchSpace.from_dict(space.to_dict()) == space
    rng = random.Random(3)
    seen = set()
    for _ in range(300):
        params = space.sample(rng)
        assert space.problems_of(params) == []
        assert ("momentum_on" in params) == (params["optimizer"] == "sgd")
        assert ("nesterov" in params) == (params.get("momentum_on") is True)
        seen.add(tuple(params))
    assert len(seen) == 3
    assert space.sample(random.Random(5)) == space.sample(random.Random(5))


def test_complete_keeps_what_is_chosen():
    space = SearchSpace.from_dict(CONDITIONAL)
    params = space.complete({"optimizer": "adam", "lr": 0.5}, random.Random(0))
    assert params == {"optimizer": "adam", "lr": 0.5, "epochs": 27}


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({}, []),
        ({"lr": 0.1}, []),
        ({"optimizer": "sgd", "momentum_on": True, "nesterov": False}, []),
        (
            {"learning": 1, "optimiser": "sgd"},
            [
                "learning is not a known parameter; known here: optimizer, momentum_on, nesterov, lr, epochs.",
                "optimiser is not a known parameter, did you mean optimizer; "
                "known here: optimizer, momentum_on, nesterov, lr, epochs.",
            ],
        ),
        ({"lr": 2}, ["lr must be a number from 0.0001 to 1; got 2."]),
        ({"epochs": 3}, ["epochs must be 27; got 3."]),
        ({"optimizer": "lion"}, ["optimizer must be one of sgd, adam; got the text 'lion'."]),
        (
            {"momentum_on": True},
            ["momentum_on exists only when optimizer is sgd: set that as well, or remove momentum_on."],
        ),
        (
            {"optimizer": "adam", "momentum_on": True},
            ["momentum_on exists only when optimizer is sgd: set that as well, or remove momentum_on."],
        ),
    ],
)
def test_problems_of_a_given_configuration(params, problems):
    assert SearchSpace.from_dict(CONDITIONAL).problems_of(params) == problems


def test_a_constant_parent_counts_as_given():
    space = SearchSpace.from_dict({"kind": "cnn", "depth": {"min": 1, "max": 3, "when": {"kind": "cnn"}}})
    assert space.problems_of({"depth": 2}) == []


def test_grid_cells_respect_conditions_and_hold_no_duplicates():
    space = SearchSpace.from_dict(
        {
            "optimizer": {"grid": ["sgd", "adam"]},
            "momentum": {"grid": [0.5, 0.9], "when": {"optimizer": "sgd"}},
            "kind": "cnn",
            "depth": {"grid": [1, 2], "when": {"kind": "cnn"}},
            "heads": {"grid": [4, 8], "when": {"depth": 2}},
            "lr": {"min": 0.0, "max": 1.0},
        }
    )
    cells = space.grid_cells()
    assert len(cells) == 3 * 3
    assert {"optimizer": "adam", "depth": 1} in cells
    assert {"optimizer": "sgd", "momentum": 0.9, "depth": 2, "heads": 8} in cells
    assert len({repr(cell) for cell in cells}) == len(cells)
    assert not space.is_finite
    assert SpaceDraft.of(space).hanging_grids() == []


def test_no_grid_is_one_empty_cell():
    space = SearchSpace.from_dict({"lr": {"min": 0.0, "max": 1.0}, "epochs": 3})
    assert space.grid_cells() == [{}]
    assert SearchSpace.from_dict({"epochs": 3}).is_finite


def test_a_grid_can_not_hang_on_what_is_sampled():
    space = SearchSpace.from_dict(
        {
            "optimizer": {"values": ["sgd", "adam"]},
            "momentum": {"grid": [0.5, 0.9], "when": {"optimizer": "sgd"}},
        }
    )
    assert SpaceDraft.of(space).hanging_grids() == [
        "parameters.momentum.grid depends on optimizer, which is sampled: "
        "make optimizer a grid as well, or give `values` in place of `grid`."
    ]
    assert space.grid_cells() == [{}]
    assert len(space.as_grid().grid_cells()) == 3


def test_as_grid_lists_every_range_that_can_be_listed():
    space = SearchSpace.from_dict(
        {
            "a": {"values": ["x", "y"]},
            "b": {"min": 1, "max": 3},
            "c": {"min": 0.0, "max": 0.3, "distribution": "q_uniform", "q": 0.1},
            "d": 1,
            "e": {"min": 1, "max": 9, "distribution": "q_log_uniform_values", "q": 4, "when": {"b": [1, 2]}},
        }
    ).as_grid()
    assert space.is_finite
    domains = [parameter.domain for parameter in space.parameters]
    assert domains[1:3] == [Choice((1, 2, 3), grid=True), Choice((0.0, 0.1, 0.2, 0.3), grid=True)]
    assert domains[4] == Choice((1, 5, 9), grid=True)
    assert len(space.grid_cells()) == 2 * 4 * (3 + 3 + 1)


def test_as_grid_names_each_range_that_can_not_be_listed():
    space = SearchSpace.from_dict({"lr": {"min": 0.0, "max": 1.0}, "n": {"min": 0, "max": 10**9}, "m": {"values": [1]}})
    with pytest.raises(SpecError) as caught:
        space.as_grid()
    advice = "and method grid needs a finite list: give `values`, or `distribution: q_uniform` with `q`."
    assert caught.value.problems == (
        f"parameters.lr is a continuous range, {advice}",
        f"parameters.n is a range of more than 10000 values, {advice}",
    )


def test_values_are_frozen_and_hashable():
    parameter = Parameter("x", Choice((1, 2)), {"y": (1,)})
    assert hash(parameter) == hash(Parameter("x", Choice((1, 2)), {"y": (1,)}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        parameter.name = "z"
