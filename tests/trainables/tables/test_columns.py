import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from trainables.tables.columns import describe, read_numbers, repeats

RNG = np.random.default_rng(0)
IDS: dict[str, npt.NDArray[np.generic]] = {
    "in order": np.arange(60),
    "shuffled": RNG.permutation(60),
    "far apart": RNG.choice(10**8, 60, replace=False),
    "fractions": RNG.random(60),
    "texts": np.array([f"u{row}" for row in range(60)]),
}
KEEP = " (name it in `keep` if it is a feature, such as a year)"


def texts(values: npt.NDArray[np.generic]) -> list[str]:
    return [str(value) for value in values]


@pytest.mark.parametrize("how", IDS)
def test_copies_are_found_whatever_ids_they_have(how: str) -> None:
    """Ten rows, six times each."""
    values = np.tile(RNG.normal(size=(10, 2)), (6, 1))
    rows = pd.DataFrame({"id": texts(IDS[how]), "a": texts(values[:, 0]), "b": texts(values[:, 1])})
    assert repeats(rows).tolist() == list(range(10)) * 6


@pytest.mark.parametrize("how", IDS)
def test_rows_that_a_number_tells_apart_are_no_copies_if_they_are_alike_by_chance(how: str) -> None:
    rows = pd.DataFrame({"id": texts(IDS[how]), "colour": list("rgb" * 20)})
    # What is left out as an ID is so here too: rows that are all the same to a model stay together.
    assert len(set(repeats(rows))) == (60 if "id" in describe(rows).numbers else 3)


def test_copies_with_the_same_id_and_another_way_to_write_a_number_are_copies() -> None:
    ids = [*IDS["in order"], *range(5)]
    sizes = [f"{row}.5" for row in range(60)] + [f"{row}.50" for row in range(5)]
    found = repeats(pd.DataFrame({"id": texts(np.array(ids)), "size": sizes}))
    assert found.tolist() == [*range(60), *range(5)]


@pytest.mark.parametrize(
    ("how", "dropped", "told"),
    [
        ("in order", "a number of the row", f"column id is left out: a number of the row{KEEP}"),
        ("shuffled", "a number of the row", f"column id is left out: a number of the row{KEEP}"),
        ("far apart", None, "column id is another whole number in each row: it is no feature if it is an ID"),
        ("texts", "another text in each row", "column id is left out: another text in each row"),
        ("fractions", None, None),
    ],
)
def test_an_id_is_left_out_or_told(how: str, dropped: str | None, told: str | None) -> None:
    found = describe(pd.DataFrame({"id": texts(IDS[how]), "size": texts(RNG.normal(size=60))}))
    assert found.dropped.get("id") == dropped
    assert found.numbers == (("size",) if dropped else ("id", "size"))
    assert found.notes == ((told,) if told else ())


def test_a_number_of_the_row_that_is_kept_is_a_feature_and_tells_rows_apart() -> None:
    """A table of years, say; six of each row otherwise."""
    rows = pd.DataFrame({"year": texts(1960 + IDS["in order"]), "colour": list("rgb" * 20)})
    assert describe(rows).dropped == {"year": "a number of the row"}
    found = describe(rows, ("year",))
    assert found.numbers == ("year",)
    assert not found.notes
    assert len(set(repeats(rows, ("year",)))) == 60
    assert len(set(repeats(rows))) == 3


def test_a_column_by_which_the_rows_are_sorted_is_told() -> None:
    sizes = np.sort(RNG.normal(size=60))
    for way, values in (("rises", sizes), ("falls", sizes[::-1])):
        found = describe(pd.DataFrame({"size": texts(values), "colour": list("rgb" * 20)}))
        assert found.numbers == ("size",)
        assert found.notes == (
            f"column size {way} from row to row: it is no feature if it tells where in the file a row stands",
        )


def test_a_table_of_nothing_but_a_number_of_the_row_keeps_it() -> None:
    found = describe(pd.DataFrame({"time": texts(np.arange(60))}))
    assert (found.numbers, found.dropped) == (("time",), {})
    assert found.notes == ("column time may be no more than a number of the row",)


def test_words_for_missing_values_are_such_among_numbers_alone() -> None:
    """7 % of a column that is `?` once made a category of each number."""
    ages = ["?" if row % 14 == 0 else str(row % 40) for row in range(280)]
    jobs = [("?", "None", "NA", "clerk")[row % 3] for row in range(280)]
    found = describe(pd.DataFrame({"age": ages, "job": jobs}))
    assert (found.numbers, found.categories) == (("age",), ("job",))
    numbers = read_numbers(pd.Series([*ages, "NA", " null ", "12.5", "old", "inf", None]))
    assert len(numbers.words) == 22
    assert numbers.unread.tolist() == ["old"]
    assert numbers.num_infinite == 1
    assert int(np.isnan(numbers.values).sum()) == 25
