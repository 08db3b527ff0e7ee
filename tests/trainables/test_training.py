import pytest
import torch
from torch import nn

from trainables.training import has_bfloat16, move_towards


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


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"avx2": True, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bfloat16(torch.device("cpu")) is expected
    assert not has_bfloat16(torch.device("mps"))


def test_on_an_older_pytorch_that_can_not_tell_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16(torch.device("cpu"))
