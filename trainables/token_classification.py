"""Find named entities with a pretrained transformer, in raw texts of any script and length.

`train` sees the training and the validation set; `evaluate` alone reads the test set. Never imports ray.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.data.held_out import told_of_held_out
from trainables.data.metrics import as_lines
from trainables.data.notes import keep_notes
from trainables.data.splits import fingerprint
from trainables.data.trees import DATA_ENV
from trainables.text.conll import GROUPS, Development, Sentences, Source, find_dataset, load_development, load_test
from trainables.text.entities import OUTSIDE, entities_of, entity_report, entity_scores, token_report
from trainables.text.finetuning import FINE_TUNING, FineTuning
from trainables.text.pieces import IGNORED, Pieces, Written, cut
from trainables.text.pretrained import PretrainedEncoder, load_tokenizer, told_of_unknown, trimmed
from trainables.text.texts import find_file
from trainables.training.distillation import DISTILLATION, Distillation, check_teacher, load_teacher, told_of_teacher
from trainables.training.settings import Allowed, Range, read_settings, without_files
from trainables.training.training import Training, load_trained
from tuner.trial.portable import Model, Portable
from tuner.trial.trial import Trial

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Settings(Distillation, FineTuning):
    """The parameters of a trial; `from_params` checks them.

    Attributes:
        dataset, validation_dataset, test_dataset, group: as in `Source`.
        max_length: pieces that the transformer sees at once; longer texts are read in windows, which overlap.
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

# That `--set` takes beside those of a sweep file.
PARAMETERS = tuple(_ALLOWED)


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
    tags = with_inner(data.tags)
    texts, held_out_texts = written_of(data.train), written_of(data.validation)
    rows = _pieces(trial, settings, "training", texts)
    held_out = _pieces(trial, settings, "validation", held_out_texts)
    about_parts = [
        note
        for part, pieces, some in (("training", rows, texts), ("validation", held_out, held_out_texts))
        for note in told_of_pieces(settings.pretrained, part, pieces, some)
    ]
    validated = fingerprint(one.text.encode() for one in held_out_texts)
    doubts = told_of_entities("validation", data.validation, tags)
    about_teacher = told_of_teacher(settings.teacher, validated)
    keep_notes(trial, [*settings.notes, *data.notes, *about_parts, *doubts, *about_teacher])
    wanted_of, wanted_of_held_out = (
        wanted_from(pieces, some, sentences, tags).to(trial.device)
        for pieces, some, sentences in ((rows, texts, data.train), (held_out, held_out_texts, data.validation))
    )
    weights = torch.ones(len(tags), device=trial.device)
    weights[0] = settings.outside_weight
    row_weights = (weights[wanted_of.classes.clamp(min=0)] * wanted_of.shares).sum(dim=1)
    model = _make_model(settings, len(tags))
    groups = settings.param_groups(model, model.encoder)
    training = Training(trial, settings, model, len(rows), lengths=rows.lengths.cpu(), groups=groups)
    taught = _taught(trial, settings, texts, tags)
    about = {"tags": list(tags), "held_out": validated}

    def loss_of(batch: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        ids, lengths = rows.batch(batch)
        logits = training.network(ids, lengths)
        wanted, shares = wanted_of.of(batch, ids.shape[1])
        losses = cross_entropy(
            logits.transpose(1, 2), wanted, weights, reduction="none", label_smoothing=settings.label_smoothing
        )
        # The mean, but for windows without a piece whose unit has a tag, of which there is none.
        loss = (losses * shares).sum() / row_weights[batch].sum().clamp(min=1e-6)
        if taught is None:
            return loss
        there = batch.to(rows.ids.device)
        units = rows.unit_of[there, : ids.shape[1]].long().clamp(min=0)
        told = taught[rows.text_of[there].long()[:, None], units].to(ids.device)
        counts = (wanted != IGNORED) & told.isfinite().all(dim=2)
        return settings.distil(loss, logits[counts], told[counts], (weights[wanted.clamp(min=0)] * shares)[counts])

    def judge() -> tuple[dict[str, float], dict[str, Any]]:
        found = training.outputs(len(held_out), lambda batch: _tag(training.model, held_out, batch, wanted_of_held_out))
        told = tags_of(held_out, found[:, :-1], held_out_texts, data.validation, tags)
        loss = float(found[:, -1].sum() / wanted_of_held_out.shares.sum())
        return entity_scores("val", data.validation.tags, told) | {"val_loss": loss}, {}

    training.run(loss_of, judge, about, row_weights)


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """Precision, recall and F1 of the entities in the test set, by a model that `train` saved; not for choosing.

    `report` among them holds the scores of each kind of entity, and of the words by their tags.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    settings = Settings.from_params({**params, "teacher": ""})
    test, notes = load_test(settings.source)
    names, written = tuple(state["tags"]), written_of(test)
    pieces = cut(settings.pretrained, written, settings.max_length).to(device)
    model = _make_model(settings, len(names)).to(device)
    load_trained(model, state["model"])
    model.eval()
    with torch.no_grad():
        found = _tag(model, pieces, torch.arange(len(pieces), device=device))
    tags = tags_of(pieces, found[:, :-1], written, test, names)
    entities, tokens = entity_report(test.tags, tags), token_report(test.tags, tags)
    about_test = told_of_pieces(settings.pretrained, "test", pieces, written)
    notes = (*settings.notes, *notes, *about_test, *told_of_entities("test", test, names))
    text = f"{entities['text']}\nby word\n{tokens.pop('text')}{as_lines(notes)}"
    return {
        **entity_scores("test", test.tags, tags),
        "report": {**entities, "tokens": tokens, "notes": list(notes), "text": text},
    }


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes the ids of pieces and their numbers."""
    settings = Settings.from_params(without_files(params))
    model = _make_model(settings, len(state["tags"]))
    load_trained(model, state["model"])
    model.encoder.merge()
    texts = [Written.raw(text) for text in ("Is Ada Lovelace in London?", "No")]
    example = cut(settings.pretrained, texts, settings.max_length)
    inputs = {"ids": example.ids.long(), "lengths": example.lengths.long()}
    sizes = {"ids": {0: "rows", 1: "length"}, "lengths": {0: "rows"}}
    config = {"tags": list(state["tags"]), "max_length": settings.max_length, "held_out": state.get("held_out", "")}
    return Portable(model.eval(), inputs, sizes, config, load_tokenizer(settings.pretrained).save_pretrained)


def predict(config: Mapping[str, Any], model: Model, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The entities of each text, of any length: their kinds, and the places of their first and after their last
    character."""
    for text in inputs:
        written = Written.raw(text)
        tags: list[str] = []
        if written.units:
            pieces = cut(config["folder"], [written], config["max_length"])
            parts = [
                model(pieces.ids[rows].long(), pieces.lengths[rows].long()).argmax(dim=2)
                for rows in torch.split(torch.arange(len(pieces)), EVALUATION_BATCH)
            ]
            (tags,) = pieces.tags(torch.cat(parts), [written], config["tags"])
        entities = []
        for one in entities_of(tags):
            start, end = written.units[one.start][0], written.units[one.end - 1][1]
            entities.append({"kind": one.kind, "start": start, "end": end, "text": text[start:end]})
        yield {"input": text, "entities": entities}


def with_inner(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags, and those that a word's further units have, if its entity has one word alone in all of the data."""
    inner = {f"I-{tag[2:]}" for tag in tags if tag != OUTSIDE}
    return (OUTSIDE, *sorted({*tags, *inner} - {OUTSIDE}))


def written_of(sentences: Sentences) -> list[Written]:
    return [Written.of(words) for words in sentences.words]


def told_of_pieces(pretrained: str, part: str, pieces: Pieces, written: Sequence[Written]) -> list[str]:
    """Sentences on what the tokenizer does not know; none if it knows all."""
    units = sum(len(one.units) for one in written)
    lost = units - int((pieces.unit_of != IGNORED).sum())
    told = (
        [f"{lost} of {units} {part} words and signs have no piece and are taken to be outside of entities"]
        if lost
        else []
    )
    return [*told, *told_of_unknown(pretrained, part, pieces.ids, pieces.lengths)]


def told_of_entities(part: str, sentences: Sentences, names: Sequence[str]) -> list[str]:
    """Sentences on a held out part that has few entities, or none of a kind; none if it is sound."""
    kinds = sorted({tag[2:] for tag in names if tag != OUTSIDE})
    there = [one.kind for tags in sentences.tags for one in entities_of(tags) if one.kind in kinds]
    labels = torch.tensor([kinds.index(kind) for kind in there], dtype=torch.int64)
    return told_of_held_out(part, "entities", labels, kinds)


class Wanted(NamedTuple):
    """What is to be learned at each place, `[n, length]`: its class, and the share of its word that it counts for."""

    classes: torch.Tensor
    shares: torch.Tensor

    def of(self, rows: torch.Tensor, length: int) -> "Wanted":
        return Wanted(self.classes[rows, :length], self.shares[rows, :length])

    def to(self, device: torch.device | str) -> "Wanted":
        return Wanted(self.classes.to(device), self.shares.to(device))


def wanted_from(pieces: Pieces, written: Sequence[Written], sentences: Sentences, names: Sequence[str]) -> Wanted:
    """Classes at the first pieces of units; `IGNORED`, and without a share, elsewhere and where `names` lacks the tag.

    A word counts once, into however many units it is cut: most inner signs are outside of entities, and would outweigh
    what is to be found.
    """
    classes = pieces.labels([one.unit_tags(tags) for one, tags in zip(written, sentences.tags, strict=True)], names)
    return Wanted(classes, torch.where(classes == IGNORED, 0.0, pieces.shares(written)))


def tags_of(
    pieces: Pieces, classes: torch.Tensor, written: Sequence[Written], sentences: Sentences, names: Sequence[str]
) -> list[list[str]]:
    """The tag of each word of the sentences, from the classes `[n, length]` of the pieces."""
    found = pieces.tags(classes.cpu(), written, names)
    return [one.word_tags(tags, len(words)) for one, tags, words in zip(written, found, sentences.words, strict=True)]


def _tag(model: nn.Module, pieces: Pieces, rows: torch.Tensor, wanted_of: Wanted | None = None) -> torch.Tensor:
    """The classes of some sentences' pieces, and last the loss of each sentence: `[n, length + 1]`."""
    order = pieces.lengths[rows.to(pieces.lengths.device)].argsort()
    found = torch.zeros(len(rows), pieces.ids.shape[1] + 1, device=rows.device)
    for part in torch.split(order, EVALUATION_BATCH):
        batch = rows[part]
        ids, lengths = pieces.batch(batch)
        logits = model(ids, lengths)
        found[part, : ids.shape[1]] = logits.argmax(dim=2).to(found.dtype)
        if wanted_of is not None:
            wanted, shares = wanted_of.of(batch, ids.shape[1])
            losses = cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=IGNORED)
            found[part, -1] = (losses * shares).sum(dim=1)
    return found


def _taught(trial: Trial, settings: Settings, texts: Sequence[Written], tags: Sequence[str]) -> torch.Tensor | None:
    """The teacher's logits `[n, units, tags]` of all training texts, on the trial's device; NaN where it has none.

    By units and not by pieces: the teacher may cut them otherwise. None where there is no teacher.
    """
    if not settings.teacher:
        return None

    @torch.no_grad()
    def teach() -> torch.Tensor:
        config, model = load_teacher(settings.teacher, trial.device)
        check_teacher(settings.teacher, config.get("tags", ()), tags)
        taught = torch.full((len(texts), max(len(one.units) for one in texts), len(tags)), torch.nan)
        pieces = cut(config["folder"], texts, config["max_length"])
        for rows in torch.split(torch.arange(len(pieces)), EVALUATION_BATCH):
            ids, lengths = trimmed(pieces.ids[rows], pieces.lengths[rows])
            logits = model(ids.to(trial.device), lengths.to(trial.device)).cpu()
            row, piece = torch.nonzero(pieces.unit_of[rows, : ids.shape[1]] != IGNORED, as_tuple=True)
            taught[pieces.text_of[rows[row]].long(), pieces.unit_of[rows[row], piece].long()] = logits[row, piece]
        return taught

    return trial.shared(f"taught {settings.source} {settings.teacher}", teach).to(trial.device)


def _make_model(settings: Settings, num_tags: int) -> TokenClassifier:
    return TokenClassifier(settings.make_encoder(), num_tags, dropout=settings.dropout)


def _development(trial: Trial, settings: Settings) -> Development:
    """The sentences, read and split once on the node."""
    key = f"sentences {settings.source} {os.environ.get(DATA_ENV)}"
    return trial.shared(key, lambda: load_development(settings.source))


def _pieces(trial: Trial, settings: Settings, part: str, written: Sequence[Written]) -> Pieces:
    """Cut once on the node; on the trial's device where it has room."""
    key = f"pieces {settings.source} {part} {settings.pretrained} {settings.max_length}"
    pieces = trial.shared(key, lambda: cut(settings.pretrained, written, settings.max_length))
    place = trial.device if trial.has_room(4 * pieces.ids.nbytes) else "cpu"  # with what is wanted, of thrice the size
    return trial.cached(f"{key} {place}", lambda: pieces.to(place))
