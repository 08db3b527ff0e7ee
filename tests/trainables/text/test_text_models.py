import pytest
import torch
from torch import nn

from trainables.text.text_models import (
    PADDING,
    UNSEEN,
    BagOfEmbeddings,
    Recurrent,
    build_vocabulary,
    encode_words,
    is_token,
    masked_mean,
)


def test_the_vocabulary_holds_what_is_frequent_whatever_the_order() -> None:
    texts = ["b a", "a c", "a b"]
    assert build_vocabulary(texts, 1, 2) == build_vocabulary(texts[::-1], 1, 2) == ["a", "b"]
    assert build_vocabulary(texts, 2, 1)[:3] == ["a", "b", "a b"]


def test_words_become_numbers_and_unseen_ones_have_one_of_their_own() -> None:
    ids, lengths = encode_words(["b a", "x", "", "a a a a"], ["a", "b"], 1, 3)
    assert ids.tolist() == [[3, 2, PADDING], [UNSEEN, PADDING, PADDING], [UNSEEN, PADDING, PADDING], [2, 2, 2]]
    assert lengths.tolist() == [2, 1, 1, 3]


def test_joined_words_count_beside_as_many_words_as_there_may_be() -> None:
    ids, lengths = encode_words(["a b c d"], ["a", "b", "a b", "c d"], 2, 2)
    assert ids.tolist() == [[2, 3, 4]]
    assert lengths.tolist() == [3]


def test_the_mean_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [7.0], [9.0]]])
    assert masked_mean(states, is_token(torch.zeros(2, 3), torch.tensor([2, 3]))).tolist() == [[2.0], [7.0]]


@pytest.mark.parametrize("kind", ["bag", "gru"])
def test_what_a_text_is_taken_for_does_not_depend_on_its_neighbours(kind: str) -> None:
    """The padding that a longer neighbour brings must change nothing."""
    torch.manual_seed(0)
    model: nn.Module = (
        BagOfEmbeddings(9, 4, width=8, dropout=0.5) if kind == "bag" else Recurrent(9, 4, width=8, depth=2, dropout=0.5)
    )
    model.eval()
    ids, lengths = torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]]), torch.tensor([2, 4])
    together = model(ids, lengths)
    alone = torch.cat([model(ids[:1, :2], lengths[:1]), model(ids[1:], lengths[1:])])
    assert together.shape == (2, 4)
    torch.testing.assert_close(together, alone)
