import pytest
import torch
from torch import nn

from trainables.recommending.recommenders import PADDING, ItemTower, MatrixFactorisation, Sequence, TwoTower

ITEMS, USERS, WIDTH = 7, 4, 8


def tower(text: bool = False) -> ItemTower:
    ids = torch.randint(2, 9, (ITEMS, 3)) if text else None
    return ItemTower(ITEMS, WIDTH, 0.1, ids, torch.tensor([3, 2, 1, 0, 3, 3, 3]) if text else None)


def sequence(text: bool = False) -> Sequence:
    return Sequence(tower(text), width=WIDTH, depth=2, heads=2, max_length=6, dropout=0.1)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("kind", [MatrixFactorisation, TwoTower, Sequence])
def test_every_model_scores_all_items(kind: type[nn.Module], text: bool) -> None:
    torch.manual_seed(0)
    model = (
        sequence(text) if kind is Sequence else kind(USERS, tower(text), ITEMS, width=WIDTH, dropout=0.1)  # type: ignore
    )
    histories = torch.tensor([[0, 0, 0, 1, 2, 7], [0, 0, 0, 0, 0, 0]])
    scores = model(torch.tensor([3, 0]), histories)
    assert scores.shape == (2, ITEMS)
    assert bool(scores.isfinite().all())
    scores.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_each_item_sees_those_before_it_alone() -> None:
    model, users = sequence().eval(), torch.tensor([0])
    first = torch.tensor([[PADDING, PADDING, 1, 2, 3, 4]])
    other = torch.tensor([[PADDING, PADDING, 1, 2, 5, 6]])
    one, two = model(users, first, True), model(users, other, True)
    assert torch.allclose(one[:, 2:4], two[:, 2:4], atol=1e-5)
    assert not torch.allclose(one[:, 4], two[:, 4], atol=1e-3)
    assert torch.allclose(one[:, -1], model(users, first), atol=1e-5)


def test_what_fills_up_changes_nothing() -> None:
    model = sequence().eval()
    short = model(torch.tensor([0]), torch.tensor([[1, 2, 3]]))
    long = model(torch.tensor([0]), torch.tensor([[PADDING, PADDING, PADDING, 1, 2, 3]]))
    assert torch.allclose(short, long, atol=1e-5)
