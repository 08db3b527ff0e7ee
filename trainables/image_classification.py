"""Classify images with a small convolutional network: digits, Fashion-MNIST, or any tree of image folders.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.cnn import CNN
from trainables.data import (
    FASHION_MNIST_ENV,
    Development,
    Labelled,
    count_batches,
    epoch_batches,
    epoch_generator,
    find_dataset,
    load_development,
    load_test,
    random_crop,
)
from trainables.metrics import classification_metrics, classification_report
from trainables.optim import OPTIMIZERS, SCHEDULES, descend, load_moments, make_optimizer, make_scheduler
from trainables.settings import POSITIVE, SHARE, Allowed, Range, read_settings
from tuner.context import NotFinite, Trial

AUGMENTATIONS = ("none", "crop", "crop+flip")
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Settings:
    """The parameters of a trial; `from_params` checks them.

    Attributes:
        dataset: digits, fashion-mnist, or the path of a tree of image folders.
        image_size: side that images of such a tree get; the other data sets have their own.
        train_size: rows to train on, 0 for all.
        batch_size: of a step, shared out where the trial has several workers.
        momentum: of sgd; other optimizers ignore it.
        warmup_epochs: epochs, or part of one, in which the learning rate rises linearly before the schedule.
        clip_norm: length that a longer gradient is shortened to, 0 for never.
        channels, depth: width of the network's first block, number of its blocks.
        patience: epochs without a better validation accuracy after which the training ends, 0 for never.
    """

    dataset: str = "digits"
    image_size: int = 32
    train_size: int = 0
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 3e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    clip_norm: float = 0.0
    channels: int = 16
    depth: int = 3
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augment: str = "none"
    patience: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        return read_settings(cls, params, _ALLOWED)


_ALLOWED: dict[str, Allowed] = {
    "dataset": find_dataset,
    "image_size": Range(8, 512),
    "train_size": Range(0),
    "epochs": Range(1),
    "batch_size": Range(1),
    "optimizer": tuple(OPTIMIZERS),
    "lr": POSITIVE,
    "momentum": SHARE,
    "weight_decay": Range(0),
    "schedule": tuple(SCHEDULES),
    "warmup_epochs": Range(0),
    "clip_norm": Range(0),
    "channels": Range(1, 1024),
    "depth": Range(1, 12),
    "dropout": SHARE,
    "label_smoothing": SHARE,
    "augment": AUGMENTATIONS,
    "patience": Range(0),
}


def train(trial: Trial) -> None:
    """Train a classifier and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    run = _Run(trial, settings, _development(trial, settings))
    while run.goes_on:
        metrics = run.train_epoch() | run.validate()
        run.finish_epoch(metrics)
        trial.report(run.epoch, metrics, state=run.state())


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The metrics on the test set of a model that `train` saved: for the end of a sweep, not for choosing.

    `report` among them holds the whole classification report.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    settings = Settings.from_params(params)
    test = load_test(settings.dataset, settings.image_size).to(device)
    model = _make_model(settings, test).to(device)
    model.load_state_dict(state["model"])
    logits = _logits(model, test.images)
    names = [str(label) for label in range(test.num_classes)]
    report = classification_report(test.labels.cpu().numpy(), logits.softmax(dim=1).cpu().numpy(), names)
    return {**_scores("test", test, logits), "report": report}


class _Run:
    """The model of a trial, and how far its training is.

    Attributes:
        epoch: the last finished one, 0 before the first.
    """

    def __init__(self, trial: Trial, settings: Settings, data: Development) -> None:
        if settings.batch_size < trial.world_size:
            raise ValueError(f"batch_size {settings.batch_size} can't be shared out to {trial.world_size} workers")
        self._trial, self._settings, self._data = trial, settings, data
        self._model = _make_model(settings, data.train)
        self._model.set_normalisation(data.mean, data.std)
        # Shares its parameters with the model; wrapped where the trial has several workers.
        self._prepared = trial.prepare(self._model)
        self._optimizer = make_optimizer(
            settings.optimizer, self._model, settings.lr, settings.momentum, settings.weight_decay
        )
        self.epoch, self._best, self._best_epoch = 0, -math.inf, 0
        self._restore()
        batches = count_batches(len(data.train), settings.batch_size)
        self._scheduler = make_scheduler(
            settings.schedule,
            self._optimizer,
            total_steps=batches * settings.epochs,
            warmup_steps=round(batches * settings.warmup_epochs),
            done_steps=batches * self.epoch,
        )

    @property
    def goes_on(self) -> bool:
        patience = self._settings.patience
        is_patient = not patience or self.epoch - self._best_epoch < patience
        return is_patient and self.epoch < self._settings.epochs

    def state(self) -> dict[str, Any]:
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "optimizer_name": self._settings.optimizer,
            "epoch": self.epoch,
            "best": self._best,
            "best_epoch": self._best_epoch,
        }

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training set; the loss is the mean over it as it was trained on."""
        self._prepared.train()
        learning_rate = self._scheduler.get_last_lr()[0]
        losses = [self._train_batch(images, labels) for images, labels in self._batches(self.epoch + 1)]
        return {"train_loss": float(torch.stack(losses).mean()), "lr": float(learning_rate)}

    def validate(self) -> dict[str, float]:
        """On the whole validation set, of which each worker takes a share; all come to the same verdict."""
        rows, trial = self._data.validation, self._trial
        if trial.world_size == 1:
            return _scores("val", rows, _logits(self._model, rows.images))
        for buffer in self._model.buffers():
            torch.distributed.broadcast(buffer, src=0)  # running statistics differ between workers
        logits = torch.zeros(len(rows), rows.num_classes, device=rows.images.device)
        logits[trial.rank :: trial.world_size] = _logits(self._model, rows.images[trial.rank :: trial.world_size])
        torch.distributed.all_reduce(logits)
        return _scores("val", rows, logits)

    def finish_epoch(self, metrics: Mapping[str, float]) -> None:
        """Raises `NotFinite` where the training has diverged."""
        self.epoch += 1
        for name in ("train_loss", "val_loss"):
            if not math.isfinite(metrics[name]):
                raise NotFinite(f"the training has diverged: {name} is {metrics[name]} in epoch {self.epoch}")
        if metrics["val_accuracy"] > self._best:
            self._best, self._best_epoch = metrics["val_accuracy"], self.epoch

    def _restore(self) -> None:
        """Go on from the trial's checkpoint, where it has one; the parameters may differ from its own."""
        state = self._trial.restore()
        if state is None:
            return
        self._model.load_state_dict(state["model"])
        if state["optimizer_name"] == self._settings.optimizer:
            load_moments(self._optimizer, state["optimizer"])
        self.epoch, self._best, self._best_epoch = state["epoch"], state["best"], state["best_epoch"]

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        trial, settings, rows = self._trial, self._settings, self._data.train
        order = epoch_generator(trial.seed, epoch)
        noise = epoch_generator(trial.seed, epoch, 1 + trial.rank)
        for batch in epoch_batches(len(rows), settings.batch_size, order, trial.rank, trial.world_size):
            picked = rows.take(batch.to(trial.device))
            images = picked.images
            if settings.augment != "none":
                images = random_crop(images, settings.augment == "crop+flip", noise)
            yield images, picked.labels

    def _train_batch(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = cross_entropy(self._prepared(images), labels, label_smoothing=self._settings.label_smoothing)
        descend(loss, self._model, self._optimizer, self._scheduler, self._settings.clip_norm)
        return loss.detach()


def _development(trial: Trial, settings: Settings) -> Development:
    """The data on the trial's device, read and prepared once on the node."""
    folder = Path(settings.dataset).expanduser()
    place = folder.resolve() if folder.is_dir() else settings.dataset
    sizes = f"{settings.image_size} {settings.train_size}"
    key = f"images {place} {os.environ.get(FASHION_MNIST_ENV)} {sizes}"
    data = trial.shared(key, lambda: load_development(settings.dataset, settings.image_size, settings.train_size))
    return trial.cached(f"{key} {trial.device}", lambda: data.to(trial.device))


def _make_model(settings: Settings, rows: Labelled) -> CNN:
    return CNN(
        in_channels=rows.images.shape[1],
        image_size=rows.images.shape[2],
        num_classes=rows.num_classes,
        channels=settings.channels,
        depth=settings.depth,
        dropout=settings.dropout,
    )


@torch.no_grad()
def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the model gives in evaluation mode, `[n, classes]`."""
    model.eval()
    return torch.cat([model(batch) for batch in torch.split(images, EVALUATION_BATCH)])


def _scores(prefix: str, rows: Labelled, logits: torch.Tensor) -> dict[str, float]:
    metrics = classification_metrics(prefix, rows.labels.cpu().numpy(), logits.softmax(dim=1).cpu().numpy())
    return metrics | {f"{prefix}_loss": float(cross_entropy(logits, rows.labels))}
