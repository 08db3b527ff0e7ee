"""Texts as a transformer that tags them takes them: units, pieces, windows. Knows nothing of models or trials.

A unit is a word, a sign or an address in a text, as `spans_of` finds them in any script; it is tagged at its first
piece. What is learned from sentences of given words is so what is asked of raw texts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from trainables.text.entities import OUTSIDE
from trainables.text.pretrained import load_tokenizer, trimmed
from trainables.text.words import are_parted, spans_of

# Of a place that has no tag to be learned: padding, and all pieces of a unit but the first.
IGNORED = -100


class Written(NamedTuple):
    """A text, where its units begin and end, and the number of the given word that each is of."""

    text: str
    units: list[tuple[int, int]]
    words: list[int]

    @classmethod
    def raw(cls, text: str) -> "Written":
        units = spans_of(text)
        return cls(text, units, list(range(len(units))))

    @classmethod
    def of(cls, words: Sequence[str]) -> "Written":
        """The sentence of these words, with spaces where its script has them."""
        text, owner = "", []
        for number, word in enumerate(words):
            space = " " if number and are_parted(words[number - 1], word) else ""
            text += space + word
            owner += [number] * len(space + word)
        units = spans_of(text)
        return cls(text, units, [owner[start] for start, _ in units])

    def unit_tags(self, tags: Sequence[str]) -> list[str]:
        """The tag of each unit, from those of the words: an entity goes on within a word."""
        found: list[str] = []
        for place, word in enumerate(self.words):
            is_first = place == 0 or self.words[place - 1] != word
            found.append(tags[word] if is_first or tags[word] == OUTSIDE else f"I-{tags[word][2:]}")
        return found

    def unit_shares(self) -> list[float]:
        """What each unit counts for, so that every given word counts as one."""
        counts = Counter(self.words)
        return [1.0 / counts[word] for word in self.words]

    def word_tags(self, tags: Sequence[str], num_words: int) -> list[str]:
        """The tag of each word, which is its first unit's, from those of the units; `O` for words without one."""
        found = [OUTSIDE] * num_words
        for tag, word in zip(reversed(tags), reversed(self.words), strict=True):
            found[word] = tag
        return found


@dataclass(frozen=True)
class Pieces:
    """Texts in pieces, a window of them a row: a longer text has several, which overlap.

    Attributes:
        ids: of the pieces, int32 `[n, length]`, padded at the end; `lengths`, int32 `[n]`, are their numbers.
        text_of: int32 `[n]`: the number of the text.
        unit_of: int32 `[n, length]`: the number of the unit whose first piece it is, or `IGNORED`; each is in one
            window, the one that shows most of what is beside it.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    text_of: torch.Tensor
    unit_of: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and lengths of some rows, where their numbers are."""
        there = rows.to(self.ids.device)
        ids, lengths = trimmed(self.ids[there], self.lengths[there])
        return ids.to(rows.device), lengths.to(rows.device)

    def to(self, device: torch.device | str) -> "Pieces":
        return Pieces(*(part.to(device) for part in (self.ids, self.lengths, self.text_of, self.unit_of)))

    def labels(self, tags: Sequence[Sequence[str]], names: Sequence[str]) -> torch.Tensor:
        """Classes `[n, length]` from the tags of each text's units; `IGNORED` where `names` has not the unit's."""
        place = {tag: index for index, tag in enumerate(names)}
        labels = torch.full(self.unit_of.shape, IGNORED, dtype=torch.int64)
        for row, piece in torch.nonzero(self.unit_of != IGNORED).tolist():
            text, unit = int(self.text_of[row]), int(self.unit_of[row, piece])
            labels[row, piece] = place.get(tags[text][unit], IGNORED)
        return labels

    def shares(self, written: Sequence[Written]) -> torch.Tensor:
        """What is learned from each place counts for, `[n, length]`: a word's units share the weight of one."""
        found = torch.zeros(self.unit_of.shape)
        of_units = [one.unit_shares() for one in written]
        for row, piece in torch.nonzero(self.unit_of != IGNORED).tolist():
            found[row, piece] = of_units[int(self.text_of[row])][int(self.unit_of[row, piece])]
        return found

    def tags(self, classes: torch.Tensor, written: Sequence[Written], names: Sequence[str]) -> list[list[str]]:
        """The tag of each unit of each text, from the classes `[n, length]`; `O` for units that have no piece."""
        found = [[OUTSIDE] * len(one.units) for one in written]
        for row, piece in torch.nonzero(self.unit_of != IGNORED).tolist():
            found[int(self.text_of[row])][int(self.unit_of[row, piece])] = names[int(classes[row, piece])]
        return found


def cut(pretrained: str, written: Sequence[Written], max_length: int) -> Pieces:
    """Texts, cut into the pieces that a transformer knows, and these into windows of so many.

    Raises ValueError where a tokenizer can't tell where its pieces stand.
    """
    tokenizer = load_tokenizer(pretrained)
    room = max_length - tokenizer.num_special_tokens_to_add()
    if not tokenizer.is_fast or room < 1:
        why = "does not tell where its pieces stand" if room > 0 else f"needs a max_length above {max_length}"
        raise ValueError(f"pretrained {pretrained!r}: its tokenizer {why}")
    encoded = tokenizer(
        [one.text for one in written],
        truncation=True,
        max_length=max_length,
        stride=min(max_length // 4, room - 1),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
    )
    ids = torch.tensor(encoded["input_ids"], dtype=torch.int32)
    lengths = torch.tensor(encoded["attention_mask"], dtype=torch.int32).sum(dim=1, dtype=torch.int32)
    text_of = encoded["overflow_to_sample_mapping"]
    unit_of = torch.full(ids.shape, IGNORED, dtype=torch.int32)
    # Of each unit the window and the place there, and how many pieces it is away from the window's nearer end.
    places: dict[tuple[int, int], tuple[int, int, int]] = {}
    for row, (text, offsets) in enumerate(zip(text_of, encoded["offset_mapping"], strict=True)):
        beginning = {start: unit for unit, (start, _) in enumerate(written[text].units)}
        for place, (start, end) in enumerate(offsets):
            unit = next((beginning[at] for at in range(start, end) if at in beginning), None)
            margin = min(place, int(lengths[row]) - 1 - place)
            if unit is not None and margin > places.get((text, unit), (0, 0, -1))[2]:
                places[text, unit] = (row, place, margin)
    for (_, unit), (row, place, _) in places.items():
        unit_of[row, place] = unit
    return Pieces(ids, lengths, torch.tensor(text_of, dtype=torch.int32), unit_of)
