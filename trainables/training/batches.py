"""Rows of a training set in batches, shuffled; knows nothing of what the rows are."""

import math
from collections.abc import Iterator

import numpy as np
import torch

# Where rows of a batch are to have the same length, they are picked from so many batches' rows.
SORTED_BATCHES = 16


def balanced_weights(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Weights of the loss, `[num_classes]`, by which each class counts alike; the mean over the rows is 1."""
    counts = torch.bincount(labels, minlength=num_classes)
    return len(labels) / (num_classes * counts.clamp(min=1).float())


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """A CPU generator that depends on the arguments alone, so that a continued run draws the same."""
    mixed = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) % 2**63)


def epoch_batches(
    num_rows: int,
    batch_size: int,
    generator: torch.Generator,
    *,
    fewest: int = 1,
    lengths: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Row numbers of each batch of an epoch, shuffled: every row once, in batches whose sizes differ by one at most.

    Args:
        batch_size: none has more rows, but where it would have less than `fewest`.
        fewest: rows of a batch.
        lengths: of the rows, `[num_rows]`: those of a batch then have about the same, so that little is padded.
    """
    count = count_batches(num_rows, batch_size, fewest)
    batches = list(torch.randperm(num_rows, generator=generator).tensor_split(count))
    if lengths is not None:
        for start in range(0, count, SORTED_BATCHES):
            some = batches[start : start + SORTED_BATCHES]
            pool = torch.cat(some)
            ordered = pool[lengths[pool].argsort(stable=True)]
            batches[start : start + SORTED_BATCHES] = torch.split(ordered, [len(batch) for batch in some])
        batches = [batches[i] for i in torch.randperm(count, generator=generator).tolist()]
    yield from batches


def count_batches(num_rows: int, batch_size: int, fewest: int = 1) -> int:
    """How many batches `epoch_batches` yields."""
    return max(1, min(math.ceil(num_rows / batch_size), num_rows // fewest))
