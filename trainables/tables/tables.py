"""Tables of numbers and categories: read, cleaned, split, folded, encoded; knows nothing of models or trials.

A table is two reads that never meet: `load_development`, whose rows the folds of the cross-validation share, and
`load_test`. What a column is, and which are of no use, is decided on the development rows alone.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from trainables.data.csv_file import read_csv
from trainables.tables.columns import describe, read_numbers, repeats, words_told
from trainables.tables.folds import MOST_CLASSES, fold_numbers, groups_of, told_of_groups

TASKS = ("auto", "classification", "regression")
TEST_FOLDS = 5  # one of them is the test set of a table that comes in one piece
# Of each class that a fold leaves to be trained on: svm finds a temperature on three parts of them.
FEWEST_TRAINED_ROWS = 3

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Source:
    """Where rows come from, and what is asked of them.

    Attributes:
        dataset: a bundled data set's name, or the path of a CSV file with a header, or of arrays X and y (.npz).
        target: the column to be predicted; the last one if empty.
        task: auto tells by the target.
        group: a column whose equal values stay on one side of every split; a row without one is a group of its own. If
            empty, identical rows stay together.
        test_dataset: a CSV file with the test rows; if empty, one of `TEST_FOLDS` parts of `dataset` is set apart.
        test_fold: which part, from 0.
        keep: columns that are features though they look like IDs, joined by `+`.
    """

    dataset: str
    target: str = ""
    task: str = "auto"
    group: str = ""
    test_dataset: str = ""
    test_fold: int = 0
    keep: str = ""

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(name for name in self.keep.split("+") if name)


@dataclass(frozen=True)
class Table:
    """Rows as they are, not yet encoded.

    Attributes:
        numbers: float64 `[n, number columns]`, NaN where missing.
        categories: texts `[n, category columns]`, empty where missing.
        target: int64 class indices or float64 values, `[n]`.
        groups: int64 `[n]`, alike for rows that must stay together.
    """

    numbers: Floats
    categories: Texts
    target: npt.NDArray[Any]
    groups: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: npt.NDArray[Any]) -> "Table":
        return Table(self.numbers[rows], self.categories[rows], self.target[rows], self.groups[rows])


@dataclass(frozen=True)
class Schema:
    """What the development rows have told of the columns.

    Attributes:
        classes: names of the classes, empty for a regression.
        dropped: columns that are of no use, and why.
    """

    target: str
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    classes: tuple[str, ...]
    dropped: Mapping[str, str]

    @property
    def is_classification(self) -> bool:
        return bool(self.classes)


@dataclass(frozen=True)
class Development:
    """What training and the search see, and what was left out of it.

    Attributes:
        told: counts of rows and values, to be shown to people.
        groups: the values of the group column, if there is one.
    """

    schema: Schema
    table: Table
    told: Mapping[str, Any]
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class HeldOut:
    """The test set, that no search may see."""

    table: Table
    told: Mapping[str, Any]


BUNDLED: dict[str, Callable[[], Any]] = {
    "breast_cancer": load_breast_cancer,
    "wine": load_wine,
    "digits": load_digits,
    # Its usual form is scaled by all rows, those of the test set among them.
    "diabetes": lambda: load_diabetes(scaled=False),
}


def check_source(name: str) -> None:
    """Raises ValueError where `name` is neither a bundled data set nor a file."""
    if name not in BUNDLED and not Path(name).expanduser().is_file():
        raise ValueError(f"dataset {name!r} is neither one of {', '.join(BUNDLED)} nor a file; give a CSV file's path")


def load_development(source: Source) -> Development:
    """All rows but the test set's: the same ones each time, with the target in proportion."""
    frame, target = _read(source.dataset, source.target)
    rows, told, notes = _cleaned(frame, target, source.task)
    if not source.test_dataset:
        rows = rows[_test_part(rows, target, source) != source.test_fold]
    schema, doubts = _schema(rows, target, source)
    copies = repeats(_features(rows, target, source), source.kept)
    groups = groups_of(rows, copies, source.group)
    table, unread, of_cells = _table(rows, schema, groups)
    sentences = [*notes, *doubts, *of_cells, *told_of_groups(rows, copies, groups, source.group)]
    told = {**told, "rows_used": len(table), **unread, "columns_dropped": schema.dropped, "notes": sentences}
    names = frozenset(rows[source.group].dropna().astype(str)) if source.group else frozenset()
    return Development(schema, table, told, names)


def load_test(source: Source, development: Development) -> HeldOut:
    """The test rows, read as the development rows' schema says.

    Raises ValueError for classes that are not among these. What is told holds how many rows also stand there.
    """
    frame, target = _read(source.test_dataset or source.dataset, source.target)
    rows, told, notes = _cleaned(frame, target, source.task)
    if not source.test_dataset:
        rows = rows[_test_part(rows, target, source) == source.test_fold]
    schema = development.schema
    if missing := {schema.target, *schema.numbers, *schema.categories} - {*rows.columns}:
        raise ValueError(f"{source.test_dataset} has no column {', '.join(sorted(missing))}; {source.dataset} has")
    table, unread, of_cells = _table(rows, schema, np.arange(len(rows)))
    in_both = _count_in_both(development.table, table, schema, source.kept)
    # Of a file in one piece the development rows' notes tell what was left out.
    sentences = [*(notes if source.test_dataset else ()), *of_cells]
    if in_both:
        sentences.append(f"{in_both} of {len(table)} test rows stand among the training rows as well")
    if source.group in rows and (in_group := int(rows[source.group].isin(development.groups).sum())):
        sentences.append(f"{in_group} of {len(table)} test rows have a {source.group} of the training rows")
    told = {**told, "rows_used": len(table), **unread, "rows_also_in_training": in_both, "notes": sentences}
    return HeldOut(table, told)


def read_rows(path: str, schema: Schema) -> Table:
    """The rows of a CSV file whose target is not known; raises ValueError where a column is missing."""
    rows = read_csv(Path(path).expanduser(), skipinitialspace=True)
    if missing := [name for name in (*schema.numbers, *schema.categories) if name not in rows.columns]:
        raise ValueError(f"{path} has no column {', '.join(missing)}, which the model was trained on")
    numbers, categories, _, _ = _cells(rows, schema)
    nothing = np.zeros(len(rows), np.int64)
    return Table(numbers, categories, nothing, nothing)


def check_classes(development: Development, folds: int) -> None:
    """Raises ValueError where a class has too few rows for that many folds."""
    schema = development.schema
    fewest = max(folds, ceil(FEWEST_TRAINED_ROWS * folds / (folds - 1)))
    if not schema.is_classification:
        return
    counts = np.bincount(development.table.target, minlength=len(schema.classes))
    few = [f"{name} ({count})" for name, count in zip(schema.classes, counts, strict=True) if count < fewest]
    if few:
        raise ValueError(
            f"target {schema.target!r} needs {fewest} rows of each class for {folds} folds; too few of: "
            f"{', '.join(few)}. Remove or join these classes, or take fewer folds"
        )


def _read(name: str, target: str) -> tuple[pd.DataFrame, str]:
    """The table as it stands, and the name of its target column."""
    if name in BUNDLED:
        bunch = BUNDLED[name]()
        frame = pd.DataFrame(bunch.data, columns=[str(column) for column in bunch.feature_names])
        names = getattr(bunch, "target_names", None)
        frame["target"] = bunch.target if names is None else np.asarray(names)[bunch.target].astype(str)
        return frame, _target_of(frame, target, name)
    path = Path(name).expanduser()
    frame = _of_arrays(path) if path.suffix == ".npz" else read_csv(path, skipinitialspace=True)
    return frame, _target_of(frame, target, name)


def _of_arrays(path: Path) -> pd.DataFrame:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            given = {key: arrays[key] for key in arrays}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as arrays: {error}") from error
    shapes = {key: list(value.shape) for key, value in given.items()}
    x, y = given.get("X", np.empty(0)), given.get("y", np.empty(0))
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"{path} must hold X [rows, columns] and y [rows]; it holds {shapes}")
    return pd.DataFrame(x, columns=[f"x{number}" for number in range(x.shape[1])]).assign(y=y)


def _target_of(frame: pd.DataFrame, target: str, name: str) -> str:
    columns = [str(column) for column in frame.columns]
    if target and target not in columns:
        raise ValueError(f"target {target!r} is no column of {name}; there are {', '.join(columns)}")
    if len(columns) < 2:
        raise ValueError(f"{name} needs a target and one more column; it has {', '.join(columns) or 'none'}")
    return target or columns[-1]


def _cleaned(frame: pd.DataFrame, target: str, task: str) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """The rows with a target, and what is told of the others.

    A word such as NA is a class, unless all other targets are numbers; with the task classification it always is.
    """
    column, notes = frame[target], []
    has_target = column.notna()
    numbers = read_numbers(column)
    if task != "classification" and len(numbers.words) and numbers.are_all and not len(numbers.unread):
        has_target[numbers.words.index] = False
        notes = list(words_told(target, numbers))
    rows = frame[has_target].reset_index(drop=True)
    return rows, {"rows_read": len(frame), "rows_without_target": len(frame) - len(rows)}, notes


def _test_part(rows: pd.DataFrame, target: str, source: Source) -> npt.NDArray[np.int64]:
    groups = groups_of(rows, repeats(_features(rows, target, source), source.kept), source.group)
    return fold_numbers(_codes(rows[target], source.task), groups, TEST_FOLDS)


def _codes(column: "pd.Series[Any]", task: str) -> npt.NDArray[Any]:
    """Numbers where all are and may be no classes, else a number for each text: something to split in proportion by."""
    numeric = pd.to_numeric(column, errors="coerce")
    is_number = task != "classification" and bool(numeric.notna().all())
    return numeric.to_numpy(np.float64) if is_number else pd.factorize(column.astype(str), sort=True)[0]


def _features(rows: pd.DataFrame, target: str, source: Source) -> pd.DataFrame:
    """All columns but the target and the group."""
    if source.group and source.group not in rows.columns:
        raise ValueError(f"group {source.group!r} is no column; there are {', '.join(map(str, rows.columns))}")
    features = rows.drop(columns=[target, *([source.group] if source.group else [])])
    if missing := [name for name in source.kept if name not in features.columns]:
        columns = ", ".join(map(str, features.columns))
        raise ValueError(f"keep: {', '.join(missing)} is no column to predict from; there are {columns}")
    return features


def _schema(rows: pd.DataFrame, target: str, source: Source) -> tuple[Schema, tuple[str, ...]]:
    """And sentences on the columns."""
    classes = _classes(rows[target], source.task)
    columns = describe(_features(rows, target, source), source.kept)
    if not columns.numbers and not columns.categories:
        dropped = columns.dropped or "there is none"
        raise ValueError(f"{source.dataset} has no column to predict {target!r} from: {dropped}")
    return Schema(target, columns.numbers, columns.categories, classes, columns.dropped), columns.notes


def _classes(target: "pd.Series[Any]", task: str) -> tuple[str, ...]:
    """Their names in order, by value where they are numbers; empty for a regression."""
    numeric = pd.to_numeric(target, errors="coerce")
    is_number = bool(np.isfinite(numeric).all())
    is_whole = is_number and bool((numeric % 1 == 0).all())
    if task == "regression" or (task == "auto" and is_number and not (is_whole and numeric.nunique() <= MOST_CLASSES)):
        if not is_number:
            wrong = target[~np.isfinite(numeric)].iloc[0]
            raise ValueError(f"target {target.name!r} is not all numbers, as a regression needs; got {wrong!r}")
        return ()
    names = target.astype(str).unique().tolist()
    if len(names) < 2:
        raise ValueError(f"target {target.name!r} is the same in all rows: {names}")
    return tuple(sorted(names, key=(lambda name: (float(name), name)) if is_number else str))


def _table(
    rows: pd.DataFrame, schema: Schema, groups: npt.NDArray[np.int64]
) -> tuple[Table, dict[str, int], list[str]]:
    """With counts and sentences on cells that hold nothing."""
    numeric, categories, unread, sentences = _cells(rows, schema)
    told = {
        "values_missing": int(np.isnan(numeric).sum() + (categories == "").sum()) - unread,
        "values_no_finite_number": unread,
    }
    return Table(numeric, categories, _target(rows[schema.target], schema), groups), told, sentences


def _cells(rows: pd.DataFrame, schema: Schema) -> tuple[Floats, Texts, int, list[str]]:
    """Numbers and categories as a `Table` has them, how many values were no finite number, and sentences on these."""
    numeric, unread = np.empty((len(rows), len(schema.numbers))), 0
    sentences: list[str] = []
    for index, name in enumerate(schema.numbers):
        numbers = read_numbers(rows[name])
        numeric[:, index] = numbers.values
        unread += len(numbers.unread) + numbers.num_infinite
        sentences += words_told(name, numbers)
    return numeric, rows[list(schema.categories)].fillna("").to_numpy(object), unread, sentences


def _target(column: "pd.Series[Any]", schema: Schema) -> npt.NDArray[Any]:
    if not schema.is_classification:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, copy=True)
        if not np.isfinite(values).all():
            raise ValueError(f"target {schema.target!r} is not a finite number in {(~np.isfinite(values)).sum()} rows")
        return values
    index = {name: number for number, name in enumerate(schema.classes)}
    names = column.astype(str)
    if unknown := sorted(set(names) - set(index)):
        raise ValueError(f"target {schema.target!r} has classes that the training rows have not: {', '.join(unknown)}")
    return names.map(index).to_numpy(np.int64, copy=True)


def _count_in_both(known: Table, asked: Table, schema: Schema, kept: Collection[str]) -> int:
    """How many of the rows asked for stand among those known."""
    numbers, categories = list(schema.numbers), list(schema.categories)
    frames = [
        pd.DataFrame(table.numbers, columns=numbers).join(pd.DataFrame(table.categories, columns=categories))
        for table in (known, asked)
    ]
    codes = repeats(pd.concat(frames, ignore_index=True), kept)
    return int(np.isin(codes[len(known) :], codes[: len(known)]).sum())
