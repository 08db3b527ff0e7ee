"""Classify texts: a bag of words, a recurrent network, or a pretrained transformer.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy, pad

from trainables.data.held_out import check_judged, told_of_held_out
from trainables.data.metrics import as_lines, classification_metrics, classification_report
from trainables.data.notes import keep_notes
from trainables.data.predictions import predictions
from trainables.data.splits import fingerprint
from trainables.data.trees import DATA_ENV, check_group
from trainables.text.confidence import confidence_of, threshold_of
from trainables.text.finetuning import FINE_TUNING, FineTuning
from trainables.text.pretrained import (
    FeatureClassifier,
    PretrainedClassifier,
    features,
    load_tokenizer,
    tokenize,
    told_of_unknown,
    trimmed,
)
from trainables.text.text_models import BagOfEmbeddings, Head, Recurrent, build_vocabulary, encode_words
from trainables.text.texts import (
    UNKNOWN,
    Development,
    Source,
    Texts,
    find_dataset,
    find_file,
    load_development,
    load_test,
)
from trainables.training.batches import balanced_weights
from trainables.training.distillation import DISTILLATION, Distillation, check_teacher, load_teacher, told_of_teacher
from trainables.training.settings import Allowed, Range, read_settings, without_files
from trainables.training.training import Training, load_trained
from tuner.trial.portable import Model, Portable
from tuner.trial.trial import Trial

MODELS = ("bag", "gru", "transformer")
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Settings(Distillation, FineTuning):
    """The parameters of a trial; `from_params` checks them. Those of other models than `model` are ignored.

    Attributes:
        dataset, text_column, label_column, test_dataset, unknown_classes, group_column, group: as in `Source`.
        model: bag of embeddings, gru, or transformer.
        max_length: tokens of a text beyond these are cut off.
        class_weight: balanced counts each class alike in the training.
        ngrams: of words that the bag knows; 2 adds all pairs of neighbours.
        min_count: words that the training texts have less often are unknown to bag and gru.
        width, depth: of the embeddings and the gru's states, and the number of its layers.
        hidden: units between a transformer's features and the classes, 0 for none; with `finetune: head`.
    """

    dataset: str = "banking77"
    text_column: str = ""
    label_column: str = ""
    test_dataset: str = ""
    unknown_classes: int = 0
    group_column: str = ""
    group: str = ""
    model: str = "transformer"
    max_length: int = 64
    class_weight: str = "none"
    ngrams: int = 2
    min_count: int = 2
    width: int = 128
    depth: int = 1
    finetune: str = "head"
    hidden: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        return read_settings(cls, params, _ALLOWED)

    @property
    def source(self) -> Source:
        return Source(**{field.name: getattr(self, field.name) for field in fields(Source)})


_ALLOWED: dict[str, Allowed] = {
    **FINE_TUNING,
    **DISTILLATION,
    "dataset": find_dataset,
    "text_column": str,
    "label_column": str,
    "test_dataset": find_file,
    "unknown_classes": Range(0),
    "group_column": str,
    "group": check_group,
    "model": MODELS,
    "max_length": Range(2, 512),
    "class_weight": ("none", "balanced"),
    "ngrams": Range(1, 3),
    "min_count": Range(1),
    "width": Range(1, 4096),
    "depth": Range(1, 8),
    "hidden": Range(0, 8192),
}

# That `--set` takes beside those of a sweep file.
PARAMETERS = tuple(_ALLOWED)


@dataclass(frozen=True)
class Inputs:
    """What a model is given of texts: token ids `[n, length]` and their numbers, or features `[n, width]`.

    Attributes:
        lengths: `[n]`; None for features.
        notes: sentences on what is beyond the longest length, or unknown to the tokenizer.
    """

    values: torch.Tensor
    lengths: torch.Tensor | None
    notes: tuple[str, ...]

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The arguments of a model for some rows, where their numbers are."""
        there = rows.to(self.values.device)
        if self.lengths is None:
            return (self.values[there].to(rows.device),)
        return tuple(part.to(rows.device) for part in trimmed(self.values[there], self.lengths[there]))

    def to(self, device: torch.device | str) -> "Inputs":
        lengths = None if self.lengths is None else self.lengths.to(device)
        return Inputs(self.values.to(device), lengths, self.notes)


def train(trial: Trial) -> None:
    """Train a classifier and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    data = _development(trial, settings)
    words = _vocabulary(trial, settings, data)
    rows = _inputs(trial, settings, "training", data.train, words)
    held_out = _inputs(trial, settings, "validation", data.validation, words)
    known = data.validation.labels[data.validation.labels != UNKNOWN]
    doubts = told_of_held_out("validation", "texts", known, data.train.class_names)
    held_out_texts = fingerprint(text.encode() for text in data.validation.texts)
    about_teacher = told_of_teacher(settings.teacher, held_out_texts)
    keep_notes(trial, [*settings.notes, *data.notes, *rows.notes, *doubts, *about_teacher])
    check_judged(trial, "texts", known, data.train.class_names)
    labels = data.train.labels.to(trial.device)
    num_classes = len(data.train.class_names)
    weights = balanced_weights(labels, num_classes) if settings.class_weight == "balanced" else None
    model = _make_model(settings, len(words), num_classes, rows.values.shape[1])
    groups = settings.param_groups(model, model.encoder) if isinstance(model, PretrainedClassifier) else None
    training = Training(trial, settings, model, len(labels), lengths=_cpu(rows.lengths), groups=groups)

    taught = _taught(trial, settings, data.train)
    # With these a model can be used without its training texts.
    about = {"words": words, "classes": list(data.train.class_names), "held_out": held_out_texts}

    def loss_of(batch: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        logits = training.network(*rows.batch(batch))
        loss = cross_entropy(logits, labels[batch], weights, label_smoothing=settings.label_smoothing)
        if taught is None:
            return loss
        return settings.distil(loss, logits, taught[batch], None if weights is None else weights[labels[batch]])

    def judge() -> tuple[dict[str, float], dict[str, Any]]:
        logits = training.outputs(len(data.validation), lambda batch: _logits(training.model, held_out, batch))
        threshold = threshold_of(data.validation.labels, logits)
        return _scores("val", data.validation, logits, threshold), {"threshold": threshold}

    training.run(loss_of, judge, about, None if weights is None else weights[labels])


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The metrics on the test set of a model that `train` saved: for the end of a sweep, not for choosing.

    `report` among them holds the whole classification report.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    settings = Settings.from_params({**params, "teacher": ""})
    test, notes = load_test(settings.source)
    inputs = _encode(settings, "test", test.texts, state["words"], device)
    logits = _predict(settings, state, inputs, len(test.class_names), device)
    known = test.labels != UNKNOWN
    notes = (
        *settings.notes,
        *notes,
        *inputs.notes,
        *told_of_held_out("test", "texts", test.labels[known], test.class_names),
    )
    probabilities = logits.softmax(dim=1).numpy()
    report = classification_report(test.labels[known].numpy(), probabilities[known.numpy()], test.class_names, notes)
    threshold = float(state["threshold"])
    share_below = float((confidence_of(logits) < threshold).mean())
    report["threshold"] = {"confidence": threshold, "share_below": share_below}
    scores = _scores("test", test, logits, threshold)
    told = [f"told as unknown: {share_below:.1%} of the texts, whose confidence is below {threshold:.4f}"]
    told += [f"{name.removeprefix('test_')}: {value:.4f}" for name, value in scores.items() if "_unknown_" in name]
    return {**scores, "report": {**report, "text": report["text"] + as_lines(told)}}


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes token ids and their numbers."""
    settings, names, words = Settings.from_params(without_files(params)), state["classes"], state["words"]
    tokens = replace(settings, finetune="full") if settings.model == "transformer" else settings
    example = _encode(tokens, "example", ["What has become of my card?", "Hello"], words, "cpu")
    assert example.lengths is not None
    width = 0
    if settings.model == "transformer" and settings.finetune == "head":
        encoder = settings.make_encoder()
        width = encoder.width
    model = _make_model(settings, len(words), len(names), width)
    load_trained(model, state["model"])
    if isinstance(model, PretrainedClassifier):
        model.encoder.merge()
    whole = FeatureClassifier(encoder, model) if width else model
    config = {"classes": names, "words": words, "threshold": state["threshold"], "ngrams": _ngrams(settings)}
    config |= {"max_length": settings.max_length, "has_tokenizer": settings.model == "transformer"}
    config |= {"held_out": state.get("held_out", "")}
    files = load_tokenizer(settings.pretrained).save_pretrained if config["has_tokenizer"] else None
    ids, lengths = example.values.long(), example.lengths.long()
    sizes: dict[str, dict[int, str]] = {"ids": {0: "rows", 1: "length"}, "lengths": {0: "rows"}}
    if isinstance(model, Recurrent):
        # torch.export fixes the sizes of what a GRU takes: it is used for one text at a time, padded.
        ids, lengths, sizes = pad(ids[:1], (0, settings.max_length - ids.shape[1])), lengths[:1], {}
        config["fixed_length"] = settings.max_length
    return Portable(whole.eval(), {"ids": ids, "lengths": lengths}, sizes, config, files)


def predict(config: Mapping[str, Any], model: Model, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The class of each text, and whether the model is confident enough for it to be one of those it knows."""
    for texts, logits in _exported_logits(config, model, inputs, "cpu"):
        for told in predictions(texts, logits, config["classes"]):
            yield {**told, "is_known": told["probability"] >= config["threshold"]}


def _exported_logits(
    config: Mapping[str, Any], model: Model, inputs: Sequence[str], device: torch.device | str
) -> Iterator[tuple[Sequence[str], torch.Tensor]]:
    """Some texts after others, and the logits `[n, classes]` that an exported model gives them."""
    length, fixed_length = config["max_length"], config.get("fixed_length", 0)
    size = 1 if fixed_length else EVALUATION_BATCH
    for start in range(0, len(inputs), size):
        texts = inputs[start : start + size]
        if config["has_tokenizer"]:
            ids, lengths = tokenize(config["folder"], texts, length)
        else:
            ids, lengths = encode_words(texts, config["words"], config["ngrams"], length)
        ids = pad(ids, (0, max(0, fixed_length - ids.shape[1])))
        yield texts, model(ids.long().to(device), lengths.long().to(device))


def _taught(trial: Trial, settings: Settings, rows: Texts) -> torch.Tensor | None:
    """The teacher's logits `[n, classes]` of all training texts, on the trial's device; None where there is none."""
    if not settings.teacher:
        return None

    @torch.no_grad()
    def teach() -> torch.Tensor:
        config, model = load_teacher(settings.teacher, trial.device)
        check_teacher(settings.teacher, config.get("classes", ()), rows.class_names)
        return torch.cat([logits.cpu() for _, logits in _exported_logits(config, model, rows.texts, trial.device)])

    return trial.shared(f"taught {settings.source} {settings.teacher}", teach).to(trial.device)


def _predict(
    settings: Settings, state: Mapping[str, Any], inputs: Inputs, num_classes: int, device: torch.device | str
) -> torch.Tensor:
    """Logits `[n, num_classes]` on the CPU."""
    inputs = inputs.to(device)
    model = _make_model(settings, len(state["words"]), num_classes, inputs.values.shape[1]).to(device)
    load_trained(model, state["model"])
    model.eval()
    return _logits(model, inputs, torch.arange(len(inputs.values), device=device)).cpu()


def _development(trial: Trial, settings: Settings) -> Development:
    """The texts, read and split once on the node."""
    key = f"texts {settings.source} {os.environ.get(DATA_ENV)}"
    return trial.shared(key, lambda: load_development(settings.source))


def _vocabulary(trial: Trial, settings: Settings, data: Development) -> list[str]:
    """The words that bag and gru know; none where a transformer has its own."""
    if settings.model == "transformer":
        return []
    ngrams = _ngrams(settings)
    key = f"words {settings.source} {ngrams} {settings.min_count}"
    return trial.cached(key, lambda: build_vocabulary(data.train.texts, ngrams, settings.min_count))


def _ngrams(settings: Settings) -> int:
    return settings.ngrams if settings.model == "bag" else 1


def _inputs(trial: Trial, settings: Settings, part: str, texts: Texts, words: Sequence[str]) -> Inputs:
    """What the model is given of texts, made once on the node; on the trial's device where it has room."""
    is_pretrained = settings.model == "transformer"
    made_by = settings.pretrained if is_pretrained else f"{_ngrams(settings)} {settings.min_count}"
    how = settings.finetune == "head" if is_pretrained else settings.model
    key = f"inputs {settings.source} {part} {settings.model} {how} {made_by} {settings.max_length}"
    inputs = trial.shared(key, lambda: _encode(settings, part, texts.texts, words, trial.device))
    place = trial.device if trial.has_room(inputs.values.nbytes) else "cpu"
    return trial.cached(f"{key} {place}", lambda: inputs.to(place))


def _encode(
    settings: Settings, part: str, texts: Sequence[str], words: Sequence[str], device: torch.device | str
) -> Inputs:
    notes: tuple[str, ...] = ()
    if settings.model == "transformer":
        ids, lengths = tokenize(settings.pretrained, texts, settings.max_length)
        full = settings.max_length
        notes = told_of_unknown(settings.pretrained, part, ids, lengths)
    else:
        ids, lengths = encode_words(texts, words, _ngrams(settings), settings.max_length)
        # Of a text that is as long as it may be; pairs of words are tokens beside the words.
        full = sum(settings.max_length - count for count in range(_ngrams(settings)))
    if num_full := int((lengths >= full).sum()):
        told = f"{num_full} of {len(texts)} {part} texts fill max_length; what is beyond it is cut off"
        notes = (told, *notes)
    if settings.model == "transformer" and settings.finetune == "head":
        return Inputs(features(settings.pretrained, ids, lengths, device), None, notes)
    return Inputs(ids, lengths, notes)


def _make_model(settings: Settings, num_words: int, num_classes: int, num_inputs: int) -> nn.Module:
    """Takes what `Inputs.batch` gives. `num_inputs` is the width of features, where it takes these."""
    width, dropout = settings.width, settings.dropout
    if settings.model == "bag":
        return BagOfEmbeddings(num_words, num_classes, width=width, dropout=dropout)
    if settings.model == "gru":
        return Recurrent(num_words, num_classes, width=width, depth=settings.depth, dropout=dropout)
    if settings.finetune == "head":
        return Head(num_inputs, num_classes, hidden=settings.hidden, dropout=dropout)
    return PretrainedClassifier(settings.make_encoder(), num_classes, dropout=dropout)


def _cpu(lengths: torch.Tensor | None) -> torch.Tensor | None:
    return None if lengths is None else lengths.cpu()


@torch.no_grad()
def _logits(model: nn.Module, inputs: Inputs, rows: torch.Tensor) -> torch.Tensor:
    """Logits `[n, classes]` of some rows, computed with those of the same length together."""
    lengths = inputs.lengths
    order = torch.arange(len(rows)) if lengths is None else lengths[rows.to(lengths.device)].argsort()
    logits = torch.cat([model(*inputs.batch(rows[part])) for part in torch.split(order, EVALUATION_BATCH)])
    return logits[order.argsort()]


def _scores(prefix: str, rows: Texts, logits: torch.Tensor, threshold: float) -> dict[str, float]:
    """Of the texts of known classes; and how well the confidence tells the others from them, where there are others."""
    logits = logits.cpu()
    known = rows.labels != UNKNOWN
    labels, shown = rows.labels[known], logits[known]
    metrics = classification_metrics(prefix, labels.numpy(), shown.softmax(dim=1).numpy())
    metrics[f"{prefix}_loss"] = float(cross_entropy(shown, labels))
    if not bool(known.all()):
        confidence = confidence_of(logits)
        if not np.isfinite(confidence).all():  # the training has diverged, which is told by its loss
            return metrics
        rejected, unknown = confidence < threshold, ~known.numpy()
        hits = float((rejected & unknown).sum())
        metrics[f"{prefix}_unknown_auc"] = float(roc_auc_score(unknown, -confidence))
        metrics[f"{prefix}_unknown_precision"] = hits / max(1, int(rejected.sum()))
        metrics[f"{prefix}_unknown_recall"] = hits / int(unknown.sum())
    return metrics
