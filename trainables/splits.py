"""How rows are set apart for validation and test: the same ones each time, whatever a trial's seed is."""

import hashlib

import numpy as np
import torch

# Every split is a function of this and of the labels.
SPLIT_SEED = 20260101
TEST_SHARE = 1 / 5  # of a data set that comes in one piece
VALIDATION_SHARE = 1 / 6  # of what is not the test set


def split_rows(labels: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of that share of the rows, and of the rest; both with all classes in proportion, wherever cut.

    Raises ValueError where nothing would be left of either.
    """
    order = stratified_order(labels)
    cut = round(len(labels) * share)
    if not 0 < cut < len(labels):
        raise ValueError(f"{len(labels)} rows are too few to set {share:.0%} of them apart")
    return order[:cut], order[cut:]


def told_of_leaks(what: str, test: torch.Tensor, development: torch.Tensor) -> tuple[str, ...]:
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
