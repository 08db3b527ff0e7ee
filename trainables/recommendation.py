"""Recommend to each user what comes next: matrix factorisation, two towers with the items' texts, or a transformer.

`train` sees the training items and the validation item of each user; `evaluate` alone reads the test items. Never
imports ray.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from trainables.data.metrics import as_lines
from trainables.data.notes import keep_notes
from trainables.data.trees import DATA_ENV
from trainables.recommending.interactions import Interactions, Source, find_dataset, load_interactions
from trainables.recommending.new_users import NEW_USER, FoldingIn, read_history
from trainables.recommending.ranking import AT, ranking_metrics, ranks
from trainables.recommending.recommenders import PADDING, ItemTower, MatrixFactorisation, TwoTower
from trainables.recommending.recommenders import Sequence as SequenceModel
from trainables.text.text_models import build_vocabulary, encode_words
from trainables.training.settings import SHARE, YES_OR_NO, Allowed, Range, read_settings, without_files
from trainables.training.training import RECIPE, Recipe, Training
from tuner.trial.portable import Model, Portable
from tuner.trial.trial import Trial

MODELS = ("matrix", "two_tower", "sequence")
EVALUATION_BATCH = 256
# Of the words of items' texts.
LONGEST_TEXT = 32


@dataclass(frozen=True)
class Settings(Recipe):
    """The parameters of a trial; `from_params` checks them. Those of other models than `model` are ignored.

    A row of a batch is a user, with all that is learned of it.

    Attributes:
        dataset, min_rating: as in `Source`.
        model: matrix, two_tower or sequence.
        width: of the vectors of users and items.
        item_text: whether items' texts are looked at; two_tower always does.
        depth, heads: of the transformer's layers.
        max_length: so many of a user's last items are looked at.
    """

    dataset: str = "movielens-100k"
    min_rating: float = 0.0
    model: str = "sequence"
    width: int = 64
    dropout: float = 0.2
    item_text: bool = False
    depth: int = 2
    heads: int = 1
    max_length: int = 50
    epochs: int = 30
    lr: float = 1e-3

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        settings = read_settings(cls, params, _ALLOWED)
        if settings.model == "sequence" and settings.width % settings.heads:
            raise ValueError(f"width must be a multiple of heads; got {settings.width} and {settings.heads}")
        return settings

    @property
    def reads_texts(self) -> bool:
        return self.item_text or self.model == "two_tower"

    @property
    def source(self) -> Source:
        return Source(**{field.name: getattr(self, field.name) for field in fields(Source)})


_ALLOWED: dict[str, Allowed] = {
    **RECIPE,
    "dataset": find_dataset,
    "min_rating": Range(0),
    "model": MODELS,
    "width": Range(1, 4096),
    "dropout": SHARE,
    "item_text": YES_OR_NO,
    "depth": Range(1, 12),
    "heads": Range(1, 16),
    "max_length": Range(2, 1000),
}

# That `--set` takes beside those of a sweep file.
PARAMETERS = tuple(_ALLOWED)


@dataclass(frozen=True)
class Known:
    """What is known of each user before the item that is asked for.

    Attributes:
        recent: the last items, and one more than their numbers, filled up at the front, `[users, max_length]`.
        seen: all items, filled up with -1, `[users, most]`.
        wanted: the item asked for, `[users]`.
    """

    recent: torch.Tensor
    seen: torch.Tensor
    wanted: torch.Tensor

    @classmethod
    def before(cls, data: Interactions, left_out: int, max_length: int, device: torch.device | str) -> "Known":
        """Before the last item of each user but `left_out - 1`."""
        histories = data.histories(left_out)
        seen = pad_sequence(histories, batch_first=True, padding_value=-1)
        return cls(
            recent_items(histories, max_length).to(device), seen.to(device), data.left_out(left_out - 1).to(device)
        )


def recent_items(histories: Sequence[torch.Tensor], max_length: int) -> torch.Tensor:
    """What a model is given of histories, `[n, max_length]`."""
    rows = torch.full((len(histories), max_length), PADDING)
    for row, items in zip(rows, histories, strict=True):
        last = items[-max_length:]
        row[max_length - len(last) :] = last + 1
    return rows


def train(trial: Trial) -> None:
    """Train a recommender and report each epoch; the parameters are those of `Settings`."""
    settings = Settings.from_params(trial.params)
    place = f"{Path(settings.dataset).expanduser().resolve()} {os.environ.get(DATA_ENV)} {settings.min_rating}"
    data = trial.shared(f"interactions {place}", lambda: load_interactions(settings.source))
    notes = [*settings.notes, *data.notes]
    if settings.reads_texts and not any(data.texts):
        notes.append("no item has a text: items are known by their numbers alone")
    keep_notes(trial, notes)
    key = f"known {place} {settings.max_length} {trial.device}"
    known = trial.cached(key, lambda: Known.before(data, 2, settings.max_length, trial.device))
    model = _make_model(settings, data)
    histories = data.histories(2)
    if isinstance(model, MatrixFactorisation):
        model.begin_with(torch.bincount(torch.cat(histories), minlength=len(data.items)))
    about = {
        "users": list(data.users),
        "items": list(data.items),
        "shown": list(data.texts),
        "history": data.history.int(),
        "counts": data.counts.int(),
    }
    if isinstance(model, SequenceModel):
        # Each item is learned from those before it; the first has none.
        rows = [row for row, items in enumerate(histories) if len(items) > 1]
        if not rows:
            raise ValueError(f"dataset {settings.dataset!r} has no user with four items, as a sequence needs")
        given = recent_items([histories[row][:-1] for row in rows], settings.max_length).to(trial.device)
        wanted = recent_items([histories[row][1:] for row in rows], settings.max_length).to(trial.device) - 1
    else:
        given = torch.arange(len(histories), device=trial.device)
        wanted = pad_sequence(histories, batch_first=True, padding_value=-1).to(trial.device)
    num_wanted = (wanted >= 0).sum(dim=1)
    training = Training(trial, settings, model, len(given))

    def loss_of(batch: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        if isinstance(model, SequenceModel):
            scores = training.network(given[:1], given[batch], True).flatten(0, 1)
            return cross_entropy(
                scores, wanted[batch].flatten(), ignore_index=-1, label_smoothing=settings.label_smoothing
            )
        return set_loss(training.network(given[batch], known.recent[:1]), wanted[batch], settings.label_smoothing)

    def judge() -> tuple[dict[str, float], dict[str, Any]]:
        found = training.outputs(len(data.users), lambda batch: _judge(training.model, known, batch))
        return ranking_metrics("val", found[:, 0]) | {"val_loss": float(found[:, 1].mean())}, {}

    training.run(loss_of, judge, about, num_wanted)


def set_loss(scores: torch.Tensor, wanted: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """The cross entropy of several wanted items for each row, the mean over all of them.

    Args:
        scores: `[n, items]`.
        wanted: `[n, most]`, filled up with -1.
    """
    logs, is_item = scores.log_softmax(dim=1), wanted >= 0
    own = logs.gather(1, wanted.clamp(min=0)) * is_item
    smooth = logs.mean(dim=1) * is_item.sum(dim=1)
    return -((1 - label_smoothing) * own.sum() + label_smoothing * smooth.sum()) / is_item.sum()


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """HR@10 and NDCG@10 of each user's last item among all that the user had not; not for choosing.

    And those of a recommender that gives all users the most popular items.

    Args:
        params: of the trial that saved it.
        state: of a checkpoint.
    """
    settings = Settings.from_params(params)
    data = load_interactions(settings.source)
    known = Known.before(data, 1, settings.max_length, device)
    model = _make_model(settings, data).to(device)
    model.load_state_dict(state["model"])
    found = _judge(model, known, torch.arange(len(data.users), device=device)).cpu()
    counts = torch.bincount(torch.cat(data.histories(1)), minlength=len(data.items)).float().to(device)
    plain = ranks(counts.expand(len(data.users), -1), known.wanted, known.seen)
    scores, popularity = ranking_metrics("test", found[:, 0]), ranking_metrics("test", plain.cpu())
    sizes = {"users": len(data.users), "items": len(data.items), "interactions": len(data.history)}
    lines = [f"{name}: {value:.4f}, of the most popular items {popularity[name]:.4f}" for name, value in scores.items()]
    notes = [*settings.notes, *data.notes]
    text = as_lines([*lines, *(f"{name}: {number}" for name, number in sizes.items()), *notes])
    report = {**sizes, "popularity": popularity, "notes": notes, "text": text}
    return {**scores, "test_loss": float(found[:, 1].mean()), "report": report}


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model of a trial that `train` has saved, to be exported; takes users and their last items.

    In the place of a user's number `NEW_USER` stands for one who was not trained on.
    """
    settings = Settings.from_params(without_files(params))
    data = Interactions(
        users=tuple(state["users"]),
        items=tuple(state["items"]),
        history=state["history"].long(),
        counts=state["counts"].long(),
        texts=tuple(state["shown"]),
        notes=(),
    )
    model = _make_model(settings, data)
    model.load_state_dict(state["model"])
    histories = data.histories(0)
    inputs = {"users": torch.tensor([0, NEW_USER]), "histories": recent_items(histories[:2], settings.max_length)}
    config = {
        "users": state["users"],
        "items": state["items"],
        "texts": state["shown"],
        "histories": [items.tolist() for items in histories],
        "max_length": settings.max_length,
        "takes_new_users": True,
    }
    whole = FoldingIn(model) if isinstance(model, MatrixFactorisation) else model
    return Portable(whole.eval(), inputs, {name: {0: "rows"} for name in inputs}, config)


def predict(config: Mapping[str, Any], model: Model, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The ten items for each user that the user has not had: by the name of one who was trained on, or by a history.

    A history is a JSON list of items, the latest one last. Raises ValueError that names all that is wrong.
    """
    users, items = ({name: number for number, name in enumerate(config[key])} for key in ("users", "items"))
    asked: list[tuple[int, list[int], list[str]]] = []
    wrong, strangers = [], []
    for given in inputs:
        if given in users:
            asked.append((users[given], config["histories"][users[given]], []))
        elif not given.lstrip().startswith("["):
            strangers.append(given)
        elif not config.get("takes_new_users"):
            wrong.append("the model was exported before new users were taken: export it again")
        else:
            try:
                history, unknown = read_history(given, items)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if not history:
                wrong.append(f"{given} has no item of the training data")
            asked.append((NEW_USER, history, unknown))
    if strangers:
        wrong.append(
            f"no users of the training data: {', '.join(strangers[:5])}; of a new one give the history, "
            'a JSON list of items such as ["i7", "i9"]'
        )
    if wrong:
        raise ValueError("; ".join(dict.fromkeys(wrong)))
    for given, (user, history, unknown) in zip(inputs, asked, strict=True):
        taken = torch.tensor(history)
        scores = model(torch.tensor([user]), recent_items([taken], config["max_length"]))[0]
        scores[taken] = -torch.inf
        best = scores.topk(min(AT, len(scores) - len(taken))).indices.tolist()
        told = {"input": given, "items": [{"item": config["items"][i], "text": config["texts"][i]} for i in best]}
        yield told | ({"unknown_items": unknown} if unknown else {})


def _make_model(settings: Settings, data: Interactions) -> nn.Module:
    ids = lengths = None
    if settings.reads_texts and any(data.texts):
        words = build_vocabulary(data.texts, 1, 2)
        ids, lengths = (part.long() for part in encode_words(data.texts, words, 1, LONGEST_TEXT))
    num_users, num_items, width, dropout = len(data.users), len(data.items), settings.width, settings.dropout
    tower = ItemTower(num_items, width, dropout, ids, lengths)
    if settings.model == "sequence":
        return SequenceModel(
            tower,
            width=width,
            depth=settings.depth,
            heads=settings.heads,
            max_length=settings.max_length,
            dropout=dropout,
        )
    kind = MatrixFactorisation if settings.model == "matrix" else TwoTower
    return kind(num_users, tower, num_items, width=width, dropout=dropout)


@torch.no_grad()
def _judge(model: nn.Module, known: Known, users: torch.Tensor) -> torch.Tensor:
    """The rank of the wanted item of each of these users, and its loss, `[n, 2]`."""
    model.eval()
    judged = []
    for part in torch.split(users, EVALUATION_BATCH):
        scores, wanted = model(part, known.recent[part]), known.wanted[part]
        loss = cross_entropy(scores, wanted, reduction="none")
        judged.append(torch.stack([ranks(scores, wanted, known.seen[part]).float(), loss.float()], dim=1))
    return torch.cat(judged)
