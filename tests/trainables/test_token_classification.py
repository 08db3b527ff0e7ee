import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.text.test_conll import PLACES, sentence, write
from tests.trainables.text.test_pretrained import write_bert
from tests.trainables.trials import metrics_of, run_trial
from trainables.text.conll import Sentences, Source, load_test
from trainables.text.texts import DATA_ENV
from trainables.token_classification import (
    Settings,
    evaluate,
    export,
    predict,
    told_of_entities,
    train,
)
from tuner.metric import Goal, Metric
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint

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
    tokens = scores["report"]["tokens"]
    assert set(tokens["tags"]) >= {"B-location", "B-person", "I-person", "O"}
    assert tokens["averages"]["micro"]["f1"] > 0.9
    assert "weighted average" in scores["report"]["text"]
    assert len(load_test(Source(params["dataset"]))[0]) == 12
    portable = export(params, state)
    assert portable.save_files is not None
    portable.save_files(tmp_path)
    config = {**portable.config, "folder": str(tmp_path)}
    (told,) = predict(config, portable.model, ["My friend Ada Lovelace is in Oslo 7"])
    assert told["entities"] == [
        {"kind": "person", "start": 10, "end": 22, "text": "Ada Lovelace"},
        {"kind": "location", "start": 29, "end": 33, "text": "Oslo"},
    ]
    assert list(predict(config, portable.model, ["", " "])) == [{"input": text, "entities": []} for text in ("", " ")]


def entities_in(folder: Path, params: dict[str, Any], texts: list[str]) -> list[list[tuple[str, str]]]:
    """What a model that was trained there finds in raw texts."""
    state, _ = load_checkpoint(checkpoint_path(folder, params["epochs"]))
    portable = export(params, state)
    assert portable.save_files is not None
    portable.save_files(folder)
    found = list(predict({**portable.config, "folder": str(folder)}, portable.model, texts))
    for one in found:
        assert all(one["input"][entity["start"] : entity["end"]] == entity["text"] for entity in one["entities"])
    return [[(entity["kind"], entity["text"]) for entity in one["entities"]] for one in found]


def test_raw_texts_are_read_with_their_signs_and_to_their_end(tmp_path: Path, params: dict[str, Any]) -> None:
    # Each begins somewhere else, so that what is learned is no place.
    sentences = ["in\tO\n" * (number % 9) + sentence(PLACES[number % 5], number) * 2 for number in range(100)]
    signed = [one.replace("is\tO", ",\tO\nis\tO") + ".\tO\n" for one in sentences]
    (tmp_path / "signed.conll").write_text("\n".join(sentences[::2] + signed[1::2]), encoding="utf-8")
    data = {"dataset": str(tmp_path / "signed.conll"), "pretrained": write_bert(tmp_path / "bert", [*WORDS, ",", "."])}
    params = {**params, **data, "epochs": 8, "max_length": 16}
    run(tmp_path, params)
    person, place = ("person", "Ada Lovelace"), ("location", "Oslo")
    long = "My friend Ada Lovelace is in Oslo 7 " * 12
    assert entities_in(tmp_path, params, ["My friend Ada Lovelace,is in Oslo.", f"  {long}"]) == [
        [person, place],
        [person, place] * 12,
    ]


def test_entities_are_found_in_chinese(tmp_path: Path, params: dict[str, Any]) -> None:
    """A character is a word in such files, and nothing stands between them in a text."""
    signs = "我在北京上海广州的朋友王李明"
    names, places = ("王明", "李明"), ("北京", "上海", "广州")
    sentences = []
    for number in range(60):
        name, place = names[number % 2], places[number % 3]
        tagged = [*(("朋", "O"), ("友", "O")), (name[0], "B-per"), (name[1], "I-per"), ("在", "O")]
        tagged += [(place[0], "B-loc"), (place[1], "I-loc"), *(("的", "O") for _ in range(1 + number // 6))]
        sentences.append("".join(f"{sign}\t{tag}\n" for sign, tag in tagged))
    (tmp_path / "zh.conll").write_text("\n".join(sentences), encoding="utf-8")
    pretrained = write_bert(tmp_path / "bert", list(signs))
    params = {**params, "dataset": str(tmp_path / "zh.conll"), "pretrained": pretrained, "epochs": 6}
    assert run(tmp_path / "trial", params)[-1].metrics["val_f1"] > 0.9
    assert entities_in(tmp_path / "trial", params, ["朋友李明在上海的"]) == [[("per", "李明"), ("loc", "上海")]]


def test_a_frozen_transformer_gives_the_same_each_time(params: dict[str, Any]) -> None:
    settings = Settings.from_params({**params, "finetune": "head", "dropout": 0.5})
    encoder = settings.make_encoder().train()
    ids, lengths = torch.tensor([[2, 5, 6, 3]]), torch.tensor([4])
    assert torch.equal(encoder(ids, lengths), encoder(ids, lengths))
    trained = Settings.from_params({**params, "finetune": "full", "dropout": 0.5}).make_encoder().train()
    assert not torch.equal(trained(ids, lengths), trained(ids, lengths))


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


def test_few_entities_to_judge_by_and_kinds_without_one_are_told() -> None:
    sentences = Sentences((("ada", "is", "in", "oslo"),), (("B-person", "O", "O", "O"),), (0,))
    assert told_of_entities("validation", sentences, ("O", "B-location", "B-person", "I-person")) == [
        "the validation set has 1 entities, of which each counts for 100 %",
        "the validation set has no entities of location",
    ]


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
