"""The training of a network, epoch by epoch, whatever it learns; knows no data and no model's insides."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from trainables.batches import count_batches, epoch_batches, epoch_generator, share_of
from trainables.optim import (
    DESCENT,
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
from trainables.settings import SHARE, YES_OR_NO, Allowed, Range
from tuner.context import NotFinite, Trial

LossOf = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Recipe(Descent):
    """The parameters of a trial that say how its network is trained.

    Attributes:
        patience: epochs after which the training ends if the sweep's metric has not become better in them, 0 for never.
        ema_decay: with it what is evaluated and saved is a moving average of the weights, of which each step leaves so
            much, less at first; 0 for the weights themselves.
        precision: of the network's arithmetic; its weights are float32 with any. `auto` is bfloat16 where the device
            computes with it (`Trial.has_bfloat16`), and float32 elsewhere.
        compiled: by torch.compile, which takes a minute at first and needs a C++ compiler.
    """

    label_smoothing: float = 0.0
    patience: int = 0
    ema_decay: float = 0.0
    precision: str = "float32"
    compiled: bool = False


PRECISIONS = ("auto", "float32", "bfloat16")
RECIPE: dict[str, Allowed] = {
    **DESCENT,
    "label_smoothing": SHARE,
    "patience": Range(0),
    "ema_decay": SHARE,
    "precision": PRECISIONS,
    "compiled": YES_OR_NO,
}


class Training:
    """A trial's model, and how far its training is; goes on from the trial's checkpoint, where it has one.

    Args:
        model: is put on the trial's device.
        num_rows: of the training set.
        lengths: of the training rows, `[num_rows]`; rows of about the same length then share a batch.
        groups: what the optimizer is to be told of the parameters, if not the same of all.

    Attributes:
        epoch: the last finished one, 0 before the first.
        network: the model as it is trained, wrapped where the trial has several workers.
        model: what is evaluated and saved.
    """

    def __init__(
        self,
        trial: Trial,
        recipe: Recipe,
        model: nn.Module,
        num_rows: int,
        *,
        lengths: torch.Tensor | None = None,
        groups: ParamGroups | None = None,
    ) -> None:
        if recipe.batch_size < trial.world_size:
            raise ValueError(f"batch_size {recipe.batch_size} can't be shared out to {trial.world_size} workers")
        self._trial, self._recipe, self._num_rows, self._lengths = trial, recipe, num_rows, lengths
        self._trained = self.model = model
        # Shares its parameters with the model.
        self.network: Callable[..., Any] = trial.prepare(model)
        if recipe.ema_decay:
            self.model = copy.deepcopy(model)
        groups = groups or param_groups(model, recipe.weight_decay)
        self._optimizer = make_optimizer(recipe.optimizer, groups, recipe.lr, recipe.momentum)
        is_auto = recipe.precision == "auto"
        self._is_mixed = trial.has_bfloat16 if is_auto else recipe.precision == "bfloat16"
        self._metric = trial.metrics[0] if trial.metrics else None
        self.epoch, self._best, self._best_epoch = 0, self._metric.goal.worst if self._metric else math.nan, 0
        self._restore()
        batches = count_batches(num_rows, recipe.batch_size)
        self._scheduler = make_scheduler(
            recipe.schedule,
            self._optimizer,
            total_steps=batches * recipe.epochs,
            warmup_steps=round(batches * recipe.warmup_epochs),
            done_steps=batches * self.epoch,
        )
        if recipe.compiled:
            torch.compiler.reset()  # what it has compiled for other trials of this process counts against its limit
            self.network = torch.compile(self.network)

    @property
    def goes_on(self) -> bool:
        patience = self._recipe.patience if self._metric else 0
        is_patient = not patience or self.epoch - self._best_epoch < patience
        return is_patient and self.epoch < self._recipe.epochs

    def state(self) -> dict[str, Any]:
        return {
            "model": trained_state(self.model),
            **({} if self.model is self._trained else {"trained": trained_state(self._trained)}),
            "optimizer": self._optimizer.state_dict(),
            "optimizer_name": self._recipe.optimizer,
            "epoch": self.epoch,
            "best": self._best,
            "best_epoch": self._best_epoch,
        }

    def run_epoch(self, loss_of: LossOf, row_weights: torch.Tensor | None = None) -> dict[str, float]:
        """One pass over the training set; the loss is the mean over it as it was trained on.

        Args:
            loss_of: the loss of a batch, from its row numbers, on the trial's device, and a generator for noise.
            row_weights: what each row counts for in the mean that is its batch's loss, `[num_rows]`; all alike if None.
        """
        self._trained.train()
        set_training(self._optimizer, True)
        learning_rate = self._scheduler.get_last_lr()[0]
        losses = []
        steps_before = self.epoch * count_batches(self._num_rows, self._recipe.batch_size)
        for step, (rows, noise) in enumerate(self._batches(self.epoch + 1), steps_before):
            parts = self._parts(loss_of, row_weights, rows, noise)
            loss = descend(parts, self._trained, self._optimizer, self._scheduler, self._recipe.clip_norm)
            losses.append(loss)
            if self.model is not self._trained:
                move_towards(self.model, self._trained, min(self._recipe.ema_decay, (1 + step) / (10 + step)))
        set_training(self._optimizer, False)
        batches = self._batches(self.epoch + 1)
        forwards = (partial(self._loss, loss_of, rows, noise) for rows, noise in batches)
        renew_statistics(self._trained, self._optimizer, forwards)
        mean = self._trial.mean({"train_loss": float(torch.stack(losses).mean())})
        return {**mean, "lr": float(learning_rate)}

    @torch.no_grad()
    def outputs(self, num_rows: int, outputs_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The model's outputs `[num_rows, k]` in evaluation mode; each worker computes a share, and all get the whole.

        Args:
            outputs_of: the outputs `[n, k]` of rows, from their numbers `[n]` on the trial's device.
        """
        trial = self._trial
        self.model.eval()
        rows = torch.arange(num_rows, device=trial.device)
        if trial.world_size > 1:
            rows = rows[trial.rank :: trial.world_size]
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)  # running statistics differ between workers
        with self._arithmetic():
            own = outputs_of(rows).float()
        if trial.world_size == 1:
            return own
        outputs = torch.zeros(num_rows, own.shape[1], device=trial.device)
        outputs[trial.rank :: trial.world_size] = own
        torch.distributed.all_reduce(outputs)
        return outputs

    def finish_epoch(self, metrics: Mapping[str, float]) -> None:
        """Raises `NotFinite` where the training has diverged."""
        self.epoch += 1
        for name in ("train_loss", "val_loss"):
            if not math.isfinite(metrics[name]):
                raise NotFinite(f"the training has diverged: {name} is {metrics[name]} in epoch {self.epoch}")
        metric = self._metric
        if metric and metric.goal.better(value := metrics.get(metric.name, math.nan), self._best):
            self._best, self._best_epoch = value, self.epoch

    def _restore(self) -> None:
        """The parameters of the trial may differ from those that the checkpoint was made with."""
        state = self._trial.restore()
        if state is None:
            return
        load_trained(self.model, state["model"])
        if self.model is not self._trained:
            load_trained(self._trained, state.get("trained", state["model"]))
        if state["optimizer_name"] == self._recipe.optimizer:
            load_moments(self._optimizer, state["optimizer"])
        self.epoch, self._best, self._best_epoch = state["epoch"], state["best"], state["best_epoch"]

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self._trial.device.type, torch.bfloat16, enabled=self._is_mixed)

    def _parts(
        self, loss_of: LossOf, row_weights: torch.Tensor | None, rows: torch.Tensor, noise: torch.Generator
    ) -> Iterator[torch.Tensor]:
        for part in rows.chunk(self._recipe.accumulate):
            yield self._loss(loss_of, part, noise) * share_of(part, rows, row_weights)

    def _loss(self, loss_of: LossOf, rows: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        with self._arithmetic():
            return loss_of(rows, noise)

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Generator]]:
        trial = self._trial
        order = epoch_generator(trial.seed, epoch)
        noise = epoch_generator(trial.seed, epoch, 1 + trial.rank)
        size, share = self._recipe.batch_size, (trial.rank, trial.world_size)
        for batch in epoch_batches(self._num_rows, size, order, *share, lengths=self._lengths):
            yield batch.to(trial.device), noise


@torch.no_grad()
def move_towards(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Make `average` the mean of itself, weighted by `decay`, and of `model`; what is no float becomes the model's."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [(own, new) for own, new in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in floats], [new for _, new in floats], 1 - decay)
    for own, new in pairs:
        if not own.is_floating_point():
            own.copy_(new)


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's state dict without the parameters that are not trained."""
    frozen = _frozen(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def load_trained(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give a model what `trained_state` has taken from one like it; raises RuntimeError where it was not like it."""
    if own := _frozen(model):
        state = {**{name: value for name, value in model.state_dict().items() if name in own}, **state}
    model.load_state_dict(state)


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
