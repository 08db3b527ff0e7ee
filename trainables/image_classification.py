"""Classify images with a convolutional network or a transformer: digits, Fashion-MNIST, CIFAR-10, any tree of images.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from trainables.data.held_out import check_judged, told_of_held_out
from trainables.data.labelled import Development
from trainables.data.notes import keep_notes
from trainables.data.predictions import predictions
from trainables.data.trees import DATA_ENV, check_group
from trainables.training.batches import balanced_weights
from trainables.training.classifiers import EVALUATION_BATCH, judge, judged_by
from trainables.training.distillation import DISTILLATION, Distillation, check_teacher, load_teacher, told_of_teacher
from trainables.training.settings import SHARE, YES_OR_NO, Allowed, Range, read_settings, without_files
from trainables.training.training import RECIPE, Recipe, Training
from trainables.vision.augmentation import AUGMENTATIONS, Augmentation
from trainables.vision.image_models import MODELS, ImageClassifier, find_weights, make_image_classifier
from trainables.vision.images import (
    FASHION_MNIST_ENV,
    find_dataset,
    load_development,
    load_test,
    read_images,
)
from tuner.trial.portable import Model, Portable
from tuner.trial.trial import Trial


@dataclass(frozen=True)
class Settings(Distillation, Recipe):
    """The parameters of a trial; `from_params` checks them.

    Attributes:
        dataset: digits, fashion-mnist, cifar10, or the path of a tree of image folders.
        image_size: side that images of such a tree get; the other data sets have their own.
        group: of such a tree's files, as in `TreePart.split`.
        train_size: rows to train on, 0 for all.
        model, weights, channels, depth, dropout, channels_last: as in `make_image_classifier`.
        augment, mixup, cutmix: as in `Augmentation`.
        class_weight: balanced counts each class alike in the training.
        data_on: where the images lie: on the device that trains, in the host's memory, or by `auto` on the device if
            they fit there. They are changed on the device, a batch at a time, in either case.
    """

    dataset: str = "digits"
    image_size: int = 32
    group: str = ""
    train_size: int = 0
    model: str = "cnn"
    weights: str = ""
    channels: int = 16
    depth: int = 3
    dropout: float = 0.0
    augment: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weight: str = "none"
    channels_last: bool = True
    data_on: str = "auto"

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        return read_settings(cls, params, _ALLOWED)


_ALLOWED: dict[str, Allowed] = {
    **RECIPE,
    **DISTILLATION,
    "dataset": find_dataset,
    "group": check_group,
    "image_size": Range(8, 512),
    "train_size": Range(0),
    "model": MODELS,
    "weights": find_weights,
    "channels": Range(1, 1024),
    "depth": Range(1, 12),
    "dropout": SHARE,
    "augment": AUGMENTATIONS,
    "mixup": Range(0),
    "cutmix": Range(0),
    "class_weight": ("none", "balanced"),
    "channels_last": YES_OR_NO,
    "data_on": ("auto", "device", "host"),
}

# That `--set` takes beside those of a sweep file.
PARAMETERS = tuple(_ALLOWED)


def train(trial: Trial) -> None:
    """Train a classifier and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    data = _development(trial, settings)
    rows, held_out = data.train, data.validation
    judged = held_out.labels.cpu()
    doubts = told_of_held_out("validation", "images", judged, rows.class_names)
    about_teacher = told_of_teacher(settings.teacher, data.held_out)
    keep_notes(trial, [*settings.notes, *data.notes, *doubts, *about_teacher])
    check_judged(trial, "images", judged, rows.class_names)
    _, channels, _, size = rows.inputs.shape
    model = _make_model(settings, channels, size, len(rows.class_names))
    model.set_normalisation(data.mean, data.std)
    training = Training(trial, settings, model, len(rows))
    about = {"classes": list(rows.class_names), "channels": channels, "image_size": size}
    about["held_out"] = data.held_out
    augment = Augmentation(settings.augment, len(rows.class_names), mixup=settings.mixup, cutmix=settings.cutmix)
    teacher = _teacher(trial, settings, about)
    is_balanced = settings.class_weight == "balanced"
    weights = balanced_weights(rows.labels, len(rows.class_names)) if is_balanced else None

    # Of mixed images the targets are shares of classes, and the loss is a mean over rows.
    is_mixed = settings.mixup or settings.cutmix
    row_weights = None if weights is None or is_mixed else weights[rows.labels]

    def loss_of(batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        images, targets = augment(rows.batch(batch), rows.labels[batch], noise)
        logits = training.network(images)
        loss = cross_entropy(logits, targets, weights, label_smoothing=settings.label_smoothing)
        if not teacher:
            return loss
        return settings.distil(loss, logits, teacher(images), None if row_weights is None else row_weights[batch])

    training.run(loss_of, judged_by(training, held_out), about, row_weights)


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The metrics on the test set of a model that `train` saved: for the end of a sweep, not for choosing.

    `report` among them holds the whole classification report.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    # What it was trained from is not needed any more.
    settings = Settings.from_params({**params, "weights": "", "teacher": ""})
    test, notes = load_test(settings.dataset, settings.image_size, settings.group)
    test = test.to(device)
    _, channels, _, size = test.inputs.shape
    model = _make_model(settings, channels, size, len(test.class_names)).to(device)
    model.load_state_dict(state["model"])
    return judge(
        model, test, [*settings.notes, *notes, *told_of_held_out("test", "images", test.labels.cpu(), test.class_names)]
    )


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes uint8 images as they are stored."""
    settings, names = Settings.from_params(without_files(params)), tuple(state["classes"])
    channels, size = int(state["channels"]), int(state["image_size"])
    images = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    model = _make_model(settings, channels, size, len(names))
    model.load_state_dict(state["model"])
    config = {"classes": names, "channels": channels, "image_size": size, "held_out": state.get("held_out", "")}
    return Portable(model.eval(), {"images": images}, {"images": {0: "rows"}}, config)


def predict(config: Mapping[str, Any], model: Model, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The class of each image file; raises ValueError where some can't be read."""
    for start in range(0, len(inputs), EVALUATION_BATCH):
        paths = inputs[start : start + EVALUATION_BATCH]
        images = read_images([Path(path) for path in paths], config["image_size"], config["channels"])
        yield from predictions(paths, model(images), config["classes"])


def _development(trial: Trial, settings: Settings) -> Development:
    """The data, read and prepared once on the node, where they are to lie."""
    folder = Path(settings.dataset).expanduser()
    place = folder.resolve() if folder.is_dir() else settings.dataset
    how = (settings.image_size, settings.train_size, settings.group)
    key = f"images {place} {os.environ.get(FASHION_MNIST_ENV)} {os.environ.get(DATA_ENV)} {how}"
    data = trial.shared(key, lambda: load_development(settings.dataset, *how))

    def placed() -> Development:
        fits = settings.data_on == "device" or (settings.data_on == "auto" and trial.has_room(data.num_bytes))
        return data.to(trial.device, with_inputs=fits)

    return trial.cached(f"{key} {settings.data_on} {trial.device}", placed)


def _make_model(settings: Settings, channels: int, size: int, num_classes: int) -> ImageClassifier:
    return make_image_classifier(
        settings.model,
        in_channels=channels,
        image_size=size,
        num_classes=num_classes,
        channels=settings.channels,
        depth=settings.depth,
        dropout=settings.dropout,
        weights=settings.weights,
        channels_last=settings.channels_last,
    )


def _teacher(
    trial: Trial, settings: Settings, about: Mapping[str, Any]
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What the teacher says of images, changed and mixed as they are; None where there is none."""
    if not settings.teacher:
        return None
    key = f"teacher {settings.teacher} {trial.device}"
    config, model = trial.cached(key, lambda: load_teacher(settings.teacher, trial.device))
    check_teacher(settings.teacher, config.get("classes", ()), about["classes"])
    if any(config[name] != about[name] for name in ("channels", "image_size")):
        raise ValueError(f"teacher {settings.teacher} takes images of another size, or of other colours")

    @torch.no_grad()
    def teach(images: torch.Tensor) -> torch.Tensor:
        return model(images.round().to(torch.uint8))

    return teach
