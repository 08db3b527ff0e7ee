"""How rows are set apart for validation and test: the same ones each time, whatever a trial's seed is."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import torch

# Every split is a function of this and of the labels.
SPLIT_SEED = 20260101
TEST_SHARE = 1 / 5  # of a data set that comes in one piece
VALIDATION_SHARE = 1 / 6  # of what is not the test set


def split_rows(
    labels: torch.Tensor, share: float, groups: Sequence[Hashable] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of that share of the rows, and of the rest; both with all classes in proportion, wherever cut.

    Raises ValueError where nothing would be left of either.

    Args:
        groups: of the rows: those of one group are not parted; the share is then one of the groups.
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(range(len(labels)) if groups is None else groups):
        members.setdefault(group, []).append(row)
    rows = list(members.values())
    order = stratified_order(labels[[each[0] for each in rows]]).tolist()
    cut = round(len(rows) * share)
    if not 0 < cut < len(rows):
        what = "rows" if len(rows) == len(labels) else "groups of rows"
        raise ValueError(f"{len(rows)} {what} are too few to set {share:.0%} of them apart")
    part, rest = (torch.tensor([row for at in some for row in rows[at]]) for some in (order[:cut], order[cut:]))
    return part, rest


def merged_groups(*columns: Sequence[Hashable]) -> list[int]:
    """One group for each row: those that share a value in some column are of one, and what these share one with.

    None is a value that no rows share.
    """
    group = list(range(len(columns[0])))

    def first(row: int) -> int:
        while group[row] != row:
            group[row] = group[group[row]]
            row = group[row]
        return row

    for column in columns:
        seen: dict[Hashable, int] = {}
        for row, value in enumerate(column):
            if value is not None:
                group[first(row)] = first(seen.setdefault(value, row))
    return [first(row) for row in range(len(group))]


def told_of_leaks(
    what: str, held_out: torch.Tensor, training: Iterable[torch.Tensor], part: str = "test"
) -> tuple[str, ...]:
    """A sentence on held out rows, `[n, ...]`, that also stand in the rows for training; none if none do."""
    seen = {digest(row) for row in training}
    leaked = sum(digest(row) in seen for row in held_out)
    told = f"{leaked} of {len(held_out)} {part} {what} stand among the training {what} as well"
    return (told,) if leaked else ()


def told_of_copies(what: str, contents: Sequence[Hashable], labels: Sequence[Hashable]) -> tuple[str, ...]:
    """A sentence on rows whose content is that of others too; none if all differ."""
    counts, kinds = Counter(contents), Counter(content for content, _ in set(zip(contents, labels, strict=True)))
    copies = sum(count for count in counts.values() if count > 1)
    torn = sum(count > 1 for count in kinds.values())
    told = f"{copies} of {len(contents)} {what} have copies among them, which no split made here parts"
    if torn:
        told += f"; {torn} of them are in more than one class"
    return (told,) if copies else ()


def digest(row: torch.Tensor) -> bytes:
    """The same of the same content alone."""
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest()


def fingerprint(rows: Iterable[bytes]) -> str:
    """The same of the same rows alone, in whatever order."""
    digests = sorted(hashlib.blake2b(row, digest_size=16).digest() for row in rows)
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def stratified_order(labels: torch.Tensor) -> torch.Tensor:
    """Row numbers in an order whose every stretch has the classes in proportion, to within a row or two."""
    random = np.random.default_rng(SPLIT_SEED)
    classes = labels.numpy()
    position = np.empty(len(classes))
    for label in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == label))
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
    return torch.from_numpy(np.argsort(position, kind="stable"))
