"""Labelled texts: read, cleaned, split; knows nothing of models or trials.

A data set is two reads that never meet: `load_development`, whose rows training and validation share, and
`load_test`. What was left out, and what is doubtful, is told in sentences.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from trainables.data.csv_file import read_csv
from trainables.data.splits import SPLIT_SEED, TEST_SHARE, VALIDATION_SHARE, merged_groups, split_rows
from trainables.data.trees import DATA_ENV, MOST_NAMED, group_of

# A class needs one row to train on and one to validate with, and some more for either to mean anything.
FEWEST_ROWS = 4
# The label of a text whose class no model was trained on.
UNKNOWN = -1


@dataclass(frozen=True)
class Source:
    """Where texts come from.

    Attributes:
        dataset: `banking77`, a CSV file with a header, a folder with train.csv and test.csv, or a tree with a folder
            of .txt files for each class, which may be below train/ and test/.
        text_column, label_column: of CSV files; text and label, or else the first and the last one, if empty.
        test_dataset: a CSV file with the test rows; if empty, and none comes with `dataset`, a fifth is set apart.
        unknown_classes: so many classes are never trained on: their texts are for telling what no class fits.
        group_column: of a CSV file: rows with the same value there, such as one customer's, are not parted by a split;
            where it is empty, those with the same text are not.
        group: a regular expression: the same of a tree's files in whose names it finds the same text.
    """

    dataset: str
    text_column: str = ""
    label_column: str = ""
    test_dataset: str = ""
    unknown_classes: int = 0
    group_column: str = ""
    group: str = ""


@dataclass(frozen=True)
class Texts:
    """Texts and their classes: `labels`, int64 `[n]`, are indices of `class_names`, or `UNKNOWN`."""

    texts: tuple[str, ...]
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: torch.Tensor) -> "Texts":
        return Texts(tuple(self.texts[i] for i in rows.tolist()), self.labels[rows], self.class_names)


@dataclass(frozen=True)
class Development:
    """What training and the search see; `notes` are sentences on what was left out or is doubtful."""

    train: Texts
    validation: Texts
    notes: tuple[str, ...]


class Row(NamedTuple):
    """A text and the name of its class, as they are written, and the group it may not be parted from, if any."""

    text: str
    label: str
    group: str


Rows = list[Row]


def load_development(source: Source) -> Development:
    """The training and the validation set: the same rows each time, with all classes in proportion.

    Raises ValueError for data that can't be used.
    """
    rows, notes = _read(source, False)
    names = _class_names(rows)
    known, unknown, of_test = _roles(names, source.unknown_classes)
    held_out, rest = _split(rows, names, VALIDATION_SHARE)
    validation = [row for row in held_out if row.label in known or row.label in unknown]
    train = [row for row in rest if row.label in known]
    if unknown:
        dropped = len(rows) - len(validation) - len(train)
        notes.append(
            f"never trained on: {', '.join(sorted({*unknown, *of_test}))}; {dropped} of {len(rows)} texts were left out"
        )
    return Development(_labelled(train, known), _labelled(validation, known), tuple(notes))


def load_test(source: Source) -> tuple[Texts, tuple[str, ...]]:
    """The test set, that no search may see, and what there is to tell of it."""
    development, _ = _read(source, False)
    rows, notes = _read(source, True)
    names = _class_names(development)
    if strangers := sorted({row.label for row in rows} - set(names)):
        raise ValueError(f"the test texts have classes that the training texts have not: {_named(strangers)}")
    known, unknown, of_test = _roles(names, source.unknown_classes)
    if of_test:
        rows = [row for row in rows if row.label in known or row.label in of_test]
        notes.append(f"unknown in the test: {', '.join(of_test)}; in the validation: {', '.join(unknown)}")
    seen = {_normal(row.text) for row in development}
    if leaked := sum(_normal(row.text) in seen for row in rows):
        notes.append(f"{leaked} of {len(rows)} test texts stand among the training texts as well")
    groups = {row.group for row in development if row.group}
    if shared := sum(row.group in groups for row in rows):
        notes.append(f"{shared} of {len(rows)} test texts are of groups that training texts are of as well")
    return _labelled(rows, known), tuple(notes)


def find_dataset(name: str) -> str:
    """The path of a data set by its name, or the path that was given; ValueError where there is nothing."""
    if name in DATASETS:
        return str(DATASETS[name]())
    if not Path(name).expanduser().exists():
        raise ValueError(
            f"dataset {name!r} is neither one of {', '.join(DATASETS)} nor a path; give a CSV file with the columns "
            "text and label, or a tree with a folder of .txt files for each class"
        )
    return str(Path(name).expanduser())


def find_file(name: str) -> None:
    """ValueError where a file is named that is not there."""
    if name and not Path(name).expanduser().is_file():
        raise ValueError(f"there is no file {name}; give the path of one, or leave it out")


def _banking77() -> Path:
    folder = Path(os.environ.get(DATA_ENV, "")) / "text" / "banking77"
    if DATA_ENV not in os.environ or not folder.is_dir():
        raise ValueError(
            f"Banking77 is looked for in text/banking77 of the folder that {DATA_ENV} names; put its train.csv and "
            "test.csv there (github.com/PolyAI-LDN/task-specific-datasets), or give their folder as the dataset"
        )
    return folder


DATASETS: dict[str, Callable[[], Path]] = {"banking77": _banking77}


def _read(source: Source, test: bool) -> tuple[Rows, list[str]]:
    """The rows of one part, cleaned; where the data set comes in one piece a fifth of it is the test set."""
    path = Path(find_dataset(source.dataset))
    train = next((path / name for name in ("train.csv", "train") if (path / name).exists()), path)
    own = path / train.name.replace("train", "test")
    held_out = Path(source.test_dataset).expanduser() if source.test_dataset else own
    has_test = bool(source.test_dataset) or (train != path and own.exists())
    if train == path and (strays := [name for name in ("test", "test.csv") if (path / name).exists()]):
        raise ValueError(f"{path} has {strays[0]} but no train beside it: put the training texts there")
    if test and has_test:
        return _cleaned(*_read_place(held_out, source, is_given=True), are_all_kept=True)
    rows, notes = _cleaned(*_read_place(train, source))
    if has_test:
        return rows, notes
    return _split(rows, _class_names(rows), TEST_SHARE)[0 if test else 1], notes


def _split(rows: Rows, names: Sequence[str], share: float) -> tuple[Rows, Rows]:
    """That share of the rows, and the rest; both with all classes in proportion."""
    groups = merged_groups([_normal(row.text) for row in rows], [row.group or None for row in rows])
    parts = split_rows(_indices(rows, names), share, groups)
    part, rest = ([rows[i] for i in some.tolist()] for some in parts)
    if missing := sorted(set(names) - {row.label for row in rest}):
        raise ValueError(f"all texts of {_named(missing)} are of groups on one side of a split; add texts of others")
    return part, rest


def _read_place(path: Path, source: Source, *, is_given: bool = False) -> tuple[Rows, list[str]]:
    """The rows of a file or a tree; of a test set that `is_given`, with their groups where it has them."""
    if path.is_dir():
        if source.group_column and not is_given:
            raise ValueError(f"group_column: {path} is a tree of files, which has no columns; give group in its place")
        return _read_tree(path, source.group)
    if source.group and not is_given:
        raise ValueError(f"group: {path} is a file, and group is for a tree of files; give group_column in its place")
    return _read_csv(path, source, is_given), []


def _read_csv(path: Path, source: Source, is_given: bool) -> Rows:
    table = read_csv(path).fillna("")
    has_groups = bool(source.group_column) and (source.group_column in table.columns or not is_given)
    columns = [
        source.text_column or ("text" if "text" in table.columns else str(table.columns[0])),
        source.label_column or ("label" if "label" in table.columns else str(table.columns[-1])),
        *([source.group_column] if has_groups else []),
    ]
    if wrong := [column for column in columns if column not in table.columns]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, wrong))}; it has {', '.join(table.columns)}")
    text, label, *group = columns
    if text == label:
        raise ValueError(f"{path} has one column only, {text!r}: a text and a label are needed")
    groups = table[group[0]] if group else [""] * len(table)
    rows = zip(table[text], table[label], groups, strict=True)
    return [Row(text, label, group) for text, label, group in rows]


def _read_tree(root: Path, group: str) -> tuple[Rows, list[str]]:
    rows: Rows = []
    loose = len(list(root.glob("*.txt")))
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = sorted(folder.rglob("*.txt"))
        if not files:
            raise ValueError(f"{folder} has no .txt files; each class needs some")
        others = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt"]
        if strays := sorted(str(path) for path in others if not path.name.startswith(".")):
            raise ValueError(f"files other than .txt, turn them into such or move them away: {_named(strays)}")
        try:
            texts = [path.read_text(encoding="utf-8") for path in files]
        except UnicodeDecodeError as error:
            raise ValueError(f"a file in {folder} is no UTF-8 text: {error}") from error
        groups = [group_of(path, group) if group else "" for path in files]
        rows += [Row(text, folder.name, one) for text, one in zip(texts, groups, strict=True)]
    return rows, [f"{loose} files in {root} are in no class's folder and were left out"] * bool(loose)


def _cleaned(rows: Rows, notes: list[str], *, are_all_kept: bool = False) -> tuple[Rows, list[str]]:
    """The rows with a text and a label, each pair once, and what there is to tell of the others.

    Args:
        are_all_kept: repeated rows as well: a test set that is given is the one that others have measured on.
    """
    whole = [Row(" ".join(row.text.split()), row.label.strip(), row.group) for row in rows]
    whole = [row for row in whole if row.text and row.label]
    first: dict[tuple[str, str], Row] = {}
    for row in whole:
        first.setdefault((row.text, row.label), row)
    kept = whole if are_all_kept else list(first.values())
    labels = Counter(text for text, _ in {(_normal(row.text), row.label) for row in kept})
    torn = sum(count > 1 for count in labels.values())
    notes = list(notes)
    if len(whole) < len(rows):
        notes.append(f"{len(rows) - len(whole)} of {len(rows)} rows have no text or no label and were left out")
    if repeated := len(whole) - len(first):
        what = "count again" if are_all_kept else "were left out"
        notes.append(f"{repeated} of {len(rows)} rows were there before and {what}")
    if torn:
        notes.append(f"{torn} texts have more than one label; they were kept")
    return kept, notes


def _normal(text: str) -> str:
    """Of texts that differ in case and spaces only, the same."""
    return " ".join(text.casefold().split())


def _class_names(rows: Rows) -> list[str]:
    counts = Counter(row.label for row in rows)
    if len(counts) < 2:
        raise ValueError(f"the texts must be of two or more classes; found {_named(sorted(counts)) or 'no texts'}")
    if rare := sorted(name for name, count in counts.items() if count < FEWEST_ROWS):
        raise ValueError(
            f"classes with fewer than {FEWEST_ROWS} texts can't be learned and validated: {_named(rare)}; "
            "add texts, or leave these classes out"
        )
    return sorted(counts)


def _roles(names: Sequence[str], unknown: int) -> tuple[list[str], list[str], list[str]]:
    """The classes that are trained on, and those that are unknown in the validation, and in the test.

    The latter two are others, so that the test tells of classes that nobody has seen, but for a single one. Which they
    are depends on their names alone.
    """
    if len(names) - unknown < 2:
        raise ValueError(f"unknown_classes {unknown} leaves fewer than 2 of {len(names)} classes to be trained on")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    cut = unknown // 2
    of_test, of_validation = order[cut:unknown], order[:cut] or order[:unknown]
    known, validation, test = (sorted(names[i] for i in part) for part in (order[unknown:], of_validation, of_test))
    return known, validation, test


def _indices(rows: Rows, names: Sequence[str]) -> torch.Tensor:
    place = {name: index for index, name in enumerate(names)}
    return torch.tensor([place.get(row.label, UNKNOWN) for row in rows], dtype=torch.int64)


def _labelled(rows: Rows, names: Sequence[str]) -> Texts:
    return Texts(tuple(row.text for row in rows), _indices(rows, names), tuple(names))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
