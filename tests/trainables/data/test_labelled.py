"""Where inputs lie, and where a batch of them goes."""

import torch

from trainables.data.labelled import Development, Labelled


def test_inputs_stay_in_the_hosts_memory_where_asked_and_batches_go_to_the_device() -> None:
    rows = Labelled(torch.arange(12).reshape(4, 3).to(torch.uint8), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    data = Development(rows, rows.take(slice(2)), torch.zeros(1), torch.ones(1))
    assert data.num_bytes == 12 + 6
    # There is no GPU here; this device takes tensors and keeps none of their values.
    away = data.to("meta", with_inputs=False)
    assert away.train.inputs.device.type == "cpu"
    assert {away.train.labels.device.type, away.mean.device.type} == {"meta"}
    assert away.train.batch(torch.tensor([3, 1, 0])).device.type == "meta"
    assert data.to("meta").train.inputs.device.type == "meta"
    assert rows.batch(torch.tensor([3, 1])).tolist() == [[9, 10, 11], [3, 4, 5]]
