"""The training of a network, epoch by epoch, whatever it learns; knows no data and no model's insides."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainables.data.notes import add_note
from trainables.training.batch_norm import share_statistics
from trainables.training.epochs import Epochs, LossOf
from trainables.training.optim import DESCENT, Descent, ParamGroups
from trainables.training.settings import SHARE, YES_OR_NO, Allowed, Range
from tuner.errors import NotFinite
from tuner.trial.trial import Trial

# The metrics of the model as it is now, and what is to be saved beside it.
Judge = Callable[[], tuple[Mapping[str, float], Mapping[str, Any]]]

_REGROUPED = "its checkpoint is of an earlier version, which grouped the parameters otherwise"


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
        self._trial, self._recipe = trial, recipe
        self._trained = self.model = model
        if trial.world_size > 1:
            share_statistics(model)
        # Shares its parameters with the model.
        self.network: Callable[..., Any] = trial.prepare(model)
        if recipe.ema_decay:
            self.model = copy.deepcopy(model)
        is_auto = recipe.precision == "auto"
        self._is_mixed = trial.has_bfloat16 if is_auto else recipe.precision == "bfloat16"
        self._metric = trial.metrics[0] if trial.metrics else None
        self._best, self._best_epoch = self._metric.goal.worst if self._metric else math.nan, 0
        saved = self._restore()
        self._epochs = Epochs(
            model,
            recipe,
            num_rows,
            seed=trial.seed,
            device=trial.device,
            rank=trial.rank,
            world_size=trial.world_size,
            lengths=lengths,
            groups=groups,
            saved=saved,
        )
        if self._epochs.has_lost_moments:
            add_note(
                trial, f"resumed after epoch {self._epochs.epoch} with an optimizer that begins anew: {_REGROUPED}"
            )
        if recipe.compiled:
            torch.compiler.reset()  # what it has compiled for other trials of this process counts against its limit
            self.network = torch.compile(self.network)

    def run(
        self, loss_of: LossOf, judge: Judge, about: Mapping[str, Any], row_weights: torch.Tensor | None = None
    ) -> None:
        """Train to the end, and report each epoch.

        Args:
            loss_of, row_weights: as of `Epochs.run`.
            judge: `val_loss` is to be among its metrics.
            about: what is saved beside the training's state.
        """
        while self._goes_on:
            metrics = self._run_epoch(loss_of, row_weights)
            judged, found = judge()
            metrics |= judged
            self._follow(metrics)
            self._trial.report(metrics, step=self._epochs.epoch, state={**self._state(), **about, **found})

    @property
    def _goes_on(self) -> bool:
        patience, epoch = self._recipe.patience if self._metric else 0, self._epochs.epoch
        return (not patience or epoch - self._best_epoch < patience) and epoch < self._recipe.epochs

    def _state(self) -> dict[str, Any]:
        return {
            "model": trained_state(self.model),
            **({} if self.model is self._trained else {"trained": trained_state(self._trained)}),
            **self._epochs.state(),
            "best": self._best,
            "best_epoch": self._best_epoch,
        }

    def _run_epoch(self, loss_of: LossOf, row_weights: torch.Tensor | None) -> dict[str, float]:
        def loss_in_precision(rows: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
            with torch.autocast(self._trial.device.type, torch.bfloat16, enabled=self._is_mixed):
                return loss_of(rows, noise)

        def average(step: int) -> None:
            if self.model is not self._trained:
                move_towards(self.model, self._trained, min(self._recipe.ema_decay, (1 + step) / (10 + step)))

        loss = self._epochs.run(loss_in_precision, row_weights, average)
        return {**self._trial.mean({"train_loss": loss}), "lr": self._epochs.learning_rate}

    @torch.no_grad()
    def outputs(self, num_rows: int, outputs_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The model's outputs `[num_rows, k]` in evaluation mode; each worker computes a share, and all get the whole.

        In float32, as the test is.

        Args:
            outputs_of: the outputs `[n, k]` of rows, from their numbers `[n]` on the trial's device.
        """
        trial = self._trial
        self.model.eval()
        rows = torch.arange(num_rows, device=trial.device)
        if trial.world_size == 1 or num_rows < trial.world_size:
            return outputs_of(rows)
        own = outputs_of(rows[trial.rank :: trial.world_size])
        outputs = torch.zeros(num_rows, own.shape[1], device=trial.device)
        outputs[trial.rank :: trial.world_size] = own
        torch.distributed.all_reduce(outputs)
        return outputs

    def _follow(self, metrics: Mapping[str, float]) -> None:
        """Raises `NotFinite` where the training has diverged."""
        epoch = self._epochs.epoch
        for name in ("train_loss", "val_loss"):
            if not math.isfinite(metrics[name]):
                raise NotFinite(f"the training has diverged: {name} is {metrics[name]} in epoch {epoch}")
        metric = self._metric
        if metric and metric.goal.better(value := metrics.get(metric.name, math.nan), self._best):
            self._best, self._best_epoch = value, epoch

    def _restore(self) -> Mapping[str, Any] | None:
        """The parameters of the trial may differ from those that the checkpoint was made with."""
        state = self._trial.restore()
        if state is None:
            return None
        load_trained(self.model, state["model"])
        if self.model is not self._trained:
            load_trained(self._trained, state.get("trained", state["model"]))
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        return state


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
