"""Recommendations for users that a model was not trained on, from what they have taken; knows no files or trials.

A transformer reads nothing but a history. Where each user has a vector, that of a new one is found from the history as
those of the others were from theirs: items are held fixed, and the vector is the most probable one for the history
(folding in). Before anything is known of a user it is normally distributed as the others' vectors are.
"""

import json
from collections.abc import Mapping

import torch
from torch import nn

from trainables.recommending.recommenders import PADDING, MatrixFactorisation

# In the place of a user's number.
NEW_USER = -1
# Newton's method with the curvature at the mean user, whose steps become shorter where they lead up, then longer again.
NUM_STEPS = 40
SHORTER, LONGER = 0.3, 1.5


class FoldingIn(nn.Module):
    """A matrix factorisation, or two towers, for users that were trained on and for new ones.

    Takes users `[n]`, `NEW_USER` for those whose history counts in the place of a vector, and histories `[n, length]`.
    """

    bias: torch.Tensor
    items: torch.Tensor
    curvature: torch.Tensor

    @torch.no_grad()
    def __init__(self, model: MatrixFactorisation) -> None:
        super().__init__()
        self.model = model.eval()
        users = model.vectors(torch.arange(model.users.num_embeddings)).double()
        items = model.items().double()
        mean = users.mean(dim=0)
        bias = model.popularity.double() + items @ mean
        # Of vectors of unit variance: z, where the user's is `mean + root @ z`.
        values, vectors = torch.linalg.eigh(torch.cov(users.T, correction=0).reshape(len(mean), -1))
        root = vectors * values.clamp(min=0).sqrt()
        items = items @ root
        shares = bias.softmax(dim=0)
        centred = items - shares @ items
        curvature, turn = torch.linalg.eigh(centred.T @ (shares[:, None] * centred))
        self.register_buffer("bias", bias)
        self.register_buffer("items", items @ turn)
        self.register_buffer("curvature", curvature.clamp(min=0))

    def forward(self, users: torch.Tensor, histories: torch.Tensor) -> torch.Tensor:
        is_new = (users < 0)[:, None]
        scores: torch.Tensor = torch.where(is_new, self.folded(histories), self.model(users.clamp(min=0), histories))
        return scores

    def folded(self, histories: torch.Tensor) -> torch.Tensor:
        """The scores of all items, `[n, items]`, for the users who have these histories.

        In double precision: another runtime may round so that it takes another step, which must make no difference.
        """
        is_item = (histories != PADDING)[..., None]
        # Of the prior, against the mean over the history's items.
        weight = 1.0 / is_item.sum(dim=1).clamp(min=1)
        mean = (self.items[(histories - 1).clamp(min=0)] * is_item).sum(dim=1) * weight
        z = torch.zeros_like(mean)
        scores, loss = self._judged(z, mean, weight)
        step = torch.ones_like(loss)
        for _ in range(NUM_STEPS):
            slope = mean - scores.softmax(dim=1) @ self.items - weight * z
            other = z + step * slope / (self.curvature + weight)
            other_scores, other_loss = self._judged(other, mean, weight)
            is_better = other_loss <= loss
            z, scores = torch.where(is_better, other, z), torch.where(is_better, other_scores, scores)
            loss = torch.where(is_better, other_loss, loss)
            step = torch.where(is_better, (LONGER * step).clamp(max=1.0), SHORTER * step)
        return scores.float()

    def _judged(self, z: torch.Tensor, mean: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The scores of all items, `[n, items]`, and what is made small, `[n, 1]`: the mean cross entropy of the
        history's items, but for a constant, and the prior."""
        scores = z @ self.items.T + self.bias
        own, prior = (mean * z).sum(dim=1, keepdim=True), 0.5 * weight * z.square().sum(dim=1, keepdim=True)
        return scores, scores.logsumexp(dim=1, keepdim=True) - own + prior


def read_history(text: str, numbers: Mapping[str, int]) -> tuple[list[int], list[str]]:
    """The items of a new user, by their numbers and in the order of time, and the names of those that are unknown.

    Raises ValueError where `text` is no JSON list of items.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text} is no JSON list: {error}") from error
    if not isinstance(given, list) or any(isinstance(item, bool) or not isinstance(item, str | int) for item in given):
        raise ValueError(f'{text} must be a JSON list of items, such as ["i7", "i9"], the latest one last')
    names = list(dict.fromkeys(map(str, given)))
    return [numbers[name] for name in names if name in numbers], [name for name in names if name not in numbers]
