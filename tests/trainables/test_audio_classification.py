import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.audio.test_recordings import SOUND, TONES, write_tones
from tests.trainables.trials import metrics_of, run_trial
from trainables import audio_classification
from trainables.audio_classification import Settings, evaluate, export, train
from tuner.export import predict, write_model
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.trial import Trial

run = functools.partial(run_trial, train)
QUICK: dict[str, dict[str, Any]] = {
    "cnn": {"model": "cnn", "width": 4, "depth": 3, "lr": 0.01},
    "transformer": {"model": "transformer", "width": 32, "depth": 1, "lr": 0.003},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The parameters that name a small data set."""
    folder = write_tones(tmp_path_factory.mktemp("tones"), 30)
    return {"dataset": str(folder), "sample_rate": 4000, "seconds": 0.25, "mels": 16, "batch_size": 16, "epochs": 6}


@pytest.mark.slow
@pytest.mark.parametrize("how", QUICK)
def test_it_learns_tones_and_is_evaluated_exported_and_used(tmp_path: Path, data: dict[str, Any], how: str) -> None:
    params = {**data, **QUICK[how]}
    reports = run(tmp_path / "trial", params)
    assert all(math.isfinite(value) for each in metrics_of(reports) for value in each.values())
    assert reports[-1].metrics["val_accuracy"] > 0.9
    state, _ = load_checkpoint(checkpoint_path(tmp_path / "trial", 6))
    scores = evaluate(params, state, "cpu")
    assert scores["test_accuracy"] > 0.8
    assert scores["report"]["confusion_matrix"]["classes"] == list(TONES)
    told = {"trainable": "trainables.audio_classification:train"}
    write_model(export(params, state), told, tmp_path / "out", onnx=how == "transformer")
    files = [str(Path(data["dataset"]) / name / "000.wav") for name in TONES]
    assert [one["class"] for one in predict(tmp_path / "out", files)] == list(TONES)


@pytest.mark.parametrize("how", QUICK)
def test_a_continued_run_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path, data: dict[str, Any], how: str) -> None:
    more = {"shift": 0.2, "mask_frames": 5, "mask_mels": 4, "dropout": 0.2, "class_weight": "balanced"}
    params = {**data, **QUICK[how], **more, "epochs": 4}
    whole = run(tmp_path / "whole", params)
    first = run(tmp_path / "cut", params, stop_after=2)
    rest = run(tmp_path / "cut", params, restore_from=checkpoint_path(tmp_path / "cut", 2))
    assert metrics_of(first) + metrics_of(rest) == metrics_of(whole)


def test_a_training_recording_is_moved_and_parts_of_it_are_silenced(data: dict[str, Any]) -> None:
    spectrograms, mean = torch.arange(26.0).repeat(8, 16, 1) + 100, torch.full((16,), -1.0)
    changed = functools.partial(audio_classification._changed, spectrograms, mean)
    moved = changed(Settings(shift=0.2), torch.Generator().manual_seed(0))
    assert torch.equal(moved.sort(dim=2).values, spectrograms), "round its end"
    assert len({float(one[0, 0]) for one in moved}) > 2
    assert {abs((float(one[0, 0]) - 100 + 13) % 26 - 13) for one in moved} <= set(range(6))
    masked = changed(Settings(mask_frames=6, mask_mels=4), torch.Generator().manual_seed(0)) == -1
    whole_frames, whole_bands = masked.all(dim=1).sum(dim=1), masked.all(dim=2).sum(dim=1)
    assert torch.equal(masked, masked.all(dim=1, keepdim=True) | masked.all(dim=2, keepdim=True))
    assert 0 < int(whole_frames.max()) <= 6
    assert 0 < int(whole_bands.max()) <= 4


def test_data_lie_on_the_device_where_it_has_room(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU without room is what is not there."""
    asked: list[int] = []
    monkeypatch.setattr(Trial, "has_room", lambda _, num_bytes: bool(asked.append(num_bytes)))
    run(tmp_path, {**data, **QUICK["cnn"], "epochs": 1, "seconds": 0.24})
    assert asked == [72 * 16 * 25 * 4], "the spectrograms of training and validation"


def test_all_wrong_parameters_are_told_at_once() -> None:
    params = {"dataset": "nowhere", "model": "gru", "mels": 2, "seconds": 0, "shift": 2, "with": 3}
    with pytest.raises(ValueError, match="nowhere") as caught:
        Settings.from_params(params)
    assert all(name in str(caught.value) for name in params)


def test_the_sound_is_part_of_the_settings() -> None:
    assert Settings(sample_rate=4000, seconds=0.25, mels=16).sound == SOUND
