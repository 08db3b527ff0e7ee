"""What all networks share; small linear ones show it exactly."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.training.epochs import Epochs
from trainables.training.optim import Descent

NOISE = torch.Generator().manual_seed(0)
INPUTS = torch.randn(23, 4, generator=NOISE)
LABELS = torch.randint(3, (23,), generator=NOISE)
WEIGHTS = torch.tensor([0.2, 1.0, 5.0])
TRAINED = Descent(optimizer="sgd", momentum=0.0, lr=0.5, schedule="constant", batch_size=23, epochs=3)


def train(descent: Descent, *, weighted: bool = True, epochs: int = 1, **more: Any) -> tuple[torch.Tensor, float]:
    """The weights of a linear classifier after its training, and the loss."""
    model = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(model.weight)
    weights = WEIGHTS if weighted else None
    passes = Epochs(model, descent, len(LABELS), seed=1, **more)

    def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return cross_entropy(model(INPUTS[rows]), LABELS[rows], weights)

    for _ in range(epochs):
        loss = passes.run(loss_of, None if weights is None else weights[LABELS])
    return model.weight.detach(), loss


@pytest.mark.parametrize("batch_size", [4, 7, 10, 22, 23, 64])
def test_every_row_is_seen_in_each_epoch(batch_size: int) -> None:
    seen: list[list[int]] = []
    model = nn.Linear(1, 1)

    def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        seen.append(rows.tolist())
        return torch.as_tensor(model(torch.ones(len(rows), 1)).mean())

    passes = Epochs(model, Descent(batch_size=batch_size), 23, seed=0)
    for _ in range(2):
        passes.run(loss_of)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(23))
    assert first != second
    sizes = {len(rows) for rows in seen}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_step_is_the_gradient_of_the_whole_batchs_mean() -> None:
    weight = torch.zeros(3, 4, requires_grad=True)
    loss = cross_entropy(INPUTS @ weight.T, LABELS, WEIGHTS)
    (gradient,) = torch.autograd.grad(loss, weight)
    for accumulate in (1, 2, 5, 23):
        found, told = train(Descent(**{**vars(TRAINED), "accumulate": accumulate}))
        torch.testing.assert_close(found, -0.5 * gradient)
        assert told == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_of_the_workers_steps_is_the_step_of_one(world_size: int, accumulate: int, weighted: bool) -> None:
    """As DistributedDataParallel takes it, which shares the mean of the gradients."""
    alone, loss = train(TRAINED, weighted=weighted)
    descent = Descent(**{**vars(TRAINED), "accumulate": accumulate})
    ranks = [train(descent, weighted=weighted, rank=rank, world_size=world_size) for rank in range(world_size)]
    torch.testing.assert_close(sum(weight for weight, _ in ranks) / world_size, alone)
    assert sum(told for _, told in ranks) / world_size == pytest.approx(loss, rel=1e-5)


def test_workers_draw_other_noise_and_the_same_batches() -> None:
    drawn: dict[tuple[int, int], list[float]] = {}
    rows_of: dict[tuple[int, int], list[int]] = {}
    model = nn.Linear(1, 1)
    for rank in (0, 1):
        passes = Epochs(model, Descent(batch_size=32), 32, seed=0, rank=rank, world_size=2)
        for epoch in (1, 2):

            def loss_of(
                rows: torch.Tensor, noise: torch.Generator, key: tuple[int, int] = (rank, epoch)
            ) -> torch.Tensor:
                rows_of[key] = rows.tolist()
                drawn[key] = [float(torch.rand(())), float(torch.rand((), generator=noise))]
                return torch.as_tensor(model(torch.ones(len(rows), 1)).mean())

            passes.run(loss_of)
    assert len({value for values in drawn.values() for value in values}) == 8
    assert all(sorted(rows_of[0, epoch] + rows_of[1, epoch]) == list(range(32)) for epoch in (1, 2))


def test_a_batch_of_32_on_three_workers_has_32_rows() -> None:
    sizes = []
    model = nn.Linear(1, 1)

    def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        sizes.append(len(rows))
        return torch.as_tensor(model(torch.ones(len(rows), 1)).mean())

    for rank in range(3):
        Epochs(model, Descent(batch_size=32), 32, seed=0, rank=rank, world_size=3).run(loss_of)
    assert sorted(sizes) == [10, 11, 11]


@pytest.mark.parametrize(("num_rows", "accumulate"), [(65, 1), (5, 4), (33, 32)])
def test_batch_norm_is_never_given_one_row(num_rows: int, accumulate: int) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    inputs = torch.randn(num_rows, 4)
    passes = Epochs(model, Descent(batch_size=4, accumulate=accumulate), num_rows, seed=0)
    passes.run(lambda rows, _: model(inputs[rows]).square().mean())


def test_too_few_rows_are_told_at_once() -> None:
    normal, linear = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Linear(4, 4)
    with pytest.raises(ValueError, match="batch_size must be at least 2, as batch normalisation needs; got 1"):
        Epochs(normal, Descent(batch_size=1), 10, seed=0)
    with pytest.raises(ValueError, match="number of training rows must be at least 3, as 3 workers need; got 2"):
        Epochs(linear, Descent(batch_size=8), 2, seed=0, world_size=3)
    Epochs(linear, Descent(batch_size=1), 10, seed=0)


def test_rows_that_count_for_nothing_leave_the_training_alone() -> None:
    model = nn.Linear(4, 3)
    before = copy.deepcopy(model.state_dict())

    def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return cross_entropy(model(INPUTS[rows]), LABELS[rows])

    loss = Epochs(model, Descent(optimizer="sgd", weight_decay=0.0, batch_size=4), 8, seed=0).run(
        loss_of, torch.zeros(8)
    )
    assert loss == 0.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_it_goes_on_bit_for_bit_from_what_was_saved() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    descent = Descent(batch_size=5, epochs=4, warmup_epochs=1.5)
    other = copy.deepcopy(model)

    def passes_of(network: nn.Module, saved: Any, count: int) -> tuple[list[float], dict[str, Any]]:
        passes = Epochs(network, descent, len(LABELS), seed=0, saved=saved)

        def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
            return cross_entropy(network(INPUTS[rows]), LABELS[rows])

        return [passes.run(loss_of) for _ in range(count)], passes.state()

    whole, _ = passes_of(model, None, 4)
    first, saved = passes_of(other, None, 2)
    torch.rand(100)
    rest, _ = passes_of(other, copy.deepcopy(saved), 2)
    assert first + rest == whole
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
