import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainables.trials import run_trial
from trainables.data.notes import keep_notes
from trainables.training.training import Recipe, Training, move_towards
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.trial.trial import Trial


def test_an_average_moves_and_what_is_no_float_is_taken_over() -> None:
    average, model = (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))
    model[1].num_batches_tracked.fill_(2999)
    model[1].running_mean.fill_(4.0)
    before = average[0].weight.detach().clone()
    move_towards(average, model, 0.9995)
    assert int(average[1].num_batches_tracked) == 2999
    assert average[1].running_mean.tolist() == pytest.approx([0.002] * 2, rel=1e-3)
    assert torch.allclose(average[0].weight, before + 0.0005 * (model[0].weight - before))
    move_towards(average, model, 0.0)
    assert torch.equal(average[0].weight, model[0].weight)


@pytest.mark.parametrize("was_regrouped", [True, False])
def test_an_optimizer_that_begins_anew_since_its_parameters_are_grouped_otherwise_is_told(
    tmp_path: Path, was_regrouped: bool
) -> None:
    def train(trial: Trial) -> None:
        keep_notes(trial, ["a note"])
        model = nn.Linear(2, 1)
        groups = [{"params": list(model.parameters())}] if trial.params["in_one_group"] else None
        training = Training(trial, Recipe(epochs=2), model, 4, groups=groups)

        def loss_of(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
            return training.network(torch.ones(len(rows), 2)).square().mean()

        training.run(loss_of, lambda: ({"val_accuracy": 0.0, "val_loss": 0.0}, {}), {})

    run_trial(train, tmp_path / "before", {"in_one_group": was_regrouped}, stop_after=1)
    checkpoint = checkpoint_path(tmp_path / "before", 1)
    reports = run_trial(train, tmp_path / "after", {"in_one_group": False}, restore_from=checkpoint)
    assert [report.step for report in reports] == [2]
    notes = json.loads((tmp_path / "after" / "data.json").read_text())["notes"]
    told = "resumed after epoch 1 with an optimizer that begins anew: its checkpoint is of an earlier version, which "
    assert notes == ["a note", *([told + "grouped the parameters otherwise"] if was_regrouped else [])]
