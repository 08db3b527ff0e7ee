import pytest
import torch

from trainables.training.batches import count_batches, epoch_batches, epoch_generator


def test_a_generator_depends_on_seed_epoch_and_stream_alone() -> None:
    def draw(*key: int) -> int:
        return int(torch.randint(2**40, (1,), generator=epoch_generator(*key)))

    assert draw(1, 2) == draw(1, 2, 0)
    assert len({draw(1, 2), draw(2, 1), draw(1, 3), draw(1, 2, 1), draw(2**62, 2)}) == 5


@pytest.mark.parametrize("num_rows", [120, 100, 9, 3, 2, 1])
@pytest.mark.parametrize("batch_size", [1, 2, 32, 64, 128])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_every_row_is_in_a_batch_and_no_batch_is_much_smaller(num_rows: int, batch_size: int, is_sorted: bool) -> None:
    lengths = torch.arange(num_rows) % 7 if is_sorted else None
    batches = list(epoch_batches(num_rows, batch_size, torch.Generator(), lengths=lengths))
    assert len(batches) == count_batches(num_rows, batch_size) == -(-num_rows // batch_size)
    sizes = {len(batch) for batch in batches}
    assert max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat(batches).tolist()) == list(range(num_rows))


@pytest.mark.parametrize(("num_rows", "batch_size", "sizes"), [(65, 2, {2, 3}), (3, 2, {3}), (5, 4, {2, 3})])
def test_no_batch_has_fewer_rows_than_it_needs(num_rows: int, batch_size: int, sizes: set[int]) -> None:
    batches = list(epoch_batches(num_rows, batch_size, torch.Generator(), fewest=2))
    assert {len(batch) for batch in batches} == sizes
    assert len(batches) == count_batches(num_rows, batch_size, 2)


def test_rows_of_a_batch_are_about_as_long() -> None:
    lengths = torch.randint(1, 100, (640,), generator=torch.Generator().manual_seed(0))
    batches = list(epoch_batches(640, 16, epoch_generator(0, 1), lengths=lengths))
    spread = torch.tensor([float(lengths[batch].max() - lengths[batch].min()) for batch in batches])
    assert spread.mean() < 10
    assert len({int(lengths[batch].max()) // 10 for batch in batches[:10]}) > 3, "in no order"
