from pathlib import Path

import pytest
import torch

from trainables.data.held_out import check_judged, told_of_held_out
from tuner.metric import Goal, Metric
from tuner.trial.trial import Trial

NAMES = ("cat", "dog", "owl")


def trial_by(name: str, folder: Path) -> Trial:
    metric = Metric(name, Goal.MAXIMIZE)
    return Trial({}, number=0, seed=0, dir=folder, metrics=(metric,), deliver=lambda report, stop: None)


def test_a_tiny_part_and_one_that_lacks_a_class_are_told() -> None:
    assert told_of_held_out("validation", "images", torch.tensor([0, 1, 2] * 10), NAMES) == []
    assert told_of_held_out("test", "images", torch.tensor([0, 0, 0, 1]), NAMES) == [
        "the test set has 4 images, of which each counts for 25 %",
        "the test set has no images of owl",
    ]


def test_a_metric_that_can_not_be_had_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="val_auc can't be had: the validation set has 1 images, none of them of cat, owl"
    ):
        check_judged(trial_by("val_auc", tmp_path), "images", torch.tensor([1]), NAMES)
    check_judged(trial_by("val_auc", tmp_path), "images", torch.tensor([1, 0]), NAMES)
    check_judged(trial_by("val_accuracy", tmp_path), "images", torch.tensor([1]), NAMES)
