"""Optimizers and learning rate schedules by name; knows nothing of data, models' insides or trials."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import update_bn

from trainables.training.settings import POSITIVE, SHARE, Allowed, Range

ParamGroups = list[dict[str, Any]]
# What an optimizer counts beside its settings (schedule_free).
_COUNTERS = ("k", "weight_sum", "lr_max")
# As many as its authors take.
_STATISTICS_BATCHES = 50


def _schedule_free(groups: ParamGroups, lr: float, _: float) -> Optimizer:
    from schedulefree import AdamWScheduleFree  # only here: a trial of another optimizer does without

    optimizer: Optimizer = AdamWScheduleFree(groups, lr)
    return optimizer


OPTIMIZERS: dict[str, Callable[[ParamGroups, float, float], Optimizer]] = {
    "sgd": lambda groups, lr, momentum: SGD(groups, lr, momentum=momentum, nesterov=momentum > 0, fused=True),
    "adam": lambda groups, lr, _: Adam(groups, lr, fused=True),
    "adamw": lambda groups, lr, _: AdamW(groups, lr, fused=True),
    "adagrad": lambda groups, lr, _: Adagrad(groups, lr),
    "schedule_free": _schedule_free,
}


@dataclass(frozen=True)
class Descent:
    """The parameters of a trial that say how its network's loss is brought down.

    Attributes:
        batch_size: of a step, shared out where the trial has several workers.
        optimizer: schedule_free is AdamW whose weights are an average, in the place of a schedule (Defazio et al. 2024,
            arXiv:2405.15682).
        schedule: auto is constant with schedule_free, and cosine with the others.
        momentum: of sgd; other optimizers ignore it.
        warmup_epochs: epochs, or part of one, in which the learning rate rises linearly before the schedule.
        clip_norm: length that a longer gradient is shortened to, 0 for never.
        accumulate: parts that a batch is computed in, one after another, so that it takes less memory; each counts by
            its rows.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 3e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "auto"
    warmup_epochs: float = 0.0
    clip_norm: float = 0.0
    accumulate: int = 1

    @property
    def shape(self) -> str:
        """The name of the schedule."""
        by_optimizer = "constant" if self.optimizer == "schedule_free" else "cosine"
        return by_optimizer if self.schedule == "auto" else self.schedule

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on settings that work against each other; none if none do."""
        if self.optimizer != "schedule_free" or self.shape == "constant":
            return ()
        return (f"schedule_free stands in the place of a schedule, and schedule is {self.schedule}: constant suits it",)


def make_optimizer(name: str, groups: ParamGroups, lr: float, momentum: float) -> Optimizer:
    """The optimizer called `name`; `momentum` is of use to sgd alone. A group may have a learning rate of its own."""
    return OPTIMIZERS[name](groups, lr, momentum)


def param_groups(model: nn.Module, weight_decay: float) -> ParamGroups:
    """All parameters of `model` that are trained; weight decay is for the weights of its layers alone.

    Not for biases, normalisation layers, scales of layers, tokens and positions.
    """
    groups: ParamGroups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_decayed = parameter.ndim > 1 and "weight" in name.rpartition(".")[2]
            groups[0 if is_decayed else 1]["params"].append(parameter)
    return groups


def load_moments(optimizer: Optimizer, saved: Mapping[str, Any]) -> bool:
    """Continue with what a saved state dict has gathered, at this optimizer's own settings; tells whether it could.

    Population based training goes on with another learning rate than the one that was saved. What was gathered for
    other groups of parameters is left.
    """
    own = optimizer.state_dict()["param_groups"]
    sizes, before = ([len(group["params"]) for group in groups] for groups in (own, saved["param_groups"]))
    if sizes != before:
        return False
    for group, counted in zip(own, saved["param_groups"], strict=True):
        group |= {name: counted[name] for name in _COUNTERS if name in counted}
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
    return True


def set_training(optimizer: Optimizer, is_training: bool) -> None:
    """Before and after the steps of an epoch: some optimizers train other weights than those to be evaluated."""
    switch = getattr(optimizer, "train" if is_training else "eval", None)
    if switch is not None:
        switch()


def renew_statistics(model: nn.Module, optimizer: Optimizer, forwards: Iterable[Callable[[], object]]) -> None:
    """Find batch norm's means and variances anew where an optimizer trains other weights than those to be evaluated.

    Args:
        forwards: each has the model compute a training batch.
    """
    if hasattr(optimizer, "eval"):
        update_bn(islice(forwards, _STATISTICS_BATCHES), _Calling(model))


class _Calling(nn.Module):
    """A model whose input has it compute something."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Callable[[], object]) -> object:
        return call()


def _constant(_: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _step(progress: float) -> float:
    """A tenth after half of the training, a hundredth after three quarters."""
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


def _one_cycle(progress: float) -> float:
    """Up from 1/25 in the first 30 % and down to nearly nothing, both along a cosine (Smith & Topin 2017)."""
    rise, start = 0.3, 1 / 25
    if progress < rise:
        return start + (1.0 - start) * (1.0 - _cosine(progress / rise))
    return _cosine((progress - rise) / (1.0 - rise))


# From the share of the training that is done, 0 to 1, to the factor of the learning rate.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "one_cycle": _one_cycle,
}


DESCENT: dict[str, Allowed] = {
    "epochs": Range(1),
    "batch_size": Range(1),
    "optimizer": tuple(OPTIMIZERS),
    "lr": POSITIVE,
    "momentum": SHARE,
    "weight_decay": Range(0),
    "schedule": ("auto", *SCHEDULES),
    "warmup_epochs": Range(0),
    "clip_norm": Range(0),
    "accumulate": Range(1),
}


def make_scheduler(
    name: str, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, done_steps: int = 0
) -> LambdaLR:
    """The schedule called `name` over `total_steps` batches, after a linear rise over `warmup_steps` of them.

    Call its `step` after each batch. It keeps no state but the number of them: to go on, give `done_steps`.
    """
    shape = SCHEDULES[name]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return shape(min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps)))

    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return LambdaLR(optimizer, factor, last_epoch=done_steps - 1)


def descend(
    parts: Iterable[torch.Tensor], model: nn.Module, optimizer: Optimizer, scheduler: LambdaLR, clip_norm: float = 0.0
) -> torch.Tensor:
    """One step down the gradient of a loss, shortened to `clip_norm` where it is longer and that is not 0; the loss.

    Args:
        parts: whose sum is the loss; the gradient of each is taken before the next is asked for.
    """
    optimizer.zero_grad()
    loss = torch.zeros(())
    for part in parts:
        part.backward()
        loss = loss.to(part.device) + part.detach()
    if clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    scheduler.step()
    return loss
