import pytest
import torch
from torch.nn.functional import cross_entropy

from trainables.recommending.new_users import NEW_USER, FoldingIn, read_history
from trainables.recommending.recommenders import ItemTower, MatrixFactorisation, TwoTower

USERS, ITEMS, WIDTH = 50, 30, 6


def model_of(kind: type[MatrixFactorisation] = MatrixFactorisation, scale: float = 1.0) -> MatrixFactorisation:
    torch.manual_seed(0)
    model = kind(USERS, ItemTower(ITEMS, WIDTH, 0.0, None, None), ITEMS, width=WIDTH, dropout=0.5)
    with torch.no_grad():
        model.users.weight *= scale
        model.popularity.normal_()
    return model


def histories_of(lists: list[list[int]]) -> torch.Tensor:
    return torch.tensor([[0] * (8 - len(items)) + [item + 1 for item in items] for items in lists])


def most_probable(model: MatrixFactorisation, items: list[int]) -> torch.Tensor:
    """The scores by the vector that a general optimizer finds, with the prior written out."""
    users, vectors = model.vectors(torch.arange(USERS)).detach().double(), model.items().detach().double()
    mean, precision = users.mean(dim=0), torch.linalg.inv(torch.cov(users.T, correction=0))
    vector = mean.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([vector], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = vectors @ vector + model.popularity.detach().double()
        wanted = torch.tensor(items)
        total = cross_entropy(scores.expand(len(items), -1), wanted, reduction="sum")
        total = total + 0.5 * (vector - mean) @ precision @ (vector - mean)
        total.backward()
        return total.detach()

    optimizer.step(loss)
    return (vectors @ vector.detach() + model.popularity.detach().double()).float()


@pytest.mark.parametrize("kind", [MatrixFactorisation, TwoTower])
def test_a_new_user_has_the_most_probable_vector_for_the_history(kind: type[MatrixFactorisation]) -> None:
    model = model_of(kind, scale=3.0)
    lists = [[4], [1, 2, 3], [7, 9, 11, 13, 15, 17, 19, 21]]
    with torch.no_grad():
        found = FoldingIn(model).eval()(torch.full((3,), NEW_USER), histories_of(lists))
    for scores, items in zip(found, lists, strict=True):
        assert torch.allclose(scores, most_probable(model, items), atol=2e-2)


def test_a_user_who_was_trained_on_keeps_the_vector() -> None:
    model = model_of().eval()
    histories = histories_of([[1, 2], [3]])
    found = FoldingIn(model).eval()(torch.tensor([5, NEW_USER]), histories)
    assert torch.allclose(found[0], model(torch.tensor([5]), histories[:1])[0], atol=1e-5)


@torch.no_grad()
def test_long_vectors_do_not_make_it_diverge() -> None:
    """By whole steps, or by halves of them, losses grew to a hundred thousand."""
    model = model_of(scale=100.0)
    lists = [[item, (item + 7) % ITEMS] for item in range(ITEMS)]
    found = FoldingIn(model).eval()(torch.full((ITEMS,), NEW_USER), histories_of(lists))
    start = model.popularity + model.items() @ model.vectors(torch.arange(USERS)).mean(dim=0)
    before, after = (
        sum(
            float(cross_entropy(scores.expand(2, -1), torch.tensor(items)))
            for scores, items in zip(all_, lists, strict=True)
        )
        for all_ in (start.expand(ITEMS, -1), found)
    )
    assert after < 0.5 * before


def test_a_history_is_a_list_of_items() -> None:
    numbers = {"a": 0, "b": 1, "7": 2}
    assert read_history('["b", 7, "c", "b", "a"]', numbers) == ([1, 2, 0], ["c"])
    for wrong in ('{"a": 1}', '["a", null]', "[true]", '[["a"]]'):
        with pytest.raises(ValueError, match="must be a JSON list of items, such as"):
            read_history(wrong, numbers)
    with pytest.raises(ValueError, match=r"\[a\] is no JSON list"):
        read_history("[a]", numbers)
