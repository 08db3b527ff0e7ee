"""The one loop over a training set's epochs, whatever network learns whatever from it; knows no data and no trial."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from trainables.training.batch_norm import BATCH_NORMS, SharedBatchNorm
from trainables.training.batches import count_batches, epoch_batches, epoch_generator
from trainables.training.optim import (
    Descent,
    ParamGroups,
    descend,
    load_moments,
    make_optimizer,
    make_scheduler,
    param_groups,
    renew_statistics,
    set_training,
)

LossOf = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


class Part(NamedTuple):
    """Rows of a batch that one worker computes at once, and what their mean loss is multiplied with."""

    rows: torch.Tensor
    factor: torch.Tensor


class Epochs:
    """Passes over a training set, each of which takes every row once.

    The same settings mean the same training, whatever the number of workers and the number of parts that a batch is
    computed in: its loss is the mean over all of its rows, wherever they are computed. `torch`'s own generators are
    seeded anew for each epoch, by worker, so that what is drawn depends on nothing else.

    Args:
        model: what is trained, on the device.
        descent: how.
        num_rows: of the training set.
        lengths: of the training rows, `[num_rows]`; rows of about the same length then share a batch.
        groups: what the optimizer is to be told of the parameters, if not the same of all.
        saved: what `state` gave after an earlier epoch, to go on from.

    Attributes:
        epoch: the last finished one, 0 before the first.
        learning_rate: at the start of the last pass, of the first group.
        has_lost_moments: whether what the optimizer had gathered before was for other groups of parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        descent: Descent,
        num_rows: int,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        lengths: torch.Tensor | None = None,
        groups: ParamGroups | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._descent, self._num_rows, self._lengths = model, descent, num_rows, lengths
        self._seed, self._device, self._rank, self._world_size = seed, device, rank, world_size
        self._fewest = _fewest_rows(model, descent, num_rows, world_size)
        groups = groups or param_groups(model, descent.weight_decay)
        self._optimizer = make_optimizer(descent.optimizer, groups, descent.lr, descent.momentum)
        self.epoch, self.learning_rate, self.has_lost_moments = 0, descent.lr, False
        if saved is not None:
            self.epoch = saved["epoch"]
            if saved["optimizer_name"] == descent.optimizer:
                self.has_lost_moments = not load_moments(self._optimizer, saved["optimizer"])
        self._count = count_batches(num_rows, descent.batch_size, self._fewest)
        self._scheduler = make_scheduler(
            descent.shape,
            self._optimizer,
            total_steps=self._count * descent.epochs,
            warmup_steps=round(self._count * descent.warmup_epochs),
            done_steps=self._count * self.epoch,
        )

    def state(self) -> dict[str, Any]:
        return {
            "optimizer": self._optimizer.state_dict(),
            "optimizer_name": self._descent.optimizer,
            "epoch": self.epoch,
        }

    def run(
        self,
        loss_of: LossOf,
        row_weights: torch.Tensor | None = None,
        after_step: Callable[[int], object] = lambda step: None,
    ) -> float:
        """One pass; the mean loss over the training set as it was trained on. Of several workers, the mean of theirs.

        Leaves the model with the weights that are to be evaluated.

        Args:
            loss_of: the mean loss of some rows, from their numbers, on the device, and a generator for noise.
            row_weights: what each row counts for in that mean, `[num_rows]`, on the device; all alike if None.
            after_step: is told the number of each step, from 0 over all epochs.
        """
        self._model.train()
        set_training(self._optimizer, True)
        self.learning_rate = float(self._scheduler.get_last_lr()[0])
        torch.manual_seed(epoch_generator(self._seed, self.epoch + 1, 2 + 2 * self._rank).initial_seed())
        losses, weights, noise = [], [], self._noise()
        for step, (parts, counted) in enumerate(self._batches(row_weights), self._count * self.epoch):
            terms = (loss_of(part.rows, noise) * part.factor for part in parts)
            loss = descend(terms, self._model, self._optimizer, self._scheduler, self._descent.clip_norm)
            losses.append(loss * counted)
            weights.append(counted)
            after_step(step)
        set_training(self._optimizer, False)
        again, noise = self._batches(row_weights), self._noise()
        forwards = (partial(loss_of, part.rows, noise) for parts, _ in again for part in parts)
        renew_statistics(self._model, self._optimizer, forwards)
        self.epoch += 1
        return float(torch.stack(losses).sum() / torch.stack(weights).sum())

    def _noise(self) -> torch.Generator:
        return epoch_generator(self._seed, self.epoch + 1, 1 + 2 * self._rank)

    def _batches(self, row_weights: torch.Tensor | None) -> Iterator[tuple[list[Part], torch.Tensor]]:
        """This worker's parts of each batch of the next epoch, and what the rows of the whole batch count for."""
        weights = torch.ones(self._num_rows, device=self._device) if row_weights is None else row_weights
        order = epoch_generator(self._seed, self.epoch + 1)
        batches = epoch_batches(
            self._num_rows, self._descent.batch_size, order, fewest=self._fewest, lengths=self._lengths
        )
        for batch in batches:
            rows = batch.to(self._device)
            whole = weights[rows].sum().clamp(min=1e-6)
            parts = rows.tensor_split(min(self._descent.accumulate, len(rows) // self._fewest))
            own = [part[self._rank :: self._world_size] for part in parts]
            # The gradient is the mean of the workers' gradients.
            yield [Part(part, weights[part].sum() / whole * self._world_size) for part in own], whole


def _fewest_rows(model: nn.Module, descent: Descent, num_rows: int, world_size: int) -> int:
    """How many rows are computed together at least; raises ValueError where there are not so many."""
    has_norm = any(isinstance(module, (*BATCH_NORMS, SharedBatchNorm)) for module in model.modules())
    fewest = max(world_size, 2 if has_norm else 1)
    why = f"{world_size} workers need" if world_size > 1 else "batch normalisation needs"
    for name, given in (("batch_size", descent.batch_size), ("the number of training rows", num_rows)):
        if given < fewest:
            raise ValueError(f"{name} must be at least {fewest}, as {why}; got {given}")
    return fewest
