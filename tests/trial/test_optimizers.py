"""An optimizer's state after its trial was given other parameters: what it keeps, what it takes, what is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from schedulefree import AdamWScheduleFree
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from tests.conftest import LOSS
from tuner.records import Report
from tuner.trial.optimizers import ignored
from tuner.trial.trial import Trial

BEFORE: dict[str, Any] = {"lr": 0.1, "momentum": 0.5, "width": 4}


def a_trial(folder: Path, params: dict[str, Any], told: list[Report], restore_from: Path | None = None) -> Trial:
    return Trial(
        params,
        number=0,
        seed=0,
        dir=folder,
        metrics=(LOSS,),
        deliver=lambda report, stop: told.append(report),
        restore_from=restore_from,
    )


def trained(optimizer: Optimizer, model: nn.Module, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()


def saved(tmp_path: Path, optimizer: Optimizer, **more: Any) -> Path:
    """The checkpoint of a trial with the parameters of before."""
    trial = a_trial(tmp_path, BEFORE, [])
    trial.report({"loss": 1.0}, step=1, state={"optimizer": optimizer.state_dict(), **more})
    return tmp_path / "checkpoints" / "step-0001"


def test_moments_are_taken_and_settings_kept(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    first = Adam(model.parameters(), lr=0.1, betas=(0.8, 0.9))
    trained(first, model)
    checkpoint = saved(tmp_path, first)
    trial = a_trial(tmp_path, {**BEFORE, "lr": 0.02}, [], checkpoint)
    state = trial.restore()
    assert state
    second = Adam(model.parameters(), lr=0.02, betas=(0.7, 0.9))
    trial.load_optimizer(second, state["optimizer"])
    assert second.param_groups[0]["lr"] == 0.02
    assert second.param_groups[0]["betas"] == (0.7, 0.9)
    for parameter in model.parameters():
        assert torch.equal(second.state[parameter]["exp_avg"], first.state[parameter]["exp_avg"])
        assert second.state[parameter]["step"] == 3


def test_where_nothing_has_changed_all_is_as_it_was_saved(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    first = SGD(model.parameters(), lr=0.1, momentum=0.5)
    schedule = CosineAnnealingLR(first, T_max=10)
    trained(first, model)
    for _ in range(4):
        schedule.step()
    trial = a_trial(tmp_path, BEFORE, [], saved(tmp_path, first))
    state = trial.restore()
    assert state
    second = SGD(model.parameters(), lr=0.1, momentum=0.5)
    trial.load_optimizer(second, state["optimizer"])
    assert second.state_dict()["param_groups"] == first.state_dict()["param_groups"]


def test_a_schedule_goes_on_at_its_part_of_the_new_learning_rate(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    first = SGD(model.parameters(), lr=0.1, momentum=0.5)
    schedule = LambdaLR(first, lambda step: 0.5**step)
    trained(first, model)
    schedule.step()
    schedule.step()
    trial = a_trial(tmp_path, {**BEFORE, "lr": 0.4}, [], saved(tmp_path, first))
    state = trial.restore()
    assert state
    second = SGD(model.parameters(), lr=0.4, momentum=0.5)
    trial.load_optimizer(second, state["optimizer"])
    assert second.param_groups[0]["lr"] == pytest.approx(0.4 * 0.25)
    again = LambdaLR(second, lambda step: 0.5**step, last_epoch=2)
    assert again.base_lrs == [0.4]
    assert second.param_groups[0]["lr"] == pytest.approx(0.4 * 0.125)


def test_what_an_optimizer_counts_beside_its_settings_is_taken(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    first = AdamWScheduleFree(model.parameters(), lr=0.1)
    first.train()
    trained(first, model)
    trial = a_trial(tmp_path, {**BEFORE, "lr": 0.02}, [], saved(tmp_path, first))
    state = trial.restore()
    assert state
    second = AdamWScheduleFree(model.parameters(), lr=0.02)
    trial.load_optimizer(second, state["optimizer"])
    assert second.param_groups[0]["lr"] == 0.02
    assert second.param_groups[0]["k"] == first.param_groups[0]["k"] == 3
    assert second.param_groups[0]["weight_sum"] == first.param_groups[0]["weight_sum"] > 0


def test_a_copied_learning_rate_that_is_gone_on_with_is_told_once(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.5)
    checkpoint = saved(tmp_path, optimizer)
    told: list[Report] = []
    trial = a_trial(tmp_path, {**BEFORE, "lr": 0.02}, told, checkpoint)
    state = trial.restore()
    assert state
    optimizer.load_state_dict(state["optimizer"])
    trial.report({"loss": 1.0}, step=2)
    for step in (3, 4):
        trial.report({"loss": 1.0}, step=step, state={"optimizer": optimizer.state_dict()})
    assert [bool(report.note) for report in told] == [False, True, False]
    assert "continues with lr 0.1, copied" in told[1].note
    assert "in the place of 0.02: load that by trial.load_optimizer(optimizer, state)" in told[1].note


def group(**settings: float) -> dict[str, Any]:
    return {"param_groups": [{"params": [0], **settings}]}


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ({"optimizer": group(lr=0.1)}, ["lr"]),
        ({"nested": {"deeper": group(lr=0.05, initial_lr=0.1)}}, ["lr"]),
        ({"scheduler": {"base_lrs": [0.1, 0.1]}, "optimizer": group(lr=0.02)}, ["lr"]),
        ({"optimizer": group(lr=0.1, momentum=0.5)}, ["lr", "opt.momentum"]),
        # The new value, a part of it by a schedule, a schedule of one's own, other rates for some layers.
        ({"optimizer": group(lr=0.02)}, []),
        ({"optimizer": group(lr=0.1, initial_lr=0.02)}, []),
        ({"optimizer": group(lr=0.013)}, []),
        ({"optimizer": {"param_groups": [{"lr": 0.1}, {"lr": 0.02}]}}, []),
        # What is no optimizer.
        ({"model": {"weight": torch.ones(1)}, "history": [0.1]}, []),
        ({}, []),
    ],
)
def test_only_what_is_surely_the_old_value_is_told(state: dict[str, Any], found: list[str]) -> None:
    before = {"lr": 0.1, "opt.momentum": 0.5, "kind": "sgd", "width": 4, "warm": True}
    params = {"lr": 0.02, "opt.momentum": 0.9, "kind": "adam", "width": 8, "warm": False}
    assert ignored(state, before, params) == found
