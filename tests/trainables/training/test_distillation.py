import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.trainables.test_token_classification import WORDS
from tests.trainables.text.test_conll import write
from tests.trainables.text.test_pretrained import write_bert
from tests.trainables.text.test_texts import write_csv
from tests.trainables.trials import ACCURACY, metrics_of, run_trial
from trainables import image_classification, text_classification, token_classification
from trainables.training.distillation import Distillation, told_of_teacher
from tuner.export import predict, write_model
from tuner.metric import Goal, Metric
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint

run_images = functools.partial(run_trial, image_classification.train)


def write_teacher(task: Any, params: dict[str, Any], folder: Path, metric: Metric = ACCURACY) -> str:
    """Train a model, export it; its folder."""
    run_trial(task.train, folder / "trial", params, metric=metric)
    state, _ = load_checkpoint(checkpoint_path(folder / "trial", params["epochs"]))
    write_model(
        task.export(params, state),
        {"trainable": f"{task.__name__}:train"},
        folder / "out",
        onnx=task is token_classification,
    )
    return str(folder / "out")


def test_the_loss_is_that_of_labels_and_teacher() -> None:
    logits, taught, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    loss = cross_entropy(logits, labels)
    assert Distillation(teacher_weight=0.0).distil(loss, logits, taught) == loss
    assert Distillation(teacher_weight=1.0).distil(loss, taught, taught) == pytest.approx(0.0, abs=1e-6)
    for temperature in (1.0, 4.0):
        found = Distillation(temperature=temperature, teacher_weight=0.25).distil(loss, logits, taught)
        wanted, own = (taught / temperature).softmax(1), (logits / temperature).softmax(1)
        difference = (wanted * (wanted / own).log()).sum(1).mean() * temperature**2
        assert found == pytest.approx(float(0.75 * loss + 0.25 * difference), abs=1e-6)


@pytest.mark.slow
def test_a_student_learns_images_from_its_teacher(tmp_path: Path) -> None:
    teacher = write_teacher(image_classification, {"epochs": 6}, tmp_path / "teacher")
    params = {"epochs": 4, "train_size": 150, "channels": 8, "batch_size": 16, "teacher": teacher}
    # With no weight on the labels all that it knows it knows from the teacher.
    taught = run_images(tmp_path / "taught", {**params, "teacher_weight": 1.0})
    assert taught[-1].metrics["val_accuracy"] > 0.8
    # Of the same split nothing is to be told; and a batch in parts is the same step, whatever it is weighted by.
    assert json.loads((tmp_path / "taught" / "data.json").read_text())["notes"] == []
    parts = {**params, "epochs": 1, "model": "classic", "class_weight": "balanced", "teacher_weight": 0.5}
    one, four = (
        metrics_of(run_images(tmp_path / f"parts-{count}", {**parts, "accumulate": count}))[0] for count in (1, 4)
    )
    assert one == pytest.approx(four, abs=1e-3)
    mixed = {**params, "augment": "crop", "mixup": 0.2}
    whole = run_images(tmp_path / "whole", mixed)
    first = run_images(tmp_path / "cut", mixed, stop_after=2)
    rest = run_images(tmp_path / "cut", mixed, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)


@pytest.mark.slow
def test_a_teacher_of_other_images_is_refused(tmp_path: Path) -> None:
    teacher = write_teacher(image_classification, {"epochs": 1, "train_size": 100}, tmp_path / "teacher")
    with pytest.raises(ValueError, match="knows other classes than those of the data"):
        run_images(tmp_path / "trial", {"dataset": "fashion-mnist", "train_size": 100, "teacher": teacher})
    with pytest.raises(ValueError, match=r"nowhere is no exported model; `tuner export DIR .*nowhere` makes one"):
        run_images(tmp_path / "trial", {"teacher": str(tmp_path / "nowhere")})


def test_a_teacher_that_was_validated_with_other_rows_is_told(tmp_path: Path) -> None:
    for name, held_out in (("same", {"held_out": "a"}), ("other", {"held_out": "b"}), ("old", {})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "export.json").write_text(json.dumps({"config": held_out}))
        (tmp_path / name / "model.pt2").touch()
    assert told_of_teacher("", "a") == told_of_teacher(str(tmp_path / "same"), "a") == []
    (told,) = told_of_teacher(str(tmp_path / "other"), "a")
    assert told.startswith(f"teacher {tmp_path / 'other'} was validated with other rows than these: it may have been")
    assert "does not tell which rows it was validated with" in told_of_teacher(str(tmp_path / "old"), "a")[0]


@pytest.mark.slow  # imports transformers
def test_a_student_learns_texts_from_its_teacher(tmp_path: Path) -> None:
    rows = [(f"{name} {name} {number}", name) for number in range(40) for name in ("apple", "pear", "plum")]
    data = {"dataset": str(write_csv(tmp_path / "fruit.csv", rows)), "model": "bag", "batch_size": 16, "lr": 0.03}
    teacher = write_teacher(text_classification, {**data, "epochs": 8}, tmp_path / "teacher")
    params = {**data, "epochs": 8, "width": 8, "teacher": teacher, "teacher_weight": 1.0}
    assert run_trial(text_classification.train, tmp_path / "taught", params)[-1].metrics["val_accuracy"] > 0.8
    assert "teacher" not in (tmp_path / "taught" / "data.json").read_text()
    other = {**params, "dataset": str(write_csv(tmp_path / "other.csv", rows[:90])), "epochs": 1}
    run_trial(text_classification.train, tmp_path / "other", other)
    assert "was validated with other rows than these" in (tmp_path / "other" / "data.json").read_text()


@pytest.mark.slow  # imports transformers
def test_a_student_learns_entities_from_its_teacher(tmp_path: Path) -> None:
    data = {"dataset": str(write(tmp_path / "all.conll", range(60))), "batch_size": 8, "lr": 0.01, "head_lr": 0.03}
    known = {**data, "pretrained": write_bert(tmp_path / "bert", WORDS), "epochs": 6}
    f1 = Metric("val_f1", Goal.MAXIMIZE)
    teacher = write_teacher(token_classification, known, tmp_path, f1)
    (told,) = predict(Path(teacher), ["My friend Ada Lovelace is in Oslo 7"])
    assert [(one["kind"], one["text"]) for one in told["entities"]] == [
        ("person", "Ada Lovelace"),
        ("location", "Oslo"),
    ]
    # Another cut of the words into pieces: what is taught is taught by word.
    student = write_bert(tmp_path / "other", [word for word in WORDS if word not in ("love", "##lace")])
    params = {**data, "pretrained": student, "epochs": 6, "teacher": teacher, "teacher_weight": 1.0}
    assert run_trial(token_classification.train, tmp_path / "taught", params, metric=f1)[-1].metrics["val_f1"] > 0.9
    mixed = {**params, "teacher_weight": 0.5, "outside_weight": 0.5, "epochs": 4}
    whole = run_trial(token_classification.train, tmp_path / "whole", mixed, metric=f1)
    first = run_trial(token_classification.train, tmp_path / "cut", mixed, metric=f1, stop_after=2)
    restored = checkpoint_path(tmp_path / "cut", 2)
    rest = run_trial(token_classification.train, tmp_path / "cut", mixed, metric=f1, restore_from=restored)
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)
