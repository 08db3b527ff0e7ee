"""The same settings mean the same training, whatever the number of workers: each task with two beside one.

Without dropout and the like, which each worker draws for itself; so the two differ by rounding alone.
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainables.audio.test_recordings import write_tones
from tests.trainables.recommending.test_interactions import write as write_interactions
from tests.trainables.test_text_classification import questions
from tests.trainables.test_token_classification import WORDS
from tests.trainables.text.test_conll import write
from tests.trainables.text.test_pretrained import write_bert
from tests.trainables.text.test_texts import write_csv
from tests.trainables.trials import ACCURACY
from tests.trainables.vision.test_images import write_tree as write_images
from tests.trainables.workers import Task, run_with_workers
from trainables.training.batch_norm import SharedBatchNorm, share_statistics
from tuner.metric import Goal, Metric

pytestmark = pytest.mark.slow  # two processes that import transformers

NAMES = (
    "images",
    "images in parts",
    "texts",
    "fine-tuned",
    "entities",
    "recordings",
    "sequence",
    "matrix",
    "table",
    "forest",
    "tiny",
)


def write_tasks(folder: Path) -> dict[str, Task]:
    images = {"train_size": 90, "batch_size": 30, "class_weight": "balanced", "epochs": 2}
    unequal = [(text, label) for text, label, *_ in questions(12)][:28]  # some of one class more than of another
    texts = {"dataset": str(write_csv(folder / "texts.csv", unequal)), "batch_size": 9, "dropout": 0.0, "epochs": 2}
    texts |= {"class_weight": "balanced"}
    bert = write_bert(folder / "bert", WORDS)
    entities = {"dataset": str(write(folder / "all.conll", range(30))), "batch_size": 5, "dropout": 0.0, "epochs": 2}
    entities |= {"pretrained": bert, "outside_weight": 0.3, "lr": 0.003, "layer_decay": 0.9}
    tones = {"dataset": str(write_tones(folder / "tones", 8)), "sample_rate": 4000, "seconds": 0.25, "mels": 16}
    tones |= {"batch_size": 9, "epochs": 2, "width": 4, "depth": 2, "dropout": 0.0}
    walks = [(f"u{user}", f"i{(7 * user + step) % 20:02d}", step) for user in range(25) for step in range(4 + user % 5)]
    films = {"dataset": write_interactions(folder / "walks", walks).dataset, "width": 16, "dropout": 0.0, "epochs": 2}
    films |= {"batch_size": 7, "max_length": 8}
    # Folds of which some are weighed otherwise, and whose batches no two workers can halve.
    table = {"dataset": "wine", "folds": 2, "class_weight": "balanced", "batch_size": 15, "epochs": 3, "dropout": 0.0}
    tiny = write_images(folder / "tiny", 3)
    recommended = Metric("val_ndcg10", Goal.MAXIMIZE)
    return {
        "images": Task("trainables.image_classification", images, ACCURACY),
        "images in parts": Task(
            "trainables.image_classification",
            {**images, "model": "classic", "batch_size": 31, "accumulate": 3},
            ACCURACY,
        ),
        "texts": Task("trainables.text_classification", {**texts, "model": "bag", "lr": 0.03}, ACCURACY),
        "fine-tuned": Task(
            "trainables.text_classification", {**texts, "pretrained": bert, "finetune": "lora"}, ACCURACY
        ),
        "entities": Task("trainables.token_classification", entities, Metric("val_f1", Goal.MAXIMIZE)),
        "recordings": Task("trainables.audio_classification", tones, ACCURACY),
        "sequence": Task("trainables.recommendation", {**films, "model": "sequence"}, recommended),
        "matrix": Task("trainables.recommendation", {**films, "model": "matrix"}, recommended),
        "table": Task("trainables.tabular", {**table, "model": "resnet", "width": 16}, ACCURACY),
        "forest": Task("trainables.tabular", {**table, "model": "random_forest", "n_estimators": 10}, ACCURACY),
        # With one image to validate with.
        "tiny": Task("trainables.image_classification", {"dataset": str(tiny), "image_size": 8, "epochs": 2}, ACCURACY),
    }


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    return write_tasks(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def told_by_two(tasks: dict[str, Task], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, float]]]:
    return run_with_workers(tasks, tmp_path_factory.mktemp("workers") / "two", 2)


@pytest.mark.parametrize("name", NAMES)
def test_two_workers_train_as_one_does(
    tmp_path: Path, tasks: dict[str, Task], told_by_two: dict[str, list[dict[str, float]]], name: str
) -> None:
    alone = tasks[name].run(tmp_path)
    assert len(alone) == 2
    for one, two in zip(alone, told_by_two[name], strict=True):
        losses = {key: value for key, value in one.items() if key.endswith(("_loss", "lr"))}
        assert {key: two[key] for key in losses} == pytest.approx(losses, rel=1e-3)
        assert two == pytest.approx(one, abs=0.02, nan_ok=True)


def test_shared_statistics_are_those_of_one_worker(tmp_path: Path) -> None:
    """Of one process in a group of its own; two of them are compared above."""
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        for plain, given in (
            (nn.Sequential(nn.BatchNorm1d(5), nn.BatchNorm1d(5, affine=False)), torch.randn(7, 5) * 3 + 100),
            (nn.Sequential(nn.BatchNorm2d(3, momentum=None)), torch.randn(4, 3, 5, 6)),
        ):
            shared = copy.deepcopy(plain)
            share_statistics(shared)
            assert all(isinstance(module, SharedBatchNorm) for module in shared)
            assert list(shared.state_dict()) == list(plain.state_dict())
            gradients = []
            for model in (plain, shared):
                for _ in range(2):
                    model(given)
                x = given.clone().requires_grad_()
                (gradient,) = torch.autograd.grad((model(x) ** 3).sum(), x)
                gradients.append(gradient)
            torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(shared.state_dict(), plain.state_dict())
            torch.testing.assert_close(shared.eval()(given), plain.eval()(given))
    finally:
        torch.distributed.destroy_process_group()
