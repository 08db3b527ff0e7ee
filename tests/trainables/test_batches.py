import pytest
import torch

from trainables.batches import count_batches, epoch_batches, epoch_generator, share_of


def test_a_generator_depends_on_seed_epoch_and_stream_alone() -> None:
    def draw(*key: int) -> int:
        return int(torch.randint(2**40, (1,), generator=epoch_generator(*key)))

    assert draw(1, 2) == draw(1, 2, 0)
    assert len({draw(1, 2), draw(2, 1), draw(1, 3), draw(1, 2, 1), draw(2**62, 2)}) == 5


@pytest.mark.parametrize(("num_rows", "batch_size", "count"), [(10, 3, 3), (9, 3, 3), (2, 3, 1)])
def test_batches_are_full_and_hold_no_row_twice(num_rows: int, batch_size: int, count: int) -> None:
    batches = list(epoch_batches(num_rows, batch_size, torch.Generator()))
    assert len(batches) == count_batches(num_rows, batch_size) == count
    assert {len(batch) for batch in batches} == {min(batch_size, num_rows)}
    rows = torch.cat(batches).tolist()
    assert len(rows) == len(set(rows))


def test_workers_share_each_batch_out() -> None:
    alone = list(epoch_batches(23, 5, epoch_generator(0, 1)))
    parts = [list(epoch_batches(23, 5, epoch_generator(0, 1), rank, world_size=2)) for rank in range(2)]
    assert [len(part) for part in parts] == [count_batches(23, 5)] * 2 == [4, 4]
    for batch, first, second in zip(alone, *parts, strict=True):
        assert len(first) == len(second) == 2
        assert sorted([*first.tolist(), *second.tolist()]) == sorted(batch[:4].tolist())


def test_a_batch_that_counts_for_nothing_has_no_share() -> None:
    assert share_of(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.zeros(4)) == 0.0
