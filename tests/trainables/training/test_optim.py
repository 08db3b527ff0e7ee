from functools import partial

import pytest
import torch
from torch import nn

from trainables.training.optim import (
    OPTIMIZERS,
    SCHEDULES,
    Descent,
    descend,
    load_moments,
    make_optimizer,
    make_scheduler,
    param_groups,
    renew_statistics,
    set_training,
)


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(3))


def rates(name: str, total_steps: int = 20, warmup_steps: int = 0) -> list[float]:
    """The learning rate of each batch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make_scheduler(name, optimizer, total_steps, warmup_steps)
    seen = []
    for _ in range(total_steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("name", ["schedule_free", "adamw"])
def test_batch_norm_has_the_statistics_of_the_weights_that_are_evaluated(name: str) -> None:
    torch.manual_seed(0)
    linear, norm, inputs = nn.Linear(3, 2), nn.BatchNorm1d(2), torch.randn(40, 3) + 1
    net = nn.Sequential(linear, norm)
    optimizer = make_optimizer(name, param_groups(net, 0.0), lr=0.3, momentum=0.9)
    set_training(optimizer, True)
    for batch in inputs.split(10):
        optimizer.zero_grad()
        (net(batch) * torch.tensor([1.0, -1.0])).sum().backward()
        optimizer.step()
    set_training(optimizer, False)
    before = norm.running_mean.clone()
    renew_statistics(net, optimizer, (partial(net, batch) for batch in inputs.split(10)))
    wanted = linear(inputs).mean(dim=0) if name == "schedule_free" else before
    torch.testing.assert_close(norm.running_mean, wanted)
    assert norm.training
    assert norm.momentum == 0.1


def test_schedule_free_has_no_schedule_but_where_one_is_asked_for_which_is_told() -> None:
    assert Descent(optimizer="schedule_free").shape == "constant"
    assert Descent().shape == "cosine"
    assert Descent(optimizer="schedule_free").notes == Descent(schedule="cosine").notes == ()
    assert Descent(optimizer="schedule_free", schedule="constant").notes == ()
    (told,) = Descent(optimizer="schedule_free", schedule="step").notes
    assert told == "schedule_free stands in the place of a schedule, and schedule is step: constant suits it"


def test_weight_decay_is_for_the_weights_of_layers_alone() -> None:
    class Block(nn.Module):
        """What ViT and ConvNeXt have beside their layers, as torchvision names it."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 3), nn.LayerNorm(3)
            self.attention = nn.MultiheadAttention(4, 1)
            self.class_token, self.layer_scale = nn.Parameter(torch.ones(1, 1, 3)), nn.Parameter(torch.ones(3, 1, 1))
            self.pos_embedding = nn.Parameter(torch.ones(1, 5, 3))

    block = Block()
    names = {id(parameter): name for name, parameter in block.named_parameters()}
    decayed, others = ({names[id(one)] for one in group["params"]} for group in param_groups(block, 0.1))
    assert decayed == {"layer.weight", "attention.in_proj_weight", "attention.out_proj.weight"}
    assert {"class_token", "layer_scale", "pos_embedding", "norm.weight", "layer.bias"} <= others


def test_moments_of_other_groups_are_left() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    saved = make_optimizer("adam", [{"params": first.parameters()}], 0.1, 0.0).state_dict()
    optimizer = make_optimizer("adam", param_groups(second, 0.1), 0.1, 0.0)
    assert not load_moments(optimizer, saved)
    assert len(optimizer.param_groups) == 2
    assert not optimizer.state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name: str) -> None:
    net = model()
    images, labels = torch.randn(8, 1, 4, 4), torch.arange(8) % 3
    net(images)  # gives the lazy layer its shape
    optimizer = make_optimizer(name, param_groups(net, 1e-4), lr=0.05, momentum=0.9)
    losses = []
    set_training(optimizer, True)
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_spares_biases_and_norms(name: str) -> None:
    net = model()
    net(torch.randn(2, 1, 4, 4))
    decayed, spared = make_optimizer(name, param_groups(net, 0.5), 0.1, 0.9).param_groups
    assert decayed["weight_decay"] == 0.5
    assert spared["weight_decay"] == 0.0
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in spared["params"]} == {1}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(net.parameters()))


def test_sgd_takes_its_momentum() -> None:
    group = make_optimizer("sgd", param_groups(nn.Linear(2, 2), 0.0), 0.1, momentum=0.7).param_groups[0]
    assert group["momentum"] == 0.7
    assert group["nesterov"]


def test_sgd_does_without_momentum() -> None:
    assert not make_optimizer("sgd", param_groups(nn.Linear(2, 2), 0.0), 0.1, 0.0).param_groups[0]["nesterov"]


def test_moments_are_taken_over_and_settings_are_not() -> None:
    net = nn.Linear(2, 2)
    first, second = (
        make_optimizer("sgd", param_groups(net, 0.0), lr, momentum) for lr, momentum in ((0.1, 0.9), (0.5, 0.7))
    )
    net(torch.ones(1, 2)).sum().backward()
    first.step()
    assert load_moments(second, first.state_dict())
    assert torch.equal(second.state[net.weight]["momentum_buffer"], first.state[net.weight]["momentum_buffer"])
    assert (second.param_groups[0]["lr"], second.param_groups[0]["momentum"]) == (0.5, 0.7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_where_it_was(name: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make_scheduler(name, optimizer, total_steps=20, warmup_steps=4, done_steps=9)
    seen = rates(name, total_steps=20, warmup_steps=4)
    assert scheduler.get_last_lr() == [seen[9]]
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == seen[10]


def test_constant_stays() -> None:
    assert set(rates("constant")) == {2.0}


def test_cosine_falls_from_the_full_rate_to_nearly_nothing() -> None:
    seen = rates("cosine")
    assert seen[0] == 2.0
    assert seen == sorted(seen, reverse=True)
    assert seen[10] == pytest.approx(1.0)
    assert 0 < seen[-1] < 0.02


def test_step_divides_by_ten_twice() -> None:
    assert rates("step") == pytest.approx([2.0] * 10 + [0.2] * 5 + [0.02] * 5)


def test_one_cycle_rises_to_the_full_rate_and_falls() -> None:
    seen = rates("one_cycle")
    assert seen[0] == pytest.approx(2.0 / 25)
    assert seen[6] == pytest.approx(2.0)
    assert seen[:7] == sorted(seen[:7])
    assert seen[6:] == sorted(seen[6:], reverse=True)
    assert seen[-1] < 0.05


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_linearly_and_then_the_schedule_begins(name: str) -> None:
    seen = rates(name, total_steps=24, warmup_steps=4)
    assert seen[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert seen[4:] == pytest.approx(rates(name, total_steps=20))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warmup_longer_than_the_training_never_ends(name: str) -> None:
    assert rates(name, total_steps=5, warmup_steps=9) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(("clip_norm", "length"), [(0.0, 5.0), (2.0, 2.0), (9.0, 5.0)])
def test_a_gradient_that_is_too_long_is_shortened(clip_norm: float, length: float) -> None:
    net = nn.Linear(2, 1, bias=False)
    before = net.weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    scheduler = make_scheduler("constant", optimizer, total_steps=1)
    descend([net(torch.tensor([[3.0, 4.0]])).sum()], net, optimizer, scheduler, clip_norm)
    assert (net.weight - before).norm().item() == pytest.approx(length, rel=1e-4)
