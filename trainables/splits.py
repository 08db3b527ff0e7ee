"""How rows are set apart for validation and test: the same ones each time, whatever a trial's seed is."""

import hashlib
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
        what = "rows" if groups is None else "groups of rows"
        raise ValueError(f"{len(rows)} {what} are too few to set {share:.0%} of them apart")
    part, rest = (torch.tensor([row for at in some for row in rows[at]]) for some in (order[:cut], order[cut:]))
    return part, rest


def told_of_leaks(what: str, test: torch.Tensor, development: Iterable[torch.Tensor]) -> tuple[str, ...]:
    """A sentence on rows of the test set, `[n, ...]`, that also stand in the rows for development; none if none do."""
    seen = {_digest(row) for row in development}
    leaked = sum(_digest(row) in seen for row in test)
    return (f"{leaked} of {len(test)} test {what} stand among the training {what} as well",) if leaked else ()


def _digest(row: torch.Tensor) -> bytes:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest()


def stratified_order(labels: torch.Tensor) -> torch.Tensor:
    """Row numbers in an order whose every stretch has the classes in proportion, to within a row or two."""
    random = np.random.default_rng(SPLIT_SEED)
    classes = labels.numpy()
    position = np.empty(len(classes))
    for label in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == label))
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
    return torch.from_numpy(np.argsort(position, kind="stable"))
