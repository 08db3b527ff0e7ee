"""Predict a column of a table with networks or with scikit-learn's models, compared in one sweep.

A step is a fold of a cross-validation. `train` sees the development rows; `evaluate` alone reads the test rows, with a
model fitted to all development rows. Never imports ray.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainables.data.metrics import (
    as_lines,
    classification_metrics,
    classification_report,
    log_loss,
    regression_metrics,
)
from trainables.data.predictions import predictions
from trainables.tables.encoding import SCALINGS, Encoder, Matrix
from trainables.tables.estimator_modules import as_module
from trainables.tables.estimators import ESTIMATORS, Fitted, fit_estimator
from trainables.tables.folds import fold_numbers
from trainables.tables.tables import (
    TASKS,
    TEST_FOLDS,
    Development,
    Schema,
    Source,
    Table,
    check_classes,
    check_source,
    load_development,
    load_test,
    read_rows,
)
from trainables.tables.tabular_networks import NETWORKS, NetworkSettings, Workers, train_network
from trainables.training.batches import balanced_weights
from trainables.training.optim import DESCENT
from trainables.training.settings import POSITIVE, SHARE, Allowed, Range, read_settings
from tuner.trial.portable import Model as PortableModel
from tuner.trial.portable import Portable
from tuner.trial.trial import Trial

Floats = npt.NDArray[np.floating[Any]]

PREDICTED_ROWS = 10_000


@dataclass(frozen=True)
class Settings(NetworkSettings):
    """The parameters of a trial; `from_params` checks them. Those of other models than `model` are ignored.

    None stands for scikit-learn's own default.

    Attributes:
        dataset: breast_cancer, wine, digits, diabetes, or the path of a CSV file with a header.
        target, task, group, test_dataset, test_fold, keep: as in `Source`.
        folds: of the cross-validation; one a step.
        scaling: of numbers; quantile makes them normally distributed.
        class_weight: balanced counts each class alike in the training.
        C: inverse strength of the regularisation of linear and svm.
    """

    dataset: str = "breast_cancer"
    target: str = ""
    task: str = "auto"
    group: str = ""
    test_dataset: str = ""
    test_fold: int = 0
    keep: str = ""
    folds: int = 5
    model: str = "hist_gradient_boosting"
    scaling: str = "standard"
    class_weight: str = "none"
    # linear, svm
    C: float | None = None
    gamma: float | None = None
    # random_forest, hist_gradient_boosting
    n_estimators: int | None = None
    max_features: float | None = None
    min_samples_leaf: int | None = None
    learning_rate: float | None = None
    max_iter: int | None = None
    max_leaf_nodes: int | None = None
    l2_regularization: float | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Settings":
        """Raises ValueError that names all wrong parameters."""
        return read_settings(cls, params, _ALLOWED)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What `notes` tells, of a network alone."""
        return self.notes if self.model in NETWORKS else ()

    @property
    def source(self) -> Source:
        return Source(**{field.name: getattr(self, field.name) for field in fields(Source)})


@dataclass(frozen=True)
class Network:
    """A trained network: what `Fitted` is of scikit-learn's models."""

    network: nn.Module
    num_classes: int
    device: torch.device | str

    @torch.no_grad()
    def __call__(self, x: Matrix) -> Floats:
        out = self.network(torch.from_numpy(x).to(self.device)).double()
        return np.asarray((out.softmax(dim=1) if self.num_classes else out.squeeze(1)).cpu().numpy())


@dataclass(frozen=True)
class Predictor:
    """A model with what its rows are encoded by; `offset` and `scale` are of a regression's target."""

    encoder: Encoder
    model: Fitted | Network
    offset: float
    scale: float

    def __call__(self, table: Table) -> Floats:
        out = self.model(self.encoder(table))
        return out if out.ndim == 2 else out * self.scale + self.offset


def train(trial: Trial) -> None:
    """Report each fold of a cross-validation; the parameters are those of `Settings`.

    Each metric is the mean over all folds, in which one that has not been run yet counts as `unfinished` says: as worse
    than a guess, and much worse than the folds run. So the best step, by which a trial is judged, is the last one, the
    mean of the whole cross-validation, also of a model that is worse than a guess; and no trial is ahead by having been
    stopped after easy folds. All trials have the same folds in the same order: early stopping, which compares trials at
    the same step, compares them as by the mean of the folds run.
    """
    settings = Settings.from_params(trial.params)
    workers = Workers(trial.rank, trial.world_size, trial.prepare)
    development = _development(trial, settings)
    table, schema = development.table, development.schema
    told = {**development.told, "notes": [*development.told["notes"], *settings.doubts]}
    (trial.dir / "data.json").write_text(json.dumps(told, indent=2) + "\n")
    fold_of = fold_numbers(table.target, table.groups, settings.folds)
    splits = [(table.take(fold_of != fold), table.take(fold_of == fold)) for fold in range(settings.folds)]
    guesses = [guessed(schema, rows, held_out) for rows, held_out in splits]
    state = trial.restore()
    done: list[dict[str, float]] = state["scores"] if state else []
    for fold in range(len(done), settings.folds):
        rows, held_out = splits[fold]
        predictor = fit(settings, schema, rows, _seed(trial.seed, fold), trial.device, workers)
        done = [*done, scores("val", schema, held_out, predictor(held_out))]
        # Summed in the same order whether the trial was interrupted or not.
        so_far = {name: sum(each[name] for each in done) / len(done) for name in done[0]}
        counted = [*done, *(unfinished(so_far, guess) for guess in guesses[fold + 1 :])]
        means = {name: sum(each[name] for each in counted) / settings.folds for name in so_far}
        trial.report(means, step=fold + 1, state={"scores": done, "seed": trial.seed})


def evaluate(params: Mapping[str, Any], state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The metrics on the test rows of a model that is fitted to all development rows with the trial's seed.

    A checkpoint holds no model: those of a cross-validation have each left a fold out, and scikit-learn's could only be
    kept as pickles. `report` among the metrics holds the classification report, and what was left out of the data.
    """
    settings = Settings.from_params(params)
    development = load_development(settings.source)
    schema = development.schema
    predictor = fit(settings, schema, development.table, _seed(state["seed"], settings.folds), device)
    test = load_test(settings.source, development)
    predictions = predictor(test.table)
    notes = [*development.told["notes"], *(f"test: {note}" for note in test.told["notes"]), *settings.doubts]
    found = scores("test", schema, test.table, predictions)
    report: dict[str, Any] = {"data": {"training": development.told, "test": test.told}}
    if schema.is_classification:
        report |= classification_report(test.table.target, predictions, schema.classes, notes)
    else:
        text = as_lines([*(f"{name}: {value:.4f}" for name, value in found.items()), *notes])
        report |= {"notes": notes, "text": text}
    counts = {"test_rows": len(test.table), "test_rows_also_in_training": test.told["rows_also_in_training"]}
    return {**found, **counts, "report": report}


def export(params: Mapping[str, Any], state: Mapping[str, Any]) -> Portable:
    """The model that `evaluate` scores, to be exported; needs the data, since a checkpoint holds no model.

    Takes encoded rows and gives the logarithms of the classes' probabilities, or values.
    """
    settings = Settings.from_params(params)
    development = load_development(settings.source)
    schema = development.schema
    predictor = fit(settings, schema, development.table, _seed(state["seed"], settings.folds), "cpu")
    rows = predictor.encoder(development.table)
    model = TabularModel(predictor).eval()
    with torch.no_grad():
        found = model(torch.from_numpy(rows)).numpy()
    # Scikit-learn's models are taken to pieces, which another version of it may have other ones of.
    if not np.allclose(np.exp(found) if found.ndim == 2 else found, predictor(development.table), rtol=1e-3, atol=1e-4):
        raise ValueError(f"the module of {settings.model} gives other predictions than the model")
    config = {"schema": asdict(schema), "encoder": predictor.encoder.to_json()}
    return Portable(model, {"rows": torch.from_numpy(rows[:2])}, {"rows": {0: "rows"}}, config)


def predict(config: Mapping[str, Any], model: PortableModel, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The class of each row of CSV files, or its value; raises ValueError for files that can't be read."""
    told = config["schema"]
    numbers, categories, classes = (tuple(told[name]) for name in ("numbers", "categories", "classes"))
    schema = Schema(told["target"], numbers, categories, classes, told["dropped"])
    encoder = Encoder.from_json(config["encoder"])
    for path in inputs:
        table = read_rows(path, schema)
        names = [f"{path}:{row}" for row in range(1, len(table) + 1)]
        for start in range(0, len(table), PREDICTED_ROWS):
            rows = np.arange(len(table))[start : start + PREDICTED_ROWS]
            out = model(torch.from_numpy(encoder(table.take(rows))))
            shown = names[start : start + PREDICTED_ROWS]
            if schema.is_classification:
                yield from predictions(shown, out, schema.classes)
            else:
                yield from ({"input": name, "value": value} for name, value in zip(shown, out.tolist(), strict=True))


class TabularModel(nn.Module):
    """A predictor of encoded rows `[n, width]`."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        fitted = predictor.model
        self.model = fitted.network if isinstance(fitted, Network) else as_module(fitted.model)
        self._is_classifier = bool(fitted.num_classes)
        self._offset, self._scale = predictor.offset, predictor.scale

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(rows)
        if self._is_classifier:
            return out.log_softmax(dim=1).float()
        return (out.reshape(-1) * self._scale + self._offset).float()


def fit(
    settings: Settings,
    schema: Schema,
    rows: Table,
    seed: int,
    device: torch.device | str,
    workers: Workers | None = None,
) -> Predictor:
    """A model of these rows alone: scaling, missing values, categories and the target's scale are learned from them.

    Several workers share a network's batches; a model of scikit-learn is fitted by each of them alike.
    """
    encoder = Encoder.fit(rows, settings.scaling)
    x = encoder(rows)
    if schema.is_classification:
        offset, scale, y = 0.0, 1.0, rows.target
    else:
        offset, scale = float(rows.target.mean()), float(rows.target.std()) or 1.0
        y = ((rows.target - offset) / scale).astype(np.float32)
    model: Fitted | Network = (
        _fit_network(settings, schema, x, y, seed, device, workers)
        if settings.model in NETWORKS
        else _fit_other(settings, schema, x, y, seed)
    )
    return Predictor(encoder, model, offset, scale)


def guessed(schema: Schema, rows: Table, held_out: Table) -> dict[str, float]:
    """The scores of what can be predicted of held out rows without looking at them, from the others."""
    if not schema.is_classification:
        return scores("val", schema, held_out, np.full(len(held_out), rows.target.mean()))
    shares = np.bincount(rows.target, minlength=len(schema.classes)) / len(rows)
    return scores("val", schema, held_out, np.tile(shares, (len(held_out), 1)))


def unfinished(so_far: Mapping[str, float], guess: Mapping[str, float]) -> dict[str, float]:
    """What a fold that has not been run counts as: worse than it may turn out to be.

    An error counts a quarter more than a guess, or twice as much as the mean of the folds run if that is worse. A score
    counts half of the lower one of them. The worst that there can be would be safe as well, but so far off, of the log
    loss above all, that a method that learns from all steps would see no differences between good trials.
    """

    def error(so_far: float, guess: float) -> float:
        return float(np.maximum(1.25 * guess, 2.0 * so_far))

    def counted(name: str) -> float:
        if name in ("val_loss", "val_rmse", "val_mae"):
            return error(so_far[name], guess[name])
        if name == "val_r2":  # one less a mean squared error
            roots = ((1.0 - scored[name]) ** 0.5 for scored in (so_far, guess))
            return 1.0 - error(*roots) ** 2
        # A guess is well calibrated.
        return 1.0 if name == "val_calibration_error" else float(0.5 * np.minimum(so_far[name], guess[name]))

    return {name: counted(name) for name in so_far}


def scores(prefix: str, schema: Schema, rows: Table, predictions: Floats) -> dict[str, float]:
    if not schema.is_classification:
        return regression_metrics(prefix, rows.target, predictions)
    loss = {f"{prefix}_loss": log_loss(rows.target, predictions)}
    return classification_metrics(prefix, rows.target, predictions) | loss


def _development(trial: Trial, settings: Settings) -> Development:
    """Read once a process; checked for each trial, since the number of folds may differ."""
    path = Path(settings.dataset).expanduser()
    version = (str(path.resolve()), path.stat().st_mtime_ns) if path.is_file() else settings.dataset
    development = trial.cached(f"table {version} {settings.source}", lambda: load_development(settings.source))
    check_classes(development, settings.folds)
    return development


def _seed(seed: int, fold: int) -> int:
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])


def _fit_network(
    settings: Settings,
    schema: Schema,
    x: Matrix,
    y: npt.NDArray[Any],
    seed: int,
    device: torch.device | str,
    workers: Workers | None,
) -> Network:
    network = train_network(
        lambda: NETWORKS[settings.model](x.shape[1], len(schema.classes) or 1, settings),
        x,
        y,
        settings,
        class_weights=_class_weights(settings, schema, y),
        seed=seed,
        device=device,
        workers=workers,
    )
    return Network(network, len(schema.classes), device)


def _class_weights(settings: Settings, schema: Schema, y: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
    """As scikit-learn's `balanced` has them."""
    if settings.class_weight == "none" or not schema.is_classification:
        return None
    weights: npt.NDArray[np.float32] = balanced_weights(torch.from_numpy(y), len(schema.classes)).numpy()
    return weights


def _fit_other(settings: Settings, schema: Schema, x: Matrix, y: npt.NDArray[Any], seed: int) -> Fitted:
    given = {name: value for name, value in vars(settings).items() if value is not None}
    class_weight = None if settings.class_weight == "none" else settings.class_weight
    return fit_estimator(settings.model, x, y, len(schema.classes), given=given, class_weight=class_weight, seed=seed)


MODELS: Sequence[str] = (*ESTIMATORS, *NETWORKS)

_ALLOWED: dict[str, Allowed] = {
    "dataset": check_source,
    "target": str,
    "task": TASKS,
    "group": str,
    "test_dataset": lambda path: check_source(path) if path else None,
    "test_fold": Range(0, TEST_FOLDS - 1),
    "keep": str,
    "folds": Range(2, 100),
    "model": MODELS,
    "scaling": SCALINGS,
    "class_weight": ("none", "balanced"),
    "C": POSITIVE,
    "gamma": POSITIVE,
    "n_estimators": Range(1),
    "max_features": Range(0, 1, (True, False)),
    "min_samples_leaf": Range(1),
    "learning_rate": POSITIVE,
    "max_iter": Range(1),
    "max_leaf_nodes": Range(2),
    "l2_regularization": Range(0),
    "width": Range(1, 8192),
    "depth": Range(1, 64),
    "dropout": SHARE,
    "label_smoothing": SHARE,
    **DESCENT,
    "batch_size": Range(2),
}

# That `--set` takes beside those of a sweep file.
PARAMETERS = tuple(_ALLOWED)
