import pytest
import torch

from trainables.data.splits import (
    fingerprint,
    merged_groups,
    split_rows,
    stratified_order,
    told_of_copies,
    told_of_leaks,
)


def test_every_stretch_of_the_order_holds_the_classes_in_proportion() -> None:
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    order = stratified_order(labels)
    assert sorted(order.tolist()) == list(range(1000))
    for start, stop in ((0, 50), (50, 250), (333, 777)):
        counts = torch.bincount(labels[order[start:stop]], minlength=3)
        expected = torch.tensor([0.6, 0.3, 0.1]) * (stop - start)
        assert (counts - expected).abs().max() <= 1


def test_a_split_is_disjoint_whole_and_the_same_each_time() -> None:
    labels = torch.tensor([0, 1, 2] * 60)
    few, many = split_rows(labels, 1 / 6)
    assert torch.bincount(labels[few]).tolist() == [10, 10, 10]
    assert sorted([*few.tolist(), *many.tolist()]) == list(range(180))
    assert torch.equal(few, split_rows(labels, 1 / 6)[0])


def test_rows_of_a_group_are_not_parted() -> None:
    labels = torch.tensor([0, 1, 2] * 60)
    groups = [row // 6 for row in range(180)]
    few, many = split_rows(labels, 1 / 6, groups)
    assert sorted([*few.tolist(), *many.tolist()]) == list(range(180))
    assert len({groups[row] for row in few}) == 5
    assert not {groups[row] for row in few} & {groups[row] for row in many}
    alone = split_rows(labels, 1 / 6, list(range(180)))
    assert all(map(torch.equal, alone, split_rows(labels, 1 / 6)))
    with pytest.raises(ValueError, match="1 groups of rows are too few to set 17% of them apart"):
        split_rows(labels, 1 / 6, [0] * 180)


def test_too_few_rows_to_split_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rows are too few to set 17% of them apart"):
        split_rows(torch.tensor([0, 1]), 1 / 6)


def test_rows_of_the_test_set_that_were_trained_on_are_counted() -> None:
    development = torch.arange(12).reshape(6, 1, 2)
    test = torch.tensor([[[0, 1]], [[1, 0]], [[10, 11]]])
    assert told_of_leaks("images", test, development) == ("2 of 3 test images stand among the training images as well",)
    assert told_of_leaks("images", test[1:2], development) == ()
    (told,) = told_of_leaks("images", test, development, "validation")
    assert told == "2 of 3 validation images stand among the training images as well"


def test_rows_are_of_one_group_by_any_column() -> None:
    names = ["a", None, "b", None, "c", "a"]
    contents = [1, 2, 1, 3, 4, 5]
    groups = merged_groups(contents, names)
    assert groups[0] == groups[2] == groups[5]
    assert len(set(groups)) == 4
    assert merged_groups([1, 2, 3]) == [0, 1, 2]


def test_copies_are_counted_and_those_of_two_classes() -> None:
    assert told_of_copies("rows", [1, 2, 3], [0, 0, 1]) == ()
    assert told_of_copies("rows", [1, 1, 2, 2, 2, 3], [0, 0, 0, 1, 1, 1]) == (
        "5 of 6 rows have copies among them, which no split made here parts; 1 of them are in more than one class",
    )


def test_a_fingerprint_is_of_the_rows_whatever_their_order() -> None:
    assert fingerprint([b"a", b"b"]) == fingerprint([b"b", b"a"]) != fingerprint([b"a", b"b", b"b"])
