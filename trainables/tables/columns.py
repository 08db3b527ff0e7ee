"""What a table's columns are: numbers, categories, or of no use; which cells are missing, and which rows are the same.

Knows nothing of targets, splits or models.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

# Of the values of a column of numbers so many may be something else; they are counted, and taken to be missing.
MOST_UNREAD = 0.05
# What stands for a missing value in a column whose other cells are numbers, in capitals or not. Elsewhere an empty cell
# alone is missing, since a class or a category may be called None.
MISSING_WORDS = frozenset({"?", "-", "na", "n/a", "#n/a", "nan", "null", "none"})
# A column that is another in each of more rows than these tells them apart, as an ID does.
FEW_ROWS = 20
# Rows that are alike but for a number are copies where there are so many times more pairs of them than by chance.
MORE_THAN_CHANCE = 4

Floats = npt.NDArray[np.float64]

ANOTHER_TEXT = "another text in each row"
ROW_NUMBER = "a number of the row"
_KEEP = " (name it in `keep` if it is a feature, such as a year)"


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers.

    Attributes:
        values: finite, or NaN where there is none, `[n]`.
        words: cells with one of `MISSING_WORDS`, by row.
        unread: cells with anything else that is no number, by row.
        num_infinite: cells with a number that is not finite.
    """

    values: Floats
    words: "pd.Series[str]"
    unread: "pd.Series[str]"
    num_infinite: int

    @property
    def are_all(self) -> bool:
        """Whether the column is one of numbers: all but a few of its values."""
        num_read = int(np.isfinite(self.values).sum()) + self.num_infinite
        return num_read > 0 and len(self.unread) <= MOST_UNREAD * (num_read + len(self.unread))


@dataclass(frozen=True)
class Columns:
    """What columns are.

    Attributes:
        dropped: columns that are of no use, and why.
        notes: sentences on those that were dropped, or may be of no use.
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    dropped: Mapping[str, str]
    notes: tuple[str, ...]


def read_numbers(column: "pd.Series[str]") -> Numbers:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, copy=True)
    texts = column[np.isnan(values) & column.notna().to_numpy(bool)].astype(str)
    is_word = texts.str.strip().str.casefold().isin(MISSING_WORDS)
    is_infinite = np.isinf(values)
    values[is_infinite] = np.nan
    return Numbers(values, texts[is_word], texts[~is_word], int(is_infinite.sum()))


def describe(features: pd.DataFrame, keep: Collection[str] = ()) -> Columns:
    """What the columns of these rows are; a column that is another in each row, as an ID is, is dropped or told.

    Those of `keep` are features though they look like IDs.
    """
    numbers, categories, dropped, notes = [], [], {}, []
    parsed = _parsed(features)
    apart = _telling_apart(parsed, keep)
    for column in parsed.columns:
        values = parsed[column].dropna()
        num_different = values.nunique()
        if num_different == 0 or (num_different == 1 and len(values) == len(parsed)):
            dropped[column] = "empty" if num_different == 0 else "the same in all rows"
        elif not _is_number(values):
            if column in apart:
                dropped[column] = ANOTHER_TEXT
            else:
                categories.append(column)
        elif column in apart and _are_row_numbers(values):
            dropped[column] = ROW_NUMBER
        else:
            numbers.append(column)
            if column in apart:
                notes += _doubts(column, values)
    if not numbers and not categories:
        # A table of nothing else has a sequence to be predicted from.
        numbers = [column for column, reason in dropped.items() if reason == ROW_NUMBER]
        dropped = {column: reason for column, reason in dropped.items() if reason != ROW_NUMBER}
        notes += [f"column {column} may be no more than {ROW_NUMBER}" for column in numbers]
    told = [
        f"column {column} is left out: {reason}{_KEEP if reason == ROW_NUMBER else ''}"
        for column, reason in dropped.items()
    ]
    return Columns(tuple(numbers), tuple(categories), dropped, (*told, *notes))


def repeats(features: pd.DataFrame, keep: Collection[str] = ()) -> npt.NDArray[np.int64]:
    """A number of each row, `[n]`, alike for rows that are the same.

    An ID does not count: the rows are then parted as they are without it. Nor does a number that is another in each
    row, and may be a feature, where the others show that rows were copied: where more rows are alike in all of them
    than chance makes. Those of `keep` do count.
    """
    parsed = _parsed(features)
    apart = _telling_apart(parsed, keep)
    ids = [name for name in apart if not _is_number(parsed[name]) or _are_row_numbers(parsed[name].dropna())]
    rows = parsed.drop(columns=ids) if len(ids) < len(parsed.columns) else parsed
    codes = _codes(rows)
    others = rows.drop(columns=apart, errors="ignore")
    if 0 < len(others.columns) < len(rows.columns):
        without = _codes(others)
        sizes = np.bincount(without).astype(np.float64)
        shares = [np.square(others[name].value_counts(normalize=True, dropna=False)).sum() for name in others]
        by_chance = len(others) * (len(others) - 1) * np.prod(shares)
        if (sizes * (sizes - 1)).sum() > MORE_THAN_CHANCE * by_chance:
            codes = without
    return codes


def words_told(column: str, numbers: Numbers) -> Iterator[str]:
    """Sentences on the cells of a column of numbers that hold none."""
    num_rows = len(numbers.values)
    for cells, what in ((numbers.words, "a word for a missing value"), (numbers.unread, "no number")):
        if len(cells):
            named = ", ".join(repr(text) for text in cells.unique()[:3])
            yield f"column {column}: {len(cells)} of {num_rows} cells are {what} ({named}) and count as missing"


def _parsed(features: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers as numbers, others as they are."""
    read = {str(name): (column, read_numbers(column)) for name, column in features.items()}
    return pd.DataFrame(
        {name: numbers.values if numbers.are_all else column.to_numpy() for name, (column, numbers) in read.items()},
        index=features.index,
    )


def _codes(parsed: pd.DataFrame) -> npt.NDArray[np.int64]:
    return pd.factorize(pd.util.hash_pandas_object(parsed, index=False))[0].astype(np.int64)


def _telling_apart(parsed: pd.DataFrame, keep: Collection[str]) -> list[str]:
    """Columns, but those of `keep`, with another value in each row that is no copy of a whole other one."""
    rows = parsed.drop_duplicates()
    columns = [str(name) for name in rows.columns if str(name) not in keep]
    return [name for name in columns if len(values := rows[name].dropna()) > FEW_ROWS and not values.duplicated().any()]


def _is_number(values: "pd.Series[float]") -> bool:
    return values.dtype.kind in "fiu"


def _are_row_numbers(values: "pd.Series[float]") -> bool:
    """Whole numbers with few gaps among them, in whatever order."""
    is_whole = bool((values % 1 == 0).all())
    return is_whole and values.max() - values.min() < 2 * values.nunique()


def _doubts(column: str, values: "pd.Series[float]") -> list[str]:
    if values.is_monotonic_increasing or values.is_monotonic_decreasing:
        way = "rises" if values.is_monotonic_increasing else "falls"
        return [f"column {column} {way} from row to row: it is no feature if it tells where in the file a row stands"]
    if (values % 1 == 0).all():
        return [f"column {column} is another whole number in each row: it is no feature if it is an ID"]
    return []
