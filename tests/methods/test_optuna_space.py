import random

import optuna
import pytest

from tuner.methods.optuna_space import distribution, from_optuna, suggest, to_optuna
from tuner.methods.table import METHODS, make_sampler
from tuner.spec.domains import Choice, Constant
from tuner.spec.space import SearchSpace
from tuner.trial.seeds import derive_seed

SPACE = SearchSpace.from_dict(
    {
        "lr": {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"},
        "steps": {"min": 0.1, "max": 0.5, "q": 0.1, "distribution": "q_uniform"},
        "coarse": {"min": 1, "max": 64, "q": 3, "distribution": "q_log_uniform_values"},
        "width": {"min": 8, "max": 64, "q": 8, "distribution": "q_uniform"},
        "mixed": {"values": [None, True, 3, "x", 0.5]},
        "layers": {"values": [[32], [64, 64], {"a": 1}]},
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
        "epochs": 3,
    }
)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_asks_configurations_of_the_space(method: str) -> None:
    study = optuna.create_study()
    seen, momenta = set(), []
    for number in range(14):
        study.sampler = make_sampler(method, 7, number)
        trial = study.ask()
        params = suggest(SPACE, trial)
        assert SPACE.problems_of(params) == []
        assert ("momentum" in params) == (params["optimizer"] == "sgd")
        seen.add(params["lr"])
        momenta += [params["momentum"]] if "momentum" in params else []
        study.tell(trial, params["lr"])
    assert len(seen) > 10
    assert len(set(momenta)) == len(momenta) > 1


def test_values_come_back_from_optuna_as_they_were() -> None:
    rng = random.Random(0)
    for _ in range(50):
        for parameter in SPACE.parameters:
            domain = parameter.domain
            if isinstance(domain, Constant):
                continue
            value = domain.sample(rng)
            stored = to_optuna(domain, value)
            assert distribution(domain)._contains(distribution(domain).to_internal_repr(stored))
            assert from_optuna(domain, stored) == value
            if isinstance(domain, Choice):
                assert type(from_optuna(domain, stored)) is type(value)


def test_an_unknown_method_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'baes' is not one of grid, random, bayes"):
        make_sampler("baes", 0, 0)


def test_seeds_of_neighbours_differ_and_stay() -> None:
    seeds = [derive_seed(1, number) for number in range(1000)]
    assert len(set(seeds)) == 1000
    assert seeds[0] == derive_seed(1, 0) != derive_seed(2, 0)
