"""Classify images with a small convolutional network: digits, Fashion-MNIST, or any tree of image folders.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    find_dataset,
    load_development,
    load_test,
    random_crop,
    read_images,
)
from trainables.metrics import classification_metrics, classification_report
from trainables.predictions import predictions
from trainables.settings import SHARE, Allowed, Range, read_settings, without_data
from trainables.training import RECIPE, Recipe, Training
from tuner.context import Trial
from tuner.portable import Portable

AUGMENTATIONS = ("none", "crop", "crop+flip")
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Settings(Recipe):
    """The parameters of a trial; `from_params` checks them.

    Attributes:
        dataset: digits, fashion-mnist, or the path of a tree of image folders.
        image_size: side that images of such a tree get; the other data sets have their own.
        train_size: rows to train on, 0 for all.
        channels, depth: width of the network's first block, number of its blocks.
    """

    dataset: str = "digits"
    image_size: int = 32
    train_size: int = 0
    channels: int = 16
    depth: int = 3
    dropout: float = 0.0
    augment: str = "none"

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        return read_settings(cls, params, _ALLOWED)


_ALLOWED: dict[str, Allowed] = {
    **RECIPE,
    "dataset": find_dataset,
    "image_size": Range(8, 512),
    "train_size": Range(0),
    "channels": Range(1, 1024),
    "depth": Range(1, 12),
    "dropout": SHARE,
    "augment": AUGMENTATIONS,
}


def train(trial: Trial) -> None:
    """Train a classifier and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    data = _development(trial, settings)
    rows, held_out = data.train, data.validation
    model = _make_model(settings, rows)
    model.set_normalisation(data.mean, data.std)
    training = Training(trial, settings, model, len(rows))
    _, channels, _, size = rows.images.shape
    about = {"classes": list(rows.class_names), "channels": channels, "image_size": size}

    def loss_of(batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        images = rows.images[batch]
        if settings.augment != "none":
            images = random_crop(images, settings.augment == "crop+flip", noise)
        return cross_entropy(training.network(images), rows.labels[batch], label_smoothing=settings.label_smoothing)

    while training.goes_on:
        metrics = training.run_epoch(loss_of)
        logits = training.outputs(len(held_out), lambda batch: _logits(model, held_out.images[batch]))
        metrics |= _scores("val", held_out, logits)
        training.finish_epoch(metrics)
        trial.report(training.epoch, metrics, state=training.state() | about)


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
    probabilities = logits.softmax(dim=1).cpu().numpy()
    report = classification_report(test.labels.cpu().numpy(), probabilities, test.class_names)
    return {**_scores("test", test, logits), "report": report}


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes uint8 images as they are stored."""
    settings, names = Settings.from_params(without_data(params)), tuple(state["classes"])
    channels, size = int(state["channels"]), int(state["image_size"])
    images = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    model = _make_model(settings, Labelled(images, torch.zeros(2), names))
    model.load_state_dict(state["model"])
    config = {"classes": names, "channels": channels, "image_size": size}
    return Portable(model.eval(), {"images": images}, {"images": {0: "rows"}}, config)


def predict(
    config: Mapping[str, Any], model: Callable[..., torch.Tensor], inputs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The class of each image file; raises ValueError where some can't be read."""
    for start in range(0, len(inputs), EVALUATION_BATCH):
        paths = inputs[start : start + EVALUATION_BATCH]
        images = read_images([Path(path) for path in paths], config["image_size"], config["channels"])
        yield from predictions(paths, model(images), config["classes"])


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
        num_classes=len(rows.class_names),
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
