import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.test_conll import write
from tests.trainables.test_pretrained import write_bert
from tests.trainables.trials import metrics_of, run_trial
from trainables.conll import Sentences, Source, load_test
from trainables.texts import DATA_ENV
from trainables.token_classification import (
    IGNORED,
    Settings,
    cut,
    evaluate,
    export,
    labels_of,
    predict,
    tags_of,
    told_of_cut,
    train,
)
from tuner.checkpoint import load_checkpoint
from tuner.checkpoint_folder import checkpoint_path
from tuner.metric import Metric
from tuner.trial import Goal

pytestmark = pytest.mark.slow  # imports transformers

run = functools.partial(run_trial, train, metric=Metric("val_f1", Goal.MAXIMIZE))
WNUT17 = Path(__file__).parents[3] / "shared" / "data" / "ner" / "wnut17"
WORDS = ["my", "friend", "ada", "love", "##lace", "is", "in", "london", "paris", "rome", "oslo", "lima"]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ner")
    return {
        "dataset": str(write(folder / "all.conll", range(60))),
        "pretrained": write_bert(folder / "bert", WORDS),
        "batch_size": 8,
        "lr": 0.01,
        "head_lr": 0.03,
    }


def test_a_words_tag_stands_at_its_first_piece_alone(params: dict[str, Any]) -> None:
    """The well-known trap: padding and the other pieces must count neither in the loss nor in the scores."""
    sentences = Sentences((("ada", "lovelace", "is"), ("paris",)), (("B-per", "I-per", "O"), ("B-loc",)), (0, 0))
    tags = ("O", "B-loc", "B-per", "I-per")
    pieces = cut(params["pretrained"], sentences.words, 16)
    assert pieces.lengths.tolist() == [6, 3]
    #                                   CLS      ada  love  lace     is  SEP
    assert pieces.word_of.tolist() == [[IGNORED, 0, 1, IGNORED, 2, IGNORED], [IGNORED, 0, *[IGNORED] * 4]]
    labels = labels_of(pieces.word_of, sentences, tags)
    assert labels.tolist() == [[IGNORED, 2, 3, IGNORED, 0, IGNORED], [IGNORED, 1, *[IGNORED] * 4]]
    assert labels_of(pieces.word_of, sentences, tags[:3]).tolist()[0] == [IGNORED, 2, IGNORED, IGNORED, 0, IGNORED]
    nonsense = torch.where(labels == IGNORED, 1, labels)
    assert tags_of(nonsense, pieces.word_of, sentences, tags) == [list(each) for each in sentences.tags]
    short = cut(params["pretrained"], sentences.words, 4)
    assert tags_of(torch.full((2, 4), 2), short.word_of, sentences, tags)[0] == ["B-per", "B-per", "O"]
    (note,) = told_of_cut("test", sentences, short)
    assert note.startswith("1 of 4 test words are beyond max_length")
    assert told_of_cut("test", sentences, pieces) == []


@pytest.mark.parametrize("finetune", ["full", "lora"])
def test_it_learns_and_is_evaluated_exported_and_used(tmp_path: Path, params: dict[str, Any], finetune: str) -> None:
    params = {**params, "epochs": 6, "finetune": finetune}
    reports = run(tmp_path, params)
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    names = {"train_loss", "lr", "val_loss", "val_precision", "val_recall", "val_f1"}
    assert all(set(report.metrics) == names for report in reports)
    assert all(math.isfinite(value) for each in metrics_of(reports) for value in each.values())
    assert reports[-1].metrics["val_f1"] > 0.9
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 6))
    scores = evaluate(params, state, "cpu")
    assert scores["test_f1"] > 0.9
    assert scores["report"]["entities"]["location"]["support"] == 12
    assert len(load_test(Source(params["dataset"]))[0]) == 12
    portable = export(params, state)
    assert portable.save_files is not None
    portable.save_files(tmp_path)
    config = {**portable.config, "folder": str(tmp_path)}
    (told,) = predict(config, portable.model, ["My friend Ada Lovelace is in Oslo 7"])
    assert [(one["kind"], one["text"]) for one in told["entities"]] == [
        ("person", "Ada Lovelace"),
        ("location", "Oslo"),
    ]
    assert list(predict(config, portable.model, [""])) == [{"input": "", "entities": []}]


def test_a_continued_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, params: dict[str, Any]) -> None:
    params = {**params, "epochs": 4, "outside_weight": 0.5, "label_smoothing": 0.1}
    whole = run(tmp_path / "whole", params)
    first = run(tmp_path / "cut", params, stop_after=2)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)


def test_a_sentence_without_a_piece_to_learn_from_leaves_the_training_alone(
    tmp_path: Path, params: dict[str, Any]
) -> None:
    train_file = write(tmp_path / "train.conll", range(3))
    with train_file.open("a", encoding="utf-8") as file:
        file.write("\n\u200d\tO\n")  # of which the tokenizer leaves nothing
    files = {"dataset": str(train_file), "validation_dataset": str(write(tmp_path / "dev.conll", range(5)))}
    (told,) = metrics_of(run(tmp_path / "trial", {**params, **files, "batch_size": 4, "accumulate": 4, "epochs": 1}))
    assert math.isfinite(told["train_loss"])


def test_all_wrong_parameters_are_told_at_once() -> None:
    wrong = {"dataset": "nowhere", "pretrained": "./nothing", "finetune": "some", "outside_weight": 0, "tags": 3}
    with pytest.raises(ValueError, match="nowhere") as caught:
        Settings.from_params(wrong)
    assert all(name in str(caught.value) for name in wrong)


@pytest.mark.skipif(not WNUT17.is_dir(), reason="needs WNUT-17, which is beside the project")
def test_minilm_learns_from_a_slice_of_wnut17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_ENV, str(WNUT17.parents[1]))
    test, _ = load_test(Source("wnut17"))
    assert sum(tag.startswith("B-") for tags in test.tags for tag in tags) > 1000

    def slice_of(name: str, count: int) -> str:
        text = "\n\n".join((WNUT17 / name).read_text(encoding="utf-8").replace("\n\t\n", "\n\n").split("\n\n")[:count])
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    files = {"dataset": slice_of("wnut17train.conll", 80), "validation_dataset": slice_of("emerging.dev.conll", 20)}
    params = {**files, "epochs": 2, "batch_size": 8, "lr": 1e-3, "head_lr": 1e-2, "max_length": 48}
    first, last = metrics_of(run(tmp_path / "trial", params))
    assert last["train_loss"] < 0.5 * first["train_loss"]
