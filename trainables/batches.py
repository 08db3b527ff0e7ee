"""Rows of a training set in batches, shuffled; knows nothing of what the rows are."""

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
    rank: int = 0,
    world_size: int = 1,
    *,
    lengths: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Row numbers of each batch of an epoch, shuffled; rows that fill no batch wait for another epoch.

    Of several workers, whose generators must be alike, each gets an equal share of each batch: the same settings mean
    the same training, whatever their number.

    Args:
        lengths: of the rows, `[num_rows]`: those of a batch then have about the same, so that little is padded.
    """
    order = torch.randperm(num_rows, generator=generator)
    count = count_batches(num_rows, batch_size)
    order = order[: count * batch_size]
    batches = order.chunk(count)
    if lengths is not None:
        pools = [pool[lengths[pool].argsort(stable=True)] for pool in torch.split(order, SORTED_BATCHES * batch_size)]
        batches = torch.cat(pools).chunk(count)
        batches = tuple(batches[i] for i in torch.randperm(count, generator=generator).tolist())
    for batch in batches:
        yield batch[rank : len(batch) - len(batch) % world_size : world_size]


def count_batches(num_rows: int, batch_size: int) -> int:
    """How many batches `epoch_batches` yields: at least one."""
    return max(1, num_rows // batch_size)


def share_of(part: torch.Tensor, rows: torch.Tensor, row_weights: torch.Tensor | None) -> float | torch.Tensor:
    """What a part of a batch has of its loss, which is a mean over rows that count for so much."""
    if row_weights is None:
        return len(part) / len(rows)
    return row_weights[part].sum() / row_weights[rows].sum().clamp(min=1e-6)
