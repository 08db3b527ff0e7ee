"""Networks that classify sequences of token ids, and the tokens they take; knows nothing of data sets or trials.

A batch is ids `[n, length]`, padded at the end with `PADDING`, and how many of them each row has, `[n]`; both int64.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from trainables.text.words import words_of

PADDING, UNSEEN = 0, 1


def build_vocabulary(texts: Iterable[str], ngrams: int, min_count: int) -> list[str]:
    """The words that occur often enough, the most frequent first."""
    counts = Counter(word for text in texts for word in words_of(text, ngrams))
    return sorted(
        (word for word, count in counts.items() if count >= min_count), key=lambda word: (-counts[word], word)
    )


def encode_words(
    texts: Sequence[str], vocabulary: Sequence[str], ngrams: int, max_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids `[n, length]` and their numbers `[n]`; both int32. Of each text `max_length` words count."""
    ids = {word: number for number, word in enumerate(vocabulary, UNSEEN + 1)}
    rows = [
        torch.tensor([ids.get(word, UNSEEN) for word in words_of(text, ngrams, max_length)] or [UNSEEN])
        for text in texts
    ]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int32)
    return pad_sequence(rows, batch_first=True, padding_value=PADDING).int(), lengths


class BagOfEmbeddings(nn.Module):
    """The mean of the words' embeddings, and a linear classifier (fastText: Joulin et al. 2016, arXiv:1607.01759)."""

    def __init__(self, num_words: int, num_classes: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_words + UNSEEN + 1, width, padding_idx=PADDING)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        logits: torch.Tensor = self.head(masked_mean(self.embedding(ids), is_token(ids, lengths)))
        return logits


class Recurrent(nn.Module):
    """A GRU in both directions, the largest of its outputs over the words, and a linear classifier."""

    def __init__(self, num_words: int, num_classes: int, *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_words + UNSEEN + 1, width, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
        # Not nn.GRU's own two directions: these need packed sequences, which torch.export can't follow.
        sizes = [2 * width if layer else width for layer in range(depth)]
        self.forwards, self.backwards = (
            nn.ModuleList(nn.GRU(size, width, batch_first=True) for size in sizes) for _ in range(2)
        )
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        places = torch.arange(ids.shape[1], device=ids.device)
        # The words from the last to the first, and the padding left behind them.
        mirrored = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)[:, :, None]
        states = self.dropout(self.embedding(ids))
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            turned = backwards(states.take_along_dim(mirrored, 1))[0].take_along_dim(mirrored, 1)
            states = self.dropout(torch.cat([forwards(states)[0], turned], dim=2))
        largest = states.masked_fill(~is_token(ids, lengths)[:, :, None], -torch.inf).amax(dim=1)
        logits: torch.Tensor = self.head(largest)
        return logits


class Head(nn.Module):
    """A classifier of features `[n, width]`: linear, or with one hidden layer where `hidden` is not 0."""

    def __init__(self, width: int, num_classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(width, hidden), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(hidden or width, num_classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits `[n, num_classes]`."""
        logits: torch.Tensor = self.layers(features)
        return logits


def is_token(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Which places `[n, length]` are no padding."""
    return torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]


def masked_mean(states: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
    """The mean `[n, width]` of the states `[n, length, width]` at the tokens; 0 where there are none."""
    weights = is_token[:, :, None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
