"""Find named entities with a pretrained transformer: a tag for each word, decided at its first piece.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.conll import GROUPS, Development, Sentences, Source, find_dataset, load_development, load_test
from trainables.distillation import DISTILLATION, Distillation, check_teacher, load_teacher
from trainables.entities import entities_of, entity_report, entity_scores
from trainables.finetuning import FINE_TUNING, FineTuning
from trainables.metrics import as_lines
from trainables.notes import keep_notes
from trainables.pretrained import PretrainedEncoder, load_tokenizer, trimmed
from trainables.settings import Allowed, Range, read_settings, without_files
from trainables.texts import find_file
from trainables.training import Training, load_trained
from trainables.trees import DATA_ENV
from tuner.context import Trial
from tuner.portable import Model, Portable

EVALUATION_BATCH = 64
# Of a place that has no tag to be learned: padding, and all pieces of a word but the first.
IGNORED = -100


@dataclass(frozen=True)
class Settings(Distillation, FineTuning):
    """The parameters of a trial; `from_params` checks them.

    Attributes:
        dataset, validation_dataset, test_dataset, group: as in `Source`.
        max_length: pieces of a sentence beyond these are cut off; their words are found to be outside of any entity.
        outside_weight: of the loss at words outside of any entity, of which most sentences are full.
    """

    dataset: str = "wnut17"
    validation_dataset: str = ""
    test_dataset: str = ""
    group: str = ""
    max_length: int = 96
    batch_size: int = 32
    lr: float = 3e-4
    outside_weight: float = 1.0

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
    "validation_dataset": find_file,
    "test_dataset": find_file,
    "group": GROUPS,
    "max_length": Range(4, 512),
    "outside_weight": Range(0, 1, (True, False)),
}


@dataclass(frozen=True)
class Pieces:
    """Sentences as a transformer takes them.

    Attributes:
        ids: of the pieces, int32 `[n, length]`, padded at the end; `lengths`, int32 `[n]`, are their numbers.
        word_of: int32 `[n, length]`: the number of the word whose first piece it is, or `IGNORED`.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    word_of: torch.Tensor

    def to(self, device: torch.device | str) -> "Pieces":
        return Pieces(self.ids.to(device), self.lengths.to(device), self.word_of.to(device))


class TokenClassifier(nn.Module):
    """A pretrained transformer, and a linear classifier of each of its last states."""

    def __init__(self, encoder: PretrainedEncoder, num_tags: int, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.width, num_tags))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits `[n, length, num_tags]`."""
        logits: torch.Tensor = self.head(self.encoder(ids, lengths))
        return logits


def train(trial: Trial) -> None:
    """Train a tagger and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    data = _development(trial, settings)
    rows = _pieces(trial, settings, "train", data.train)
    held_out = _pieces(trial, settings, "validation", data.validation)
    beyond = [*told_of_cut("training", data.train, rows), *told_of_cut("validation", data.validation, held_out)]
    keep_notes(trial, [*data.notes, *beyond])
    labels, held_out_labels = (
        labels_of(pieces.word_of.cpu(), sentences, data.tags).to(trial.device)
        for pieces, sentences in ((rows, data.train), (held_out, data.validation))
    )
    weights = torch.ones(len(data.tags), device=trial.device)
    weights[0] = settings.outside_weight
    row_weights = torch.where(labels == IGNORED, 0.0, weights[labels.clamp(min=0)]).sum(dim=1)
    model = _make_model(settings, len(data.tags))
    groups = settings.param_groups(model, model.encoder)
    training = Training(trial, settings, model, len(rows.ids), lengths=rows.lengths.cpu(), groups=groups)
    taught = _taught(trial, settings, data)
    about = {"tags": list(data.tags)}

    def loss_of(batch: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        ids, lengths = trimmed(rows.ids[batch], rows.lengths[batch])
        logits = training.network(ids, lengths)
        wanted = labels[batch, : ids.shape[1]]
        loss = cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), weights, reduction="sum", label_smoothing=settings.label_smoothing
        )
        # The mean, but for sentences without a piece whose word has a tag, of which there is none.
        loss = loss / row_weights[batch].sum().clamp(min=1e-6)
        if taught is None:
            return loss
        words = rows.word_of[batch, : ids.shape[1]].long().clamp(min=0)
        told = taught[batch[:, None], words]
        counts = (wanted != IGNORED) & told.isfinite().all(dim=2)
        return settings.distil(loss, logits[counts], told[counts], weights[wanted[counts]])

    def judge() -> tuple[dict[str, float], dict[str, Any]]:
        found = training.outputs(
            len(held_out.ids), lambda batch: _tag(training.model, held_out, batch, held_out_labels)
        )
        tags = tags_of(found[:, :-1].long().cpu(), held_out.word_of.cpu(), data.validation, data.tags)
        loss = float(found[:, -1].sum() / (held_out_labels != IGNORED).sum())
        return entity_scores("val", data.validation.tags, tags) | {"val_loss": loss}, {}

    training.run(loss_of, judge, about, row_weights)


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """Precision, recall and F1 of the entities in the test set, by a model that `train` saved; not for choosing.

    `report` among them holds the scores of each kind of entity.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    settings = Settings.from_params({**params, "teacher": ""})
    test, notes = load_test(settings.source)
    names = tuple(state["tags"])
    pieces = cut(settings.pretrained, test.words, settings.max_length).to(device)
    model = _make_model(settings, len(names)).to(device)
    load_trained(model, state["model"])
    model.eval()
    with torch.no_grad():
        found = _tag(model, pieces, torch.arange(len(test), device=device))
    tags = tags_of(found[:, :-1].long().cpu(), pieces.word_of.cpu(), test, names)
    report = entity_report(test.tags, tags)
    notes = (*notes, *told_of_cut("test", test, pieces))
    report["notes"] = list(notes)
    report["text"] += as_lines(notes)
    return {**entity_scores("test", test.tags, tags), "report": report}


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes the ids of pieces and their numbers."""
    settings = Settings.from_params(without_files(params))
    model = _make_model(settings, len(state["tags"]))
    load_trained(model, state["model"])
    model.encoder.merge()
    example = cut(settings.pretrained, [("Is", "Ada", "Lovelace", "in", "London", "?"), ("No",)], settings.max_length)
    inputs = {"ids": example.ids.long(), "lengths": example.lengths.long()}
    sizes = {"ids": {0: "rows", 1: "length"}, "lengths": {0: "rows"}}
    config = {"tags": list(state["tags"]), "max_length": settings.max_length}
    return Portable(model.eval(), inputs, sizes, config, load_tokenizer(settings.pretrained).save_pretrained)


def predict(config: Mapping[str, Any], model: Model, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The entities of each text, whose words are those between its spaces: their kinds, words and places."""
    for text in inputs:
        words = tuple(text.split()) or ("",)
        pieces = cut(config["folder"], [words], config["max_length"])
        classes = model(pieces.ids.long(), pieces.lengths.long()).argmax(dim=2)
        sentence = Sentences((words,), (("O",) * len(words),), (0,))
        (tags,) = tags_of(classes, pieces.word_of, sentence, config["tags"])
        entities = [{**one._asdict(), "text": " ".join(words[one.start : one.end])} for one in entities_of(tags)]
        yield {"input": text, "entities": entities}


def cut(pretrained: str, sentences: Sequence[Sequence[str]], max_length: int) -> Pieces:
    """Sentences of words, cut into the pieces that a transformer knows."""
    encoded = load_tokenizer(pretrained)(
        [list(words) for words in sentences],
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        padding=True,
    )
    word_of = torch.full((len(sentences), len(encoded["input_ids"][0])), IGNORED, dtype=torch.int32)
    for row in range(len(sentences)):
        before = None
        for place, word in enumerate(encoded.word_ids(row)):
            if word is not None and word != before:
                word_of[row, place] = word
            before = word
    mask = torch.tensor(encoded["attention_mask"], dtype=torch.int32)
    return Pieces(torch.tensor(encoded["input_ids"], dtype=torch.int32), mask.sum(dim=1, dtype=torch.int32), word_of)


def told_of_cut(part: str, sentences: Sentences, pieces: Pieces) -> list[str]:
    """A sentence on words that are beyond the longest length, or have no piece; none if there are none."""
    words = sum(map(len, sentences.words))
    lost = words - int((pieces.word_of != IGNORED).sum())
    return [f"{lost} of {words} {part} words are beyond max_length and taken to be outside of entities"] if lost else []


def labels_of(word_of: torch.Tensor, sentences: Sentences, tags: Sequence[str]) -> torch.Tensor:
    """Classes `[n, length]` at the first pieces of words, `IGNORED` elsewhere and where `tags` has not the word's."""
    place = {tag: index for index, tag in enumerate(tags)}
    labels = torch.full(word_of.shape, IGNORED, dtype=torch.int64)
    for row, piece in torch.nonzero(word_of != IGNORED).tolist():
        labels[row, piece] = place.get(sentences.tags[row][word_of[row, piece]], IGNORED)
    return labels


def tags_of(classes: torch.Tensor, word_of: torch.Tensor, sentences: Sentences, tags: Sequence[str]) -> list[list[str]]:
    """The tag of each word, from the classes `[n, length]` of the pieces; `O` for words that were cut off."""
    found = [[tags[0]] * len(words) for words in sentences.words]
    for row, piece in torch.nonzero(word_of != IGNORED).tolist():
        found[row][int(word_of[row, piece])] = tags[int(classes[row, piece])]
    return found


def _tag(model: nn.Module, pieces: Pieces, rows: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """The classes of some sentences' pieces, and last the loss of each sentence: `[n, length + 1]`."""
    order = pieces.lengths[rows].argsort()
    found = torch.zeros(len(rows), pieces.ids.shape[1] + 1, device=rows.device)
    for part in torch.split(order, EVALUATION_BATCH):
        batch = rows[part]
        ids, lengths = trimmed(pieces.ids[batch], pieces.lengths[batch])
        logits = model(ids, lengths)
        found[part, : ids.shape[1]] = logits.argmax(dim=2).to(found.dtype)
        if labels is not None:
            wanted = labels[batch, : ids.shape[1]]
            losses = cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=IGNORED)
            found[part, -1] = losses.sum(dim=1)
    return found


def _taught(trial: Trial, settings: Settings, data: Development) -> torch.Tensor | None:
    """The teacher's logits `[n, words, tags]` of all training words, on the trial's device; NaN where it has none.

    By words and not by pieces: the teacher may cut them otherwise. None where there is no teacher.
    """
    if not settings.teacher:
        return None

    @torch.no_grad()
    def teach() -> torch.Tensor:
        config, model = load_teacher(settings.teacher, trial.device)
        check_teacher(settings.teacher, config.get("tags", ()), data.tags)
        taught = torch.full((len(data.train), max(map(len, data.train.words)), len(data.tags)), torch.nan)
        for start in range(0, len(data.train), EVALUATION_BATCH):
            pieces = cut(config["folder"], data.train.words[start : start + EVALUATION_BATCH], config["max_length"])
            logits = model(pieces.ids.long().to(trial.device), pieces.lengths.long().to(trial.device)).cpu()
            row, piece = torch.nonzero(pieces.word_of != IGNORED, as_tuple=True)
            taught[start + row, pieces.word_of[row, piece].long()] = logits[row, piece]
        return taught

    return trial.shared(f"taught {settings.source} {settings.teacher}", teach).to(trial.device)


def _make_model(settings: Settings, num_tags: int) -> TokenClassifier:
    return TokenClassifier(settings.make_encoder(), num_tags, dropout=settings.dropout)


def _development(trial: Trial, settings: Settings) -> Development:
    """The sentences, read and split once on the node."""
    key = f"sentences {settings.source} {os.environ.get(DATA_ENV)}"
    return trial.shared(key, lambda: load_development(settings.source))


def _pieces(trial: Trial, settings: Settings, part: str, sentences: Sentences) -> Pieces:
    """Cut once on the node, and on the trial's device."""
    key = f"pieces {settings.source} {part} {settings.pretrained} {settings.max_length}"
    pieces = trial.shared(key, lambda: cut(settings.pretrained, sentences.words, settings.max_length))
    return trial.cached(f"{key} {trial.device}", lambda: pieces.to(trial.device))
