"""That the peers of real trainings are given what they search for, and what is told of the runs."""

import functools

from optuna.samplers import RandomSampler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.trainings import OURS, ask, figures
from tuner.spec.space import SearchSpace

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


def test_time_to_the_better_peer_of_the_same_seed() -> None:
    ours = [[(1.0, 0.5), (2.0, 0.4), (3.0, 0.8)], [(1.0, 0.7)]]
    peers = {"one": [[(9.0, 0.6)], [(9.0, 0.7)]], "other": [[(9.0, 0.7)], [(8.0, 0.8), (9.0, 0.6)]]}
    found = figures({OURS: ours, **peers})
    assert found["seconds_to_peer"] == [3.0, None]
    assert found["final"] == {OURS: [0.8, 0.7], "one": [0.6, 0.7], "other": [0.7, 0.8]}
    assert found["incumbents"][OURS] == [[(1.0, 0.5), (3.0, 0.8)], [(1.0, 0.7)]]
