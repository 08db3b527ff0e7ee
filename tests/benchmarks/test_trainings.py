"""That the peers of real trainings are given what they search for."""

import functools

from optuna.samplers import RandomSampler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.trainings import ask
from tuner.parameters import SearchSpace

SPACE = SearchSpace.from_dict(
    {
        "epochs": {"value": 3},
        "optimizer": {"values": ["sgd", "adam"]},
        "lr": {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"},
        "momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "sgd"}},
    }
)


def test_a_peer_is_given_the_whole_configuration() -> None:
    search = OptunaSearch(functools.partial(ask, SPACE), metric="loss", mode="min", sampler=RandomSampler(0))
    asked = [search.suggest(str(number)) for number in range(20)]
    assert all(params["epochs"] == 3 for params in asked)
    assert all(("momentum" in params) == (params["optimizer"] == "sgd") for params in asked)
    assert len({params["lr"] for params in asked}) == 20
