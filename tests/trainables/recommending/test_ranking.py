import math

import pytest
import torch

from trainables.recommending.ranking import ranking_metrics, ranks


def test_what_was_seen_is_out_of_question() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1]])
    wanted = torch.tensor([2, 2])
    seen = torch.tensor([[0, -1], [0, 1]])
    assert ranks(scores, wanted, seen).tolist() == [1, 0]


def test_who_tells_none_apart_ranks_none_well() -> None:
    assert ranks(torch.zeros(1, 5), torch.tensor([0]), torch.tensor([[4]])).tolist() == [3]


def test_the_metrics_are_those_of_one_wanted_item() -> None:
    found = ranking_metrics("val", torch.tensor([0, 2, 9, 10]))
    assert found["val_hr10"] == pytest.approx(0.75)
    assert found["val_ndcg10"] == pytest.approx((1 + 1 / math.log2(4) + 1 / math.log2(11)) / 4)
