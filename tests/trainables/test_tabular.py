import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from tests.trainables.tables.test_tables import rows_of, write_csv
from tests.trainables.trials import run_trial
from trainables import tabular
from trainables.tables.folds import fold_numbers
from trainables.tables.tables import Source, load_development
from trainables.tabular import MODELS, Settings, evaluate, export, fit, guessed, scores, train, unfinished
from tuner.errors import ControlError, NotFinite
from tuner.export import predict, write_model
from tuner.metric import Goal, Metric
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint

QUICK = {"epochs": 4, "width": 16, "depth": 1, "n_estimators": 10, "max_iter": 10}
CLASS_METRICS = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "calibration_error", "loss"}
VALUE_METRICS = {"r2", "rmse", "mae"}


def run(folder: Path, params: dict[str, Any], **given: Any) -> list[Report]:
    name = "val_rmse" if params.get("dataset") == "diabetes" else "val_accuracy"
    return run_trial(train, folder, params, metric=Metric(name, Goal.MAXIMIZE), **given)


def refuse(*_: Any) -> None:
    raise AssertionError("the test rows were read")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_predicts_classes_and_values(tmp_path: Path, model: str) -> None:
    for dataset, names in (("wine", CLASS_METRICS), ("diabetes", VALUE_METRICS)):
        params = {"dataset": dataset, "model": model, **QUICK, "epochs": 15, "batch_size": 16, "lr": 0.005}
        reports = run(tmp_path / dataset, params)
        assert [report.step for report in reports] == [1, 2, 3, 4, 5]
        last = reports[-1].metrics
        assert set(last) == {f"val_{name}" for name in names}
        assert all(math.isfinite(value) for report in reports for value in report.metrics.values())
        assert last["val_accuracy"] > 0.85 if dataset == "wine" else last["val_r2"] > 0.2
        state, _ = load_checkpoint(checkpoint_path(tmp_path / dataset, 5))
        found = evaluate(params, state, "cpu")
        assert {name for name in found if name != "report"} == {
            *(f"test_{name}" for name in names),
            "test_rows",
            "test_rows_also_in_training",
        }
        assert found["test_accuracy"] > 0.85 if dataset == "wine" else found["test_r2"] > 0.2


@pytest.mark.parametrize("model", MODELS)
def test_a_continued_trial_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, model: str) -> None:
    params = {"dataset": "wine", "model": model, "dropout": 0.3, **QUICK}
    whole = run(tmp_path / "whole", params)
    first = run(tmp_path / "cut", params, stop_after=2)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert [dict(report.metrics) for report in first + rest] == [dict(report.metrics) for report in whole]
    states = [load_checkpoint(checkpoint_path(tmp_path / name, 5))[0] for name in ("whole", "cut")]
    assert states[0] == states[1]
    assert evaluate(params, states[0], "cpu") == evaluate(params, states[1], "cpu")


def test_a_step_is_the_mean_over_the_folds_run_and_worse_than_guesses_for_the_rest(tmp_path: Path) -> None:
    params = {"dataset": "wine", "model": "linear", "folds": 3}
    reports = run(tmp_path, params)
    settings = Settings.from_params(params)
    development = load_development(Source("wine"))
    table, schema = development.table, development.schema
    fold_of = fold_numbers(table.target, table.groups, 3)
    models, guesses = [], []
    for fold in range(3):
        rows, held_out = table.take(fold_of != fold), table.take(fold_of == fold)
        models.append(scores("val", schema, held_out, fit(settings, schema, rows, 0, "cpu")(held_out)))
        guesses.append(guessed(schema, rows, held_out))
    for step, report in enumerate(reports, start=1):
        for name in ("val_accuracy", "val_auc", "val_recall"):
            counted = [each[name] for each in models[:step]] + [0.5 * each[name] for each in guesses[step:]]
            assert report.metrics[name] == pytest.approx(np.mean(counted))
        counted = [each["val_loss"] for each in models[:step]] + [1.25 * each["val_loss"] for each in guesses[step:]]
        assert report.metrics["val_loss"] == pytest.approx(np.mean(counted))


def test_a_fold_to_come_counts_as_worse_than_a_guess_and_than_the_folds_run() -> None:
    guess = {"val_accuracy": 0.6, "val_loss": 0.7, "val_rmse": 2.0, "val_r2": 0.0, "val_calibration_error": 0.0}
    good = {"val_accuracy": 0.9, "val_loss": 0.3, "val_rmse": 1.0, "val_r2": 0.75, "val_calibration_error": 0.1}
    bad = {"val_accuracy": 0.4, "val_loss": 0.9, "val_rmse": 3.0, "val_r2": -1.25, "val_calibration_error": 0.4}
    assert unfinished(good, guess) == pytest.approx(
        {"val_accuracy": 0.3, "val_loss": 0.875, "val_rmse": 2.5, "val_r2": -0.5625, "val_calibration_error": 1.0}
    )
    assert unfinished(bad, guess) == pytest.approx(
        {"val_accuracy": 0.2, "val_loss": 1.8, "val_rmse": 6.0, "val_r2": -8.0, "val_calibration_error": 1.0}
    )


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_a_model_that_is_worse_than_a_guess_is_best_at_the_last_step_too(tmp_path: Path, kind: str) -> None:
    """Where a guess stood for the folds to come, an overfitted model was the better the earlier it was stopped."""
    random = np.random.default_rng(0)
    targets = random.integers(2, size=90) if kind == "classes" else random.normal(size=90).round(3)
    rows = [[*random.normal(size=4).round(3), target] for target in targets]
    path = str(write_csv(tmp_path / "t.csv", rows, "a,b,c,d,y"))
    params = {"dataset": path, "model": "mlp", "epochs": 40, "batch_size": 16, "lr": 0.01, "dropout": 0.0}
    metric = Metric("val_loss" if kind == "classes" else "val_rmse")
    curves = [report.metrics for report in run_trial(train, tmp_path / "trial", params, metric=metric)]
    assert curves[-1]["val_loss"] > 0.8 if kind == "classes" else curves[-1]["val_r2"] < -0.1
    for name, last in curves[-1].items():
        best = min if name.removeprefix("val_") in ("loss", "calibration_error", "rmse", "mae") else max
        assert best(metrics[name] for metrics in curves) == last, name


def test_what_was_found_in_the_data_is_told_in_the_trial_and_in_the_report(tmp_path: Path) -> None:
    for kind in ("classes", "values"):
        rows = [[i, *row[:2], row[2] if kind == "classes" else f"{i * i}.5"] for i, row in enumerate(rows_of(60))]
        path = str(write_csv(tmp_path / f"{kind}.csv", rows, "id,size,colour,label"))
        params = {"dataset": path, "model": "linear"}
        metric = Metric("val_loss" if kind == "classes" else "val_rmse")
        run_trial(train, tmp_path / kind, params, metric=metric)
        notes = json.loads((tmp_path / kind / "data.json").read_text())["notes"]
        assert any(note.startswith("column id is left out: a number of the row") for note in notes)
        report = evaluate(params, {"seed": 0}, "cpu")["report"]
        assert report["notes"] == notes
        assert all(note in report["text"] for note in notes)


def test_training_never_reads_the_test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "load_test", refuse)
    assert len(run(tmp_path, {"dataset": "wine", "model": "linear"})) == 5


def test_the_seed_decides(tmp_path: Path) -> None:
    params = {"dataset": "wine", "model": "mlp", **QUICK, "folds": 2}
    one, same, other = (
        [dict(r.metrics) for r in run(tmp_path / str(i), params, seed=s)] for i, s in enumerate((1, 1, 2))
    )
    assert one == same != other


def test_a_csv_file_goes_the_whole_way(tmp_path: Path) -> None:
    rows = rows_of(120)
    rows[0][2], rows[1][0], rows[2][1] = "", "", ""
    path = write_csv(tmp_path / "t.csv", rows)
    params = {"dataset": str(path), "target": "label", "model": "random_forest", "class_weight": "balanced"}
    assert run(tmp_path / "trial", params)[-1].metrics["val_accuracy"] > 0.9
    told = json.loads((tmp_path / "trial" / "data.json").read_text())
    assert (told["rows_read"], told["rows_without_target"]) == (120, 1)
    found = evaluate(params, {"seed": 0}, "cpu")
    report = found["report"]
    assert set(report["classes"]) == {"large", "small"}
    assert np.sum(report["confusion_matrix"]["rows"]) == found["test_rows"] == 24
    assert "confusion matrix" in report["text"]
    assert report["data"]["training"] == told
    json.dumps(report)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_what_is_exported_predicts_the_rows_of_a_file(tmp_path: Path, model: str) -> None:
    rows = rows_of(120)
    rows[1][0], rows[2][1] = "", ""
    path = write_csv(tmp_path / "t.csv", rows)
    params = {"dataset": str(path), "target": "label", "model": model, "scaling": "quantile", **QUICK}
    params |= {"epochs": 20, "batch_size": 16, "lr": 0.01}
    told = {"trainable": "trainables.tabular:train"}
    write_model(export(params, {"seed": 0}), told, tmp_path / "out", onnx=model == "random_forest")
    asked = write_csv(tmp_path / "asked.csv", [[*row[:2], ""] for row in rows])
    found = list(predict(tmp_path / "out", [str(asked)]))
    assert [one["input"] for one in found[:2]] == [f"{asked}:1", f"{asked}:2"]
    assert np.mean([one["class"] == row[2] for one, row in zip(found, rows, strict=True)]) > 0.9
    (tmp_path / "other.csv").write_text("label\nlarge\n")
    with pytest.raises(ControlError, match=r"has no column .*, which the model was trained on"):
        list(predict(tmp_path / "out", [str(tmp_path / "other.csv")]))


@pytest.mark.slow
def test_an_exported_regression_predicts_values(tmp_path: Path) -> None:
    params = {"dataset": "diabetes", "model": "hist_gradient_boosting", **QUICK}
    write_model(export(params, {"seed": 0}), {"trainable": "trainables.tabular:train"}, tmp_path / "out", onnx=False)
    bunch = load_diabetes(as_frame=True, scaled=False)
    bunch.data.to_csv(tmp_path / "rows.csv", index=False)
    values = [one["value"] for one in predict(tmp_path / "out", [str(tmp_path / "rows.csv")])]
    assert np.corrcoef(values, bunch.target)[0, 1] > 0.6


def test_class_weights_raise_the_recall_of_a_seldom_class(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [[random.normal() + (1.5 if i % 10 == 0 else 0.0), random.normal(), i % 10 == 0] for i in range(600)]
    path = str(write_csv(tmp_path / "t.csv", rows))
    for model in ("linear", "mlp"):
        params = {"dataset": path, "model": model, "epochs": 10, "width": 16}
        recall = [
            run(tmp_path / f"{model}-{weight}", {**params, "class_weight": weight})[-1].metrics["val_recall"]
            for weight in ("none", "balanced")
        ]
        assert recall[0] + 0.1 < recall[1]


def test_smoothed_labels_make_a_network_less_sure() -> None:
    development = load_development(Source("wine"))
    surest = []
    for smoothing in (0.0, 0.3):
        params = {"dataset": "wine", "model": "mlp", "epochs": 20, "batch_size": 16, "lr": 0.01}
        settings = Settings.from_params({**params, "label_smoothing": smoothing})
        predictor = fit(settings, development.schema, development.table, 0, "cpu")
        surest.append(predictor(development.table).max(axis=1).mean())
    assert surest[0] > surest[1] + 0.05


def test_a_batch_in_parts_leaves_no_row_alone(tmp_path: Path) -> None:
    """Batch norm can't be trained on one row."""
    path = str(write_csv(tmp_path / "t.csv", rows_of(60)))
    params = {"dataset": path, "model": "resnet", "batch_size": 7, "accumulate": 3, "epochs": 2, "folds": 2}
    reports = run_trial(train, tmp_path / "trial", params)
    assert all(math.isfinite(report.metrics["val_loss"]) for report in reports)


def test_a_diverged_network_ends_as_not_finite(tmp_path: Path) -> None:
    params = {"dataset": "diabetes", "model": "mlp", "optimizer": "sgd", "lr": 1e30, "clip_norm": 0, **QUICK}
    with pytest.raises(NotFinite, match=r"val_rmse is (nan|inf) at step 1"):
        run(tmp_path, params)


def test_all_wrong_parameters_are_told_at_once() -> None:
    params = {"dataset": "wines", "model": "xgboost", "folds": 1, "C": 0, "max_features": 1.5, "n_estimators": 2.5}
    with pytest.raises(ValueError, match="dataset 'wines' is neither one of") as caught:
        Settings.from_params(params)
    assert all(any(name in sentence for sentence in str(caught.value).split("; ")) for name in params)
    assert Settings.from_params({"C": None, "n_estimators": 20.0}).n_estimators == 20


def test_a_schedule_beside_schedule_free_is_told_of_a_network(tmp_path: Path) -> None:
    params = {"dataset": "wine", "folds": 2, "epochs": 1, "optimizer": "schedule_free", "schedule": "cosine"}
    for model, count in (("mlp", 1), ("linear", 0)):
        run_trial(train, tmp_path / model, {**params, "model": model})
        notes = json.loads((tmp_path / model / "data.json").read_text())["notes"]
        assert sum("schedule_free stands in the place of a schedule" in note for note in notes) == count
