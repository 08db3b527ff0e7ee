"""Suggestions of any sampler become rows, each handed out once."""

from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from tuner.methods.optuna_space import suggest
from tuner.simulation.rows import RowSampler
from tuner.spec.space import SearchSpace

SPACE = SearchSpace.from_dict(
    {
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.0, "max": 1.0, "when": {"optimizer": "sgd"}},
        "lr": {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"},
        "layers": {"values": [[8], [8, 8]]},
        "epochs": {"value": 3},
    }
)
ADAM = [{"optimizer": "adam", "lr": lr, "layers": [8, 8], "epochs": 3} for lr in (1e-3, 1e-2, 0.1)]
SGD = [{"optimizer": "sgd", "momentum": m, "lr": 0.01, "layers": [8], "epochs": 3} for m in (0.1, 0.5, 0.9)]


class Wants(RandomSampler):
    """Asks for one configuration again and again."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return {"optimizer": "sgd", "momentum": 0.6, "lr": 0.02, "layers": "[8]"}[param_name]


def asked(inner: BaseSampler) -> list[dict[str, Any]]:
    sampler = RowSampler(inner, [*ADAM, *SGD], SPACE)
    study = optuna.create_study(sampler=sampler)
    found = []
    while sampler.num_left:
        trial = study.ask()
        found.append(suggest(SPACE, trial))
        study.tell(trial, 0.0)
    return found


def test_the_nearest_rows_come_first() -> None:
    assert asked(Wants())[:3] == [SGD[1], SGD[2], SGD[0]]


@pytest.mark.parametrize("inner", [RandomSampler(seed=0), TPESampler(seed=0, multivariate=True, group=True)])
def test_every_row_comes_once_with_its_own_parameters(inner: BaseSampler) -> None:
    found = asked(inner)
    assert sorted(map(repr, found)) == sorted(repr(row) for row in [*ADAM, *SGD])
