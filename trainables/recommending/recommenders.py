"""Networks that score all items for users; they know nothing of files or trials.

Each takes users `[n]` and histories `[n, length]`, the last items of each, filled up with `PADDING` at the front, and
gives the scores of all items, `[n, items]`.
"""

import torch
from torch import nn

from trainables.text.text_models import is_token, masked_mean

# In a history, in the place of an item; items are their numbers and one.
PADDING = 0


class ItemTower(nn.Module):
    """A vector of each item, `[items, width]`: its own, and with texts what an MLP makes of the mean of its words.

    Args:
        ids, lengths: of the words of each item's text, `[items, words]` and `[items]`; None for items without texts.
    """

    ids: torch.Tensor
    lengths: torch.Tensor

    def __init__(
        self, num_items: int, width: int, dropout: float, ids: torch.Tensor | None, lengths: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.own = nn.Embedding(num_items, width)
        nn.init.normal_(self.own.weight, std=width**-0.5)
        self.words: nn.Embedding | None = None
        if ids is not None and lengths is not None:
            self.register_buffer("ids", ids)
            self.register_buffer("lengths", lengths)
            self.words = nn.Embedding(int(ids.max()) + 1, width, padding_idx=0)
            self.mix = nn.Sequential(
                nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
            )

    def forward(self) -> torch.Tensor:
        vectors: torch.Tensor = self.own.weight
        if self.words is None:
            return vectors
        told: torch.Tensor = self.mix(masked_mean(self.words(self.ids), is_token(self.ids, self.lengths)))
        return vectors + told


class MatrixFactorisation(nn.Module):
    """The product of a vector of the user and one of the item, and how popular the item is (Koren et al. 2009)."""

    def __init__(self, num_users: int, tower: ItemTower, num_items: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.users = nn.Embedding(num_users, width)
        nn.init.normal_(self.users.weight, std=width**-0.5)
        self.items = tower
        self.popularity = nn.Parameter(torch.zeros(num_items))
        self.dropout = nn.Dropout(dropout)

    @torch.no_grad()
    def begin_with(self, counts: torch.Tensor) -> None:
        """Rank items by how often they were taken, `[items]`, where the training begins.

        What is most to be learned of them is then known: from zeros the first epochs rank by noise, and a rule that
        stops what is behind the others stops it there.
        """
        self.popularity.copy_((counts + 1.0).log())

    def forward(self, users: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.dropout(self.vectors(users)) @ self.items().T + self.popularity
        return scores

    def vectors(self, users: torch.Tensor) -> torch.Tensor:
        """Of the users, `[n, width]`."""
        vectors: torch.Tensor = self.users(users)
        return vectors


class TwoTower(MatrixFactorisation):
    """The user's vector goes through an MLP, the item's has its text in it (Yi et al. 2019, section 3)."""

    def __init__(self, num_users: int, tower: ItemTower, num_items: int, *, width: int, dropout: float) -> None:
        super().__init__(num_users, tower, num_items, width=width, dropout=dropout)
        self.user_tower = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def vectors(self, users: torch.Tensor) -> torch.Tensor:
        own = super().vectors(users)
        vectors: torch.Tensor = own + self.user_tower(own)
        return vectors


class Sequence(nn.Module):
    """A transformer over the user's last items, each of which sees those before it (SASRec: Kang & McAuley 2018).

    Learns by cross entropy over all items, which is what makes it strong (Klenitskiy & Vasilev 2023,
    arXiv:2309.07602).
    """

    later: torch.Tensor

    def __init__(
        self, tower: ItemTower, *, width: int, depth: int, heads: int, max_length: int, dropout: float
    ) -> None:
        super().__init__()
        self.items = tower
        self.positions = nn.Parameter(torch.zeros(max_length, width))
        nn.init.normal_(self.positions, std=width**-0.5)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        later = torch.ones(max_length, max_length, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        self._heads = heads

    def forward(self, _: torch.Tensor, histories: torch.Tensor, after_each: bool = False) -> torch.Tensor:
        """With `after_each` the scores after each item of the histories, `[n, length, items]`: to learn from."""
        vectors = self.items()
        states = self.states(histories, vectors)
        scores: torch.Tensor = (states if after_each else states[:, -1]) @ vectors.T
        return scores

    def states(self, histories: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """What is known after each item, `[n, length, width]`."""
        length, is_item = histories.shape[1], histories != PADDING
        found = vectors[(histories - 1).clamp(min=0)] * is_item[..., None]
        x = self.dropout(found * vectors.shape[1] ** 0.5 + self.positions[len(self.positions) - length :])
        # What fills up sees itself, since a row that sees nothing would give NaN.
        fills = ~is_item[:, None, :] & ~torch.eye(length, dtype=torch.bool, device=histories.device)
        mask = (self.later[:length, :length] | fills).repeat_interleave(self._heads, dim=0)
        states: torch.Tensor = self.encoder(x, mask=mask)
        return states
