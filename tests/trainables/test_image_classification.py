import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.trainables.trials import metrics_of, run_trial
from tests.trainables.vision.test_images import write_tree
from trainables.data.labelled import Labelled
from trainables.image_classification import Settings, evaluate, export, train
from trainables.training.classifiers import judge
from trainables.training.optim import OPTIMIZERS, SCHEDULES
from trainables.vision import images
from trainables.vision.augmentation import AUGMENTATIONS
from trainables.vision.images import Dataset
from tuner.errors import NotFinite
from tuner.export import predict, write_model
from tuner.metric import Goal, Metric
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint

CPU = torch.device("cpu")
SCORES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "calibration_error", "loss")
REPORTED = {"train_loss", "lr", *(f"val_{name}" for name in SCORES)}


run = functools.partial(run_trial, train)


def refuse(_: int) -> Labelled:
    raise AssertionError("the test set was read")


def test_it_learns_digits_and_reports_all_metrics(tmp_path: Path) -> None:
    reports = run(tmp_path, {"epochs": 4})
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert all(set(report.metrics) == REPORTED and report.has_checkpoint for report in reports)
    assert all(math.isfinite(value) for each in metrics_of(reports) for value in each.values())
    assert reports[-1].metrics["val_accuracy"] > 0.95
    assert reports[-1].metrics["train_loss"] < reports[0].metrics["train_loss"]


def test_training_never_reads_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(images.DATASETS, "digits", Dataset(images.DATASETS["digits"].development, refuse))
    assert len(run(tmp_path, {"epochs": 1})) == 1


def test_it_is_evaluated_on_the_test_set(tmp_path: Path) -> None:
    params = {"epochs": 4}
    reports = run(tmp_path, params)
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 4))
    metrics = evaluate(params, state, CPU)
    assert set(metrics) == {"report", *(f"test_{name}" for name in SCORES)}
    assert sum(map(sum, metrics["report"]["confusion_matrix"]["rows"])) == 359
    assert metrics["test_accuracy"] == pytest.approx(reports[-1].metrics["val_accuracy"], abs=0.05)
    assert metrics["report"]["confusion_matrix"]["classes"] == list("0123456789")


@pytest.mark.slow
def test_the_exported_model_knows_image_files(tmp_path: Path) -> None:
    params = {"epochs": 4}
    run(tmp_path / "trial", params)
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "trial", 4))
    told = {"trainable": "trainables.image_classification:train"}
    write_model(export(params, state), told, tmp_path / "out", onnx=False)
    test, _ = images.load_test("digits", 8)
    for row in range(20):
        Image.fromarray(test.inputs[row, 0].numpy()).save(tmp_path / f"{row}.png")
    found = list(predict(tmp_path / "out", [str(tmp_path / f"{row}.png") for row in range(20)]))
    right = [one["class"] == str(label) for one, label in zip(found, test.labels.tolist(), strict=False)]
    assert sum(right) >= 18
    assert all(one["probability"] <= 1 for one in found)


@pytest.mark.parametrize(
    "extra",
    [
        {"dropout": 0.3, "augment": "crop+flip", "label_smoothing": 0.1},
        {"optimizer": "sgd", "lr": 0.05, "schedule": "one_cycle", "warmup_epochs": 0.5},
        {"optimizer": "adagrad", "lr": 0.01, "schedule": "step", "clip_norm": 1.0},
        {"optimizer": "schedule_free", "lr": 0.01, "schedule": "constant"},
        {"ema_decay": 0.9, "precision": "auto", "accumulate": 3, "model": "classic"},
        {"augment": "crop+flip+randaugment", "mixup": 0.2, "cutmix": 1.0, "class_weight": "balanced"},
    ],
)
def test_a_continued_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, extra: dict[str, Any]) -> None:
    params = {"epochs": 4, "train_size": 300, **extra}
    whole = run(tmp_path / "whole", params)
    first = run(tmp_path / "cut", params, stop_after=2)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)
    states = [load_checkpoint(checkpoint_path(tmp_path / name, 4))[0]["model"] for name in ("whole", "cut")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_continued_run_takes_the_parameters_it_is_given_now(tmp_path: Path) -> None:
    params = {"epochs": 4, "train_size": 300, "optimizer": "sgd", "lr": 0.05, "schedule": "cosine"}
    run(tmp_path, params, stop_after=2)
    saved = checkpoint_path(tmp_path, 2)
    for changed in ({"lr": 0.01}, {"lr": 0.01, "batch_size": 32}, {"lr": 0.01, "optimizer": "adam"}):
        rest = run(tmp_path / "other", {**params, **changed}, restore_from=saved)
        assert [report.step for report in rest] == [3, 4]
        assert rest[0].metrics["lr"] == pytest.approx(0.01 * 0.5)  # half way down the cosine
        state, _ = load_checkpoint(checkpoint_path(tmp_path / "other", 4))
        assert state["optimizer_name"] == {**params, **changed}["optimizer"]


def test_the_seed_decides(tmp_path: Path) -> None:
    params = {"epochs": 1, "train_size": 200, "augment": "crop"}
    one, same, other = (metrics_of(run(tmp_path / str(i), params, seed=s)) for i, s in enumerate((1, 1, 2)))
    assert one == same != other


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_runs_with_every_schedule(tmp_path: Path, optimizer: str, schedule: str) -> None:
    params = {"epochs": 1, "train_size": 100, "optimizer": optimizer, "schedule": schedule}
    assert len(run(tmp_path, params)) == 1


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_every_augmentation_learns(tmp_path: Path, augment: str) -> None:
    assert run(tmp_path, {"epochs": 5, "augment": augment})[-1].metrics["val_accuracy"] > 0.8


def test_the_average_of_the_weights_is_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    params = {"epochs": 2, "train_size": 300}
    plain, averaged = (run(tmp_path / str(decay), {**params, "ema_decay": decay}) for decay in (0.0, 0.99))
    losses = [[report.metrics["train_loss"] for report in reports] for reports in (plain, averaged)]
    assert losses[0] == losses[1], "it is trained as without"
    assert plain[-1].metrics["val_loss"] != averaged[-1].metrics["val_loss"]
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "0.99", 2))
    without, _ = load_checkpoint(checkpoint_path(tmp_path / "0.0", 2))
    assert all(torch.equal(state["trained"][name], value) for name, value in without["model"].items())
    assert any(not torch.equal(state["model"][name], value) for name, value in without["model"].items())


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_a_batch_in_parts_is_the_same_step(tmp_path: Path, class_weight: str) -> None:
    # Without batch normalisation, which sees each part by itself.
    params = {"epochs": 2, "train_size": 300, "model": "classic", "class_weight": class_weight}
    whole, parts = (metrics_of(run(tmp_path / str(n), {**params, "accumulate": n})) for n in (1, 4))
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_a_schedule_beside_schedule_free_is_told(tmp_path: Path) -> None:
    params = {"epochs": 1, "train_size": 50, "optimizer": "schedule_free", "schedule": "step"}
    run(tmp_path, params)
    told = "schedule_free stands in the place of a schedule"
    assert told in (tmp_path / "data.json").read_text()
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 1))
    assert told in evaluate(params, state, CPU)["report"]["text"]


def test_validation_is_computed_as_the_test_is(tmp_path: Path) -> None:
    params = {"epochs": 2, "train_size": 300, "precision": "bfloat16"}
    told = run(tmp_path, params)[-1].metrics
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 2))
    model = export(params, state).model
    held_out = images.load_development("digits", 8, 300).validation
    assert told["val_loss"] == pytest.approx(judge(model, held_out, ())["test_loss"], rel=1e-5)


def test_patience_ends_the_training_and_outlives_an_interruption(tmp_path: Path) -> None:
    params = {
        "epochs": 50,
        "train_size": 100,
        "lr": 1e-12,
        "patience": 3,
        "batch_size": 50,
        "schedule": "step",
    }
    steps = [report.step for report in run(tmp_path / "whole", params)]
    assert 4 <= len(steps) < 50
    cut = len(steps) - 1
    run(tmp_path / "cut", params, stop_after=cut)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", cut))
    assert [report.step for report in rest] == steps[cut:]


def test_patience_goes_by_the_metric_of_the_sweep(tmp_path: Path) -> None:
    params = {"epochs": 4, "train_size": 200, "patience": 1}
    # That of the learning rate never becomes better.
    for metric, steps in ((Metric("lr", Goal.MAXIMIZE), 2), (Metric("val_loss", Goal.MINIMIZE), 4)):
        reports = run(tmp_path / metric.name, {**params, "schedule": "constant"}, metric=metric)
        assert len(reports) == steps
        assert reports[-1].metrics["val_accuracy"] > reports[0].metrics["val_accuracy"]


def test_a_finished_run_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    params = {"epochs": 1, "train_size": 50}
    run(tmp_path, params)
    assert run(tmp_path, params, restore_from=checkpoint_path(tmp_path, 1)) == []


def test_a_diverged_training_ends_as_not_finite(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"the training has diverged: train_loss is (nan|inf) in epoch 1"):
        run(tmp_path, {"epochs": 3, "optimizer": "sgd", "lr": 1e30, "train_size": 500})


def test_data_are_read_once_for_trials_that_ask_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    digits = images.DATASETS["digits"]

    def read(size: int) -> Labelled:
        reads.append(size)
        return digits.development(size)

    monkeypatch.setitem(images.DATASETS, "digits", Dataset(read, refuse))
    for name, lr in (("a", 0.001), ("b", 0.01)):
        run(tmp_path / name, {"epochs": 1, "train_size": 50, "lr": lr})
    assert len(reads) == 1
    run(tmp_path / "c", {"epochs": 1, "train_size": 60})
    assert len(reads) == 2
    run(tmp_path / "d", {"epochs": 1, "train_size": 60, "data_on": "host", "channels_last": False})
    assert len(reads) == 2


def test_a_tree_of_images_is_trained_on_and_evaluated(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "images", 20)
    for name in ("sizes.csv", "film.mov", ".hidden"):
        (next(path for path in tree.iterdir() if path.is_dir()) / name).write_text("no image")
    params = {
        "dataset": str(tree),
        "image_size": 8,
        "epochs": 5,
        "batch_size": 8,
    }
    reports = run(tmp_path / "trial", params)
    assert reports[-1].metrics["val_accuracy"] == 1.0
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "trial", 5))
    found = evaluate(params, state, "cpu")
    assert found["test_accuracy"] == 1.0
    note, tiny = json.loads((tmp_path / "trial" / "data.json").read_text())["notes"]
    assert note.startswith(f"2 files below {tree} are of other kinds than .bmp")
    assert tiny == "the validation set has 5 images, of which each counts for 20 %"
    assert note in found["report"]["notes"]
    assert "the test set has 8 images, of which each counts for 12 %" in found["report"]["text"]


def test_six_images_are_told_and_refused_where_their_metric_can_not_be_had(tmp_path: Path) -> None:
    params = {"dataset": str(write_tree(tmp_path / "images", 3)), "image_size": 8, "epochs": 1}
    run(tmp_path / "trial", params)
    assert len(json.loads((tmp_path / "trial" / "data.json").read_text())["notes"]) == 2
    with pytest.raises(ValueError, match="val_auc can't be had: the validation set has 1 images, none of them of"):
        run(tmp_path / "other", params, metric=Metric("val_auc", Goal.MAXIMIZE))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "images", 20)
    for path in tree.rglob("1*.png"):
        path.write_text("no image")
    with pytest.raises(ValueError, match=r"unreadable images, mend or remove them: .*/1\d?\.png \(cannot identify"):
        run(tmp_path / "trial", {"dataset": str(tree)})


@pytest.mark.slow
@pytest.mark.skipif(not images.FASHION_MNIST_DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_it_learns_a_slice_of_fashion_mnist(tmp_path: Path) -> None:
    params = {"dataset": "fashion-mnist", "train_size": 3000, "epochs": 2, "channels": 8}
    assert run(tmp_path, params)[-1].metrics["val_accuracy"] > 0.7


def test_all_wrong_parameters_are_told_at_once() -> None:
    params = {
        "dataset": "digitz",
        "optimizer": "sdg",
        "schedule": "linear",
        "augment": True,
        "lr": 0,
        "momentum": 1.0,
        "epochs": 1.5,
        "batch_size": "64",
        "dropout": -0.1,
        "patience": math.inf,
        "weight_decay": math.nan,
        "depth": True,
        "image_size": 4,
        "model": "resnet19",
        "weights": "nowhere.pt",
        "teacher": "nobody",
        "compiled": 1,
        "learning_rate": 0.1,
    }
    with pytest.raises(ValueError, match="digitz") as caught:
        Settings.from_params(params)
    told = str(caught.value).split("; ")
    assert "optimizer must be one of sgd, adam, adamw, adagrad, schedule_free; got 'sdg'" in str(caught.value)
    assert "lr must be a number above 0; got 0" in str(caught.value)
    assert "momentum must be a number of at least 0 and below 1; got 1.0" in str(caught.value)
    assert "epochs must be a whole number of at least 1; got 1.5" in str(caught.value)
    assert "image_size must be a whole number of at least 8 and at most 512; got 4" in str(caught.value)
    assert "parameter 'learning_rate' is unknown; known are epochs, batch_size" in str(caught.value)
    assert all(any(name in sentence for sentence in told) for name in params)


def test_whole_numbers_may_come_as_floats_and_tensors_do_not() -> None:
    settings = Settings.from_params({"batch_size": 32.0, "lr": 1})
    assert (settings.batch_size, type(settings.batch_size)) == (32, int)
    assert (settings.lr, type(settings.lr)) == (1.0, float)
