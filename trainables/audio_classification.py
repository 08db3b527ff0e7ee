"""Classify short recordings, such as spoken commands, by their log-mel spectrograms: a CNN or a small transformer.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from trainables.audio.audio_models import SpectrogramClassifier, SpectrogramCNN, SpectrogramTransformer
from trainables.audio.recordings import (
    Sound,
    find_dataset,
    load_development,
    load_test,
    read_spectrograms,
)
from trainables.data.held_out import check_judged, told_of_held_out
from trainables.data.labelled import Development
from trainables.data.notes import keep_notes
from trainables.data.predictions import predictions
from trainables.data.trees import check_group
from trainables.training.batches import balanced_weights
from trainables.training.classifiers import EVALUATION_BATCH, judge, judged_by
from trainables.training.settings import SHARE, Allowed, Range, read_settings, without_files
from trainables.training.training import RECIPE, Recipe, Training
from tuner.trial.portable import Model, Portable
from tuner.trial.trial import Trial

MODELS = ("cnn", "transformer")


@dataclass(frozen=True)
class Settings(Recipe):
    """The parameters of a trial; `from_params` checks them.

    Attributes:
        dataset: the path of a tree with a folder of WAV files for each class.
        group: as in `TreePart.split`, such as the speaker's name.
        sample_rate, seconds, mels: as in `Sound`.
        model: cnn or transformer.
        width, depth, dropout: as in `SpectrogramCNN` and `SpectrogramTransformer`.
        class_weight: balanced counts each class alike in the training.
        shift: largest share of its length that a training recording is moved by.
        mask_frames, mask_mels: the longest stretch of each that is put to its mean in training (SpecAugment, Park et
            al. 2019, arXiv:1904.08779).
    """

    dataset: str = "recordings"
    group: str = ""
    sample_rate: int = 16_000
    seconds: float = 1.0
    mels: int = 40
    model: str = "cnn"
    width: int = 32
    depth: int = 4
    dropout: float = 0.1
    class_weight: str = "none"
    shift: float = 0.0
    mask_frames: int = 0
    mask_mels: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        return read_settings(cls, params, _ALLOWED)

    @property
    def sound(self) -> Sound:
        return Sound(**{field.name: getattr(self, field.name) for field in fields(Sound)})


_ALLOWED: dict[str, Allowed] = {
    **RECIPE,
    "dataset": find_dataset,
    "group": check_group,
    "sample_rate": Range(1000, 192_000),
    "seconds": Range(0.1, 60),
    "mels": Range(8, 256),
    "model": MODELS,
    "width": Range(1, 1024),
    "depth": Range(1, 12),
    "dropout": SHARE,
    "class_weight": ("none", "balanced"),
    "shift": SHARE,
    "mask_frames": Range(0),
    "mask_mels": Range(0),
}

# That `--set` takes beside those of a sweep file.
PARAMETERS = tuple(_ALLOWED)


def train(trial: Trial) -> None:
    """Train a classifier and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    data = _development(trial, settings)
    rows, held_out = data.train, data.validation
    keep_notes(
        trial, [*data.notes, *told_of_held_out("validation", "recordings", held_out.labels.cpu(), rows.class_names)]
    )
    check_judged(trial, "recordings", held_out.labels.cpu(), rows.class_names)
    num_classes = len(rows.class_names)
    weights = balanced_weights(rows.labels, num_classes) if settings.class_weight == "balanced" else None
    model = _make_model(settings, num_classes)
    model.set_normalisation(data.mean, data.std)
    training = Training(trial, settings, model, len(rows))
    about = {"classes": list(rows.class_names), "sound": asdict(settings.sound)}

    def loss_of(batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        spectrograms = _changed(rows.batch(batch), data.mean, settings, noise)
        logits = training.network(spectrograms)
        return cross_entropy(logits, rows.labels[batch], weights, label_smoothing=settings.label_smoothing)

    row_weights = None if weights is None else weights[rows.labels]
    training.run(loss_of, judged_by(training, held_out), about, row_weights)


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The metrics on the test set of a model that `train` saved: for the end of a sweep, not for choosing.

    `report` among them holds the whole classification report.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    settings = Settings.from_params(params)
    test, notes = load_test(settings.dataset, settings.sound, settings.group)
    test = test.to(device)
    model = _make_model(settings, len(test.class_names)).to(device)
    model.load_state_dict(state["model"])
    return judge(
        model,
        test,
        [*settings.notes, *notes, *told_of_held_out("test", "recordings", test.labels.cpu(), test.class_names)],
    )


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes log-mel spectrograms."""
    settings = Settings.from_params(without_files(params))
    model = _make_model(settings, len(state["classes"]))
    model.load_state_dict(state["model"])
    example = torch.randn(2, settings.mels, settings.sound.frames)
    config = {"classes": state["classes"], "sound": state["sound"]}
    return Portable(model.eval(), {"spectrograms": example}, {"spectrograms": {0: "rows"}}, config)


def predict(config: Mapping[str, Any], model: Model, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The class of each WAV file; raises ValueError where some can't be read."""
    for start in range(0, len(inputs), EVALUATION_BATCH):
        paths = inputs[start : start + EVALUATION_BATCH]
        spectrograms, _ = read_spectrograms([Path(path) for path in paths], Sound(**config["sound"]))
        yield from predictions(paths, model(spectrograms), config["classes"])


def _development(trial: Trial, settings: Settings) -> Development:
    """The data, read and prepared once on the node, on the trial's device where it has room."""
    key = f"audio {Path(settings.dataset).expanduser().resolve()} {settings.group} {settings.sound}"
    data = trial.shared(key, lambda: load_development(settings.dataset, settings.sound, settings.group))

    def placed() -> Development:
        return data.to(trial.device, with_inputs=trial.has_room(data.num_bytes))

    return trial.cached(f"{key} {trial.device}", placed)


def _make_model(settings: Settings, num_classes: int) -> SpectrogramClassifier:
    size = {"width": settings.width, "depth": settings.depth}
    if settings.model == "cnn":
        network: torch.nn.Module = SpectrogramCNN(num_classes, **size, dropout=settings.dropout)
    else:
        network = SpectrogramTransformer(settings.mels, num_classes, **size, dropout=settings.dropout)
    return SpectrogramClassifier(network, settings.mels)


def _changed(
    spectrograms: torch.Tensor, mean: torch.Tensor, settings: Settings, generator: torch.Generator
) -> torch.Tensor:
    """Each moved in time, round its end, and with a stretch of frames and of bands at their mean."""
    count, mels, frames = spectrograms.shape
    device = spectrograms.device
    furthest = round(settings.shift * frames)
    if furthest:
        shift = torch.randint(-furthest, furthest + 1, (count, 1), generator=generator)
        places = ((torch.arange(frames) - shift) % frames).to(device)
        spectrograms = spectrograms.gather(2, places[:, None].expand(-1, mels, -1))
    for longest, size, shape in ((settings.mask_frames, frames, (1, -1)), (settings.mask_mels, mels, (-1, 1))):
        if longest:
            length = torch.randint(0, min(longest, size) + 1, (count, 1), generator=generator)
            start = (torch.rand(count, 1, generator=generator) * (size - length + 1)).long()
            place = torch.arange(size)
            is_masked = ((place >= start) & (place < start + length)).to(device).reshape(count, *shape)
            spectrograms = torch.where(is_masked, mean[:, None], spectrograms)
    return spectrograms
