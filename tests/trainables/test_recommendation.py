import functools
import json
import math
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.trainables.recommending.test_interactions import write
from tests.trainables.trials import metrics_of, run_trial
from trainables.recommendation import Settings, evaluate, export, set_loss, train
from tuner.errors import ControlError
from tuner.export import predict, write_model
from tuner.metric import Goal, Metric
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint

run = functools.partial(run_trial, train, metric=Metric("val_ndcg10", Goal.MAXIMIZE))
MODELS: dict[str, dict[str, Any]] = {
    "matrix": {"model": "matrix", "lr": 0.03, "batch_size": 8},
    "two_tower": {"model": "two_tower", "lr": 0.03, "batch_size": 8},
    "sequence": {"model": "sequence", "lr": 0.01, "depth": 1, "max_length": 10, "item_text": True, "batch_size": 16},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Users who walk round a circle of sixty items, ten of them each, half of them with a text."""
    rng, rows = random.Random(0), []
    for user in range(120):
        start = rng.randrange(60)
        rows += [(f"u{user}", f"i{(start + step) % 60:02d}", step) for step in range(10)]
    source = write(
        tmp_path_factory.mktemp("circle"), rows, {f"i{item:02d}": f"place {item // 6}" for item in range(30)}
    )
    return {"dataset": source.dataset, "width": 16, "dropout": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize("how", MODELS)
def test_it_learns_what_comes_next_and_is_evaluated_exported_and_used(
    tmp_path: Path, data: dict[str, Any], how: str
) -> None:
    params = {**data, **MODELS[how], "epochs": 25}
    reports = run(tmp_path / "trial", params)
    assert all(math.isfinite(value) for each in metrics_of(reports) for value in each.values())
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "trial", 25))
    scores = evaluate(params, state, "cpu")
    popularity = scores["report"]["popularity"]["test_ndcg10"]
    assert scores["test_ndcg10"] > (0.8 if how == "sequence" else 1.5 * popularity)
    assert popularity < 0.2
    told = {"trainable": "trainables.recommendation:train"}
    write_model(export(params, state), told, tmp_path / "out", onnx=how != "two_tower")
    # A user, and somebody new who has walked the same way and elsewhere too.
    way = [f"i{(17 + step) % 60:02d}" for step in range(8)]
    found, new = predict(tmp_path / "out", ["u7", json.dumps([*way, "elsewhere"])])
    assert len(found["items"]) == len(new["items"]) == 10
    assert "unknown_items" not in found
    assert new["unknown_items"] == ["elsewhere"]
    named = [each["item"] for each in new["items"]]
    assert not {*named} & {*way}
    if how == "sequence":
        assert named[0] == "i25"
    else:  # what is near: who takes these has taken, or will take, some of those
        assert len({*named} & {f"i{(17 + step) % 60:02d}" for step in (*range(-8, 0), *range(8, 16))}) >= 6
    if how == "sequence":
        place = 10 * state["users"].index("u7")
        assert found["items"][0]["item"] == f"i{(int(state['history'][place + 9]) + 1) % 60:02d}"
    with pytest.raises(ControlError, match="no users of the training data: nobody; of a new one") as caught:
        list(predict(tmp_path / "out", ["nobody", "u7", '["elsewhere"]', "[nowhere"]))
    assert '["elsewhere"] has no item of the training data' in str(caught.value)
    assert "[nowhere is no JSON list" in str(caught.value)


def test_texts_that_are_asked_for_and_missing_are_told(tmp_path: Path) -> None:
    source = write(tmp_path / "data", [(f"u{user}", f"i{item}", item) for user in range(6) for item in range(5)])
    for model, told in (("matrix", []), ("two_tower", ["no item has a text: items are known by their numbers alone"])):
        run(tmp_path, {"dataset": source.dataset, "model": model, "width": 8, "epochs": 1})
        assert json.loads((tmp_path / "data.json").read_text())["notes"] == told


@pytest.mark.parametrize("how", MODELS)
def test_a_continued_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, data: dict[str, Any], how: str) -> None:
    params = {**data, **MODELS[how], "epochs": 4, "label_smoothing": 0.1}
    whole = run(tmp_path / "whole", params)
    first = run(tmp_path / "cut", params, stop_after=2)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)


def test_the_last_item_is_not_looked_at_before_the_end(tmp_path: Path, data: dict[str, Any]) -> None:
    """Another last item changes nothing of the training."""
    folder = tmp_path / "other"
    folder.mkdir()
    text = (Path(data["dataset"]) / "interactions.csv").read_text().splitlines()
    changed = [
        f"{line.rpartition(',')[0].partition(',')[0]},i{(int(line.split(',')[1][1:]) + 9) % 60:02d},9"
        if line.endswith(",9")
        else line
        for line in text
    ]
    (folder / "interactions.csv").write_text("\n".join(changed) + "\n")
    params = {**data, **MODELS["sequence"], "item_text": False, "epochs": 2}
    one, other = (
        run(tmp_path / name, {**params, "dataset": path}) for name, path in (("a", data["dataset"]), ("b", str(folder)))
    )
    assert metrics_of(one) == metrics_of(other)


@pytest.mark.parametrize("how", MODELS)
def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path, how: str) -> None:
    rows = [(f"u{user}", f"i{(user + step) % 20}", step) for user in range(40) for step in range(4 + user % 5 * 3)]
    given = {"dataset": write(tmp_path / "some", rows).dataset, "width": 8, "dropout": 0.0, "optimizer": "sgd"}
    params = {**given, **MODELS[how], "item_text": False, "epochs": 2}
    whole, parts = (metrics_of(run(tmp_path / f"{n}", {**params, "accumulate": n})) for n in (1, 3))
    for one, other in zip(whole, parts, strict=True):
        assert other == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize("how", ["matrix", "two_tower"])
def test_the_first_epoch_ranks_items_by_how_often_they_were_taken(tmp_path: Path, how: str) -> None:
    """From noise it took many epochs to get there, and a rule that stops what is behind stopped it before."""
    rng = random.Random(0)
    weights = [1 / (1 + item) for item in range(200)]
    rows = []
    for user in range(150):
        taken = dict.fromkeys(rng.choices(range(200), weights, k=12))
        rows += [(f"u{user}", f"i{item}", step) for step, item in enumerate(taken)]
    params = {"dataset": write(tmp_path / "data", rows).dataset, "model": how, "lr": 1e-4, "batch_size": 64}
    (report,) = run(tmp_path / "trial", {**params, "width": 16, "epochs": 1})
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "trial", 1))
    popularity = evaluate(params | {"width": 16}, state, "cpu")["report"]["popularity"]["test_ndcg10"]
    assert popularity > 0.1
    assert report.metrics["val_ndcg10"] > 0.8 * popularity


def test_several_wanted_items_are_a_cross_entropy_each() -> None:
    scores, wanted = torch.randn(3, 6), torch.tensor([[1, 2, -1], [5, -1, -1], [0, 3, 4]])
    rows = torch.tensor([0, 0, 1, 2, 2, 2])
    for smoothing in (0.0, 0.2):
        found = set_loss(scores, wanted, smoothing)
        assert found == pytest.approx(cross_entropy(scores[rows], wanted[wanted >= 0], label_smoothing=smoothing))


def test_users_with_one_item_to_train_on_are_left_to_those_with_more(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{(user + step) % 9}", step) for user in range(40) for step in range(3 + (user % 8 == 0))]
    params = {"dataset": write(tmp_path / "few", rows).dataset, **MODELS["sequence"], "batch_size": 4, "epochs": 2}
    assert len(run(tmp_path / "trial", params)) == 2
    source = write(tmp_path / "none", [row for row in rows if row[2] < 3])
    with pytest.raises(ValueError, match="has no user with four items, as a sequence needs"):
        run(tmp_path / "other", {**params, "dataset": source.dataset})


def test_all_wrong_parameters_are_told_at_once() -> None:
    params = {"dataset": "nowhere", "model": "als", "width": 0, "item_text": 1, "factors": 3}
    with pytest.raises(ValueError, match="nowhere") as caught:
        Settings.from_params(params)
    assert all(name in str(caught.value) for name in params)


@pytest.mark.skipif(find_spec("recbole") is None, reason="needs MovieLens-100K, which the package recbole carries")
def test_it_learns_movielens(tmp_path: Path) -> None:
    params = {"dataset": "movielens-100k", "epochs": 3, "batch_size": 32}
    reports = run(tmp_path, params)
    state, _ = load_checkpoint(checkpoint_path(tmp_path, 3))
    scores = evaluate(params, state, "cpu")
    assert scores["report"]["interactions"] == 100_000
    assert reports[-1].metrics["val_ndcg10"] > 0.03
