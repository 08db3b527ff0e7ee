import csv
import functools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.trainables.text.test_pretrained import WORDS, write_bert
from tests.trainables.text.test_texts import CLASSES, write_csv
from tests.trainables.trials import metrics_of, run_trial
from trainables import text_classification
from trainables.text import texts
from trainables.text.texts import DATA_ENV, Rows
from trainables.text_classification import Settings, evaluate, export, train
from trainables.training.batches import balanced_weights
from tuner.export import predict, write_model
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.trial import Trial

pytestmark = pytest.mark.slow  # imports transformers, and trains five kinds of models

run = functools.partial(run_trial, train)
SCORES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc", "calibration_error", "loss")
BANKING77 = Path(__file__).parents[3] / "shared" / "data" / "text" / "banking77"
WAIMAI = Path(__file__).parents[3] / "shared" / "data" / "text" / "waimai" / "waimai_10k.csv"
QUICK: dict[str, dict[str, Any]] = {
    "bag": {"model": "bag", "lr": 0.03, "width": 16},
    "gru": {"model": "gru", "lr": 0.01, "width": 16},
    "head": {"lr": 0.03, "hidden": 8},
    "lora": {"finetune": "lora", "lr": 0.02, "head_lr": 0.03, "lora_rank": 2},
    "full": {"finetune": "full", "lr": 0.005, "head_lr": 0.03, "layer_decay": 0.9},
}


def questions(count: int) -> Rows:
    """Of each class so many texts, all different, of four to eight words; its name tells the class."""
    rng = random.Random(0)
    return [
        (" ".join([*rng.sample(WORDS[3:], rng.randint(0, 4)), name, name, name, str(number)]), name)
        for number in range(count)
        for name in CLASSES
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The parameters that name a data set and a transformer, small ones."""
    folder = tmp_path_factory.mktemp("texts")
    return {
        "dataset": str(write_csv(folder / "questions.csv", questions(40))),
        "pretrained": write_bert(folder / "bert"),
        "batch_size": 16,
    }


def params_of(data: dict[str, Any], how: str, **more: Any) -> dict[str, Any]:
    pretrained = {} if how in ("bag", "gru") else {"pretrained": data["pretrained"], "model": "transformer"}
    return {**{key: data[key] for key in ("dataset", "batch_size")}, **pretrained, **QUICK[how], **more}


@pytest.mark.parametrize("how", QUICK)
def test_every_model_learns_and_is_evaluated_once(
    tmp_path: Path, data: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = texts._read

    def read_development(source: texts.Source, test: bool) -> Rows:
        assert not test, "the test set was read"
        return read(source, test)

    monkeypatch.setattr(texts, "_read", read_development)
    params = params_of(data, how, epochs=15, dropout=0.0)
    reports = run(tmp_path, params)
    assert [report.step for report in reports] == list(range(1, 16))
    assert all(set(report.metrics) == {"train_loss", "lr", *(f"val_{name}" for name in SCORES)} for report in reports)
    assert all(math.isfinite(value) for each in metrics_of(reports) for value in each.values())
    assert max(report.metrics["val_accuracy"] for report in reports) > 0.8
    monkeypatch.setattr(texts, "_read", read)
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 15))
    scores = evaluate(params, state, "cpu")
    report = scores.pop("report")
    assert set(scores) == {f"test_{name}" for name in SCORES}
    assert scores["test_accuracy"] == pytest.approx(reports[-1].metrics["val_accuracy"], abs=0.2)
    assert sum(map(sum, report["confusion_matrix"]["rows"])) == 24
    assert report["confusion_matrix"]["classes"] == list(CLASSES)
    assert 0 <= report["threshold"]["share_below"] <= 0.5
    told = {"trainable": "trainables.text_classification:train"}
    write_model(export(params, state), told, tmp_path / "out", onnx=how == "head")
    asked = [text for text, _ in questions(3)]
    found = list(predict(tmp_path / "out", asked))
    settings = Settings.from_params(params)
    inputs = text_classification._encode(settings, "asked", asked, state["words"], "cpu")
    logits = text_classification._predict(settings, state, inputs, len(CLASSES), "cpu")
    assert [one["class"] for one in found] == [CLASSES[index] for index in logits.argmax(dim=1).tolist()]
    assert all(one["is_known"] == (one["probability"] >= state["threshold"]) for one in found)


@pytest.mark.parametrize("how", QUICK)
def test_a_continued_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, data: dict[str, Any], how: str) -> None:
    params = params_of(data, how, epochs=4, dropout=0.2, label_smoothing=0.1)
    whole = run(tmp_path / "whole", params)
    first = run(tmp_path / "cut", params, stop_after=2)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)


def test_texts_of_no_known_class_are_told_by_the_confidence(tmp_path: Path, data: dict[str, Any]) -> None:
    params = params_of(data, "bag", epochs=6, unknown_classes=1)
    last = run(tmp_path, params)[-1].metrics
    assert {f"val_unknown_{name}" for name in ("auc", "precision", "recall")} <= set(last)
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 6))
    scores = evaluate(params, state, "cpu")
    assert all(0 <= scores[f"test_unknown_{name}"] <= 1 for name in ("auc", "precision", "recall"))
    assert sum(map(sum, scores["report"]["confusion_matrix"]["rows"])) == 16, "texts of known classes alone"
    assert f"unknown_recall: {scores['test_unknown_recall']:.4f}\n" in scores["report"]["text"]


def test_texts_that_are_cut_off_are_counted(tmp_path: Path, data: dict[str, Any]) -> None:
    """By their words, of which they have eight at most: pairs of words count beside them."""
    for length, is_told in ((9, False), (8, True)):
        run(tmp_path, params_of(data, "bag", epochs=1, ngrams=2, max_length=length))
        notes = json.loads((tmp_path / "data.json").read_text())["notes"]
        assert any("training texts fill max_length" in note for note in notes) == is_told


INTENTS = {"查余额": "余额", "挂失": "丢了", "转账": "转钱", "贷款": "借款"}


@pytest.mark.parametrize("how", ["bag", "gru"])
def test_chinese_intents_are_told_apart(tmp_path: Path, how: str) -> None:
    """Each text is a clause without a space, unlike all others; what it is about stands somewhere in it."""
    rng = random.Random(0)
    signs = "我想请你们帮忙看一下今天上午可以吗谢谢什么时候能好请问怎么办"
    rows = [
        (
            "".join(rng.choices(signs, k=rng.randint(2, 8))) + word + "".join(rng.choices(signs, k=rng.randint(2, 8))),
            name,
        )
        for name, word in INTENTS.items()
        for _ in range(60)
    ]
    params = {"dataset": str(write_csv(tmp_path / "zh.csv", rows)), **QUICK[how], "batch_size": 16, "epochs": 10}
    assert run(tmp_path / "trial", params)[-1].metrics["val_accuracy"] > 0.95


def test_a_tokenizer_that_does_not_know_the_language_is_told(tmp_path: Path, data: dict[str, Any]) -> None:
    rows = [
        (f"{sign * 3} {number} {number}", name) for number in range(20) for name, sign in (("a", "好"), ("b", "差"))
    ]
    params = params_of(data, "head", epochs=1, dataset=str(write_csv(tmp_path / "zh.csv", rows)))
    run(tmp_path / "trial", params)
    told = "% of the pieces of the training texts are unknown to"
    assert told in (tmp_path / "trial" / "data.json").read_text()
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "trial", 1))
    assert "% of the pieces of the test texts are unknown to" in evaluate(params, state, "cpu")["report"]["text"]
    run(tmp_path / "other", params_of(data, "head", epochs=1))
    assert told not in (tmp_path / "other" / "data.json").read_text()


def test_rare_classes_count_as_much_as_others_where_asked() -> None:
    assert balanced_weights(torch.tensor([0, 0, 0, 1]), 2).tolist() == pytest.approx([4 / 6, 2.0])


def test_data_lie_on_the_device_where_it_has_room(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU without room is what is not there."""
    asked: list[int] = []
    monkeypatch.setattr(Trial, "has_room", lambda _, num_bytes: bool(asked.append(num_bytes)))
    run(tmp_path, params_of(data, "gru", epochs=1, max_length=9))
    assert asked == [80 * 8 * 4, 16 * 8 * 4], "the words of training and validation"


def test_all_wrong_parameters_are_told_at_once(data: dict[str, Any]) -> None:
    params = {
        "dataset": "nowhere",
        "test_dataset": "typo.csv",
        "teacher": "nobody",
        "model": "lstm",
        "finetune": "some",
        "pretrained": "./nothing",
        "layer_decay": 0,
        "lr": -1,
        "hiden": 3,
        "ngrams": 4,
    }
    with pytest.raises(ValueError, match="nowhere") as caught:
        Settings.from_params(params)
    told = str(caught.value)
    assert "model must be one of bag, gru, transformer; got 'lstm'" in told
    assert "test_dataset: there is no file typo.csv" in told
    assert "teacher: nobody is no exported model" in told
    assert all(name in told for name in params)


@pytest.mark.skipif(not BANKING77.is_dir(), reason="needs Banking77, which is beside the project")
def test_it_learns_banking77(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_ENV, str(BANKING77.parents[1]))
    params = {"dataset": "banking77", "model": "bag", "epochs": 4, "lr": 0.01, "width": 64}
    assert run(tmp_path, params)[-1].metrics["val_accuracy"] > 0.8
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 4))
    scores = evaluate(params, state, "cpu")
    assert scores["test_accuracy"] > 0.8
    assert "7 of 3080 test texts stand among the training texts as well" in scores["report"]["notes"]


@pytest.mark.skipif(not WAIMAI.is_file(), reason="needs waimai_10k, which is beside the project")
def test_a_bag_of_chinese_characters_is_as_good_as_a_linear_model_of_them(tmp_path: Path) -> None:
    params = {"dataset": str(WAIMAI), "text_column": "review", "label_column": "label", "max_length": 128}
    source = Settings.from_params(params).source
    rows, (test, _) = texts.load_development(source).train, texts.load_test(source)
    linear = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    linear.fit(rows.texts, rows.labels)
    trained = {**params, "model": "bag", "epochs": 2, "lr": 0.01, "dropout": 0.3}
    run(tmp_path, trained)
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 2))
    assert evaluate(trained, state, "cpu")["test_accuracy"] > linear.score(test.texts, test.labels) - 0.01


@pytest.mark.slow  # imports transformers
@pytest.mark.skipif(not BANKING77.is_dir(), reason="needs Banking77, which is beside the project")
def test_minilm_knows_the_intents_of_a_slice_of_banking77(tmp_path: Path) -> None:
    with (BANKING77 / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    some = sorted({label for _, label in rows})[:8]
    chosen = [row for label in some for row in [one for one in rows if one[1] == label][:25]]
    params = {
        "dataset": str(write_csv(tmp_path / "some.csv", chosen)),
        "model": "transformer",
        "epochs": 10,
        "lr": 0.03,
    }
    assert run(tmp_path / "trial", params)[-1].metrics["val_accuracy"] > 0.8
