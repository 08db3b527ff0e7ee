import pytest
import torch
from torch import nn

from trainables.training.training import move_towards


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
