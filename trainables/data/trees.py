"""Files in a tree with a folder for each class, which may be below train/, test/ and val/; not what is in them."""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainables.data.splits import TEST_SHARE, VALIDATION_SHARE, merged_groups, split_rows, told_of_copies

# The folder that data sets are looked for in.
DATA_ENV = "TUNER_DATA"
MOST_NAMED = 5
# One file of a class is to be trained on, validated and tested with.
FEWEST = 3
# Beside train/ and test/.
VALIDATION_FOLDERS = ("val", "valid", "validation")


@dataclass(frozen=True)
class TreePart:
    """Files and their classes.

    Attributes:
        labels: int64 `[n]`, indices of `class_names`.
        notes: tell what was left out, and what is doubtful.
        contents: the same of files that are the same, byte by byte.
    """

    files: list[Path]
    labels: torch.Tensor
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    contents: list[bytes]

    def take(self, rows: torch.Tensor) -> "TreePart":
        files, contents = ([column[row] for row in rows.tolist()] for column in (self.files, self.contents))
        return replace(self, files=files, labels=self.labels[rows], contents=contents)

    def noted(self, *notes: str) -> "TreePart":
        return replace(self, notes=(*self.notes, *notes))

    def split(self, share: float, group: str) -> tuple["TreePart", "TreePart"]:
        """That share of the files, and the rest; both with all classes in proportion. Copies are not parted.

        Args:
            group: a regular expression: files in whose names it finds the same text are not parted; empty for none.
        """
        groups = merged_groups(self.contents, self.groups(group))
        by = f"group {group!r}" if group else "what has copies"
        return self.parted(*split_rows(self.labels, share, groups), by)

    def groups(self, group: str) -> list[str | None]:
        """Of each file, by that regular expression; None where it is of none."""
        return [(group_of(path, group) if group else "") or None for path in self.files]

    def told_of_groups(self, training: "TreePart", part: str, group: str) -> tuple[str, ...]:
        """A sentence on files of a given part whose groups are those of training files too; none if there are none."""
        known = set(training.groups(group)) - {None}
        count = sum(one in known for one in self.groups(group))
        told = f"{count} of {len(self.files)} {part} files are of groups that training files are of as well"
        return (told,) if count else ()

    def parted(self, part: torch.Tensor, rest: torch.Tensor, by: str) -> tuple["TreePart", "TreePart"]:
        """These rows, and the rest; raises ValueError, naming what has parted them so, where that lacks a class."""
        if missing := [name for label, name in enumerate(self.class_names) if label not in self.labels[rest]]:
            raise ValueError(f"{by} puts all files of {', '.join(missing)} on one side of a split")
        return self.take(part), self.take(rest)


def check_group(pattern: str) -> None:
    """Raises ValueError where it is no regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group {pattern!r} is no regular expression: {error}") from error


def group_of(path: Path, pattern: str) -> str:
    """What the regular expression finds in the file's name; empty where that is nothing."""
    found = re.search(pattern, path.name)
    return found.group() if found else ""


def read_part(root: Path, test: bool | None, suffixes: Collection[str], group: str = "") -> TreePart:
    """What is below train/ or test/, or some of what is there where one is missing; raises ValueError that says why.

    Args:
        test: None for all that is there, in a tree that has neither.
        suffixes: of files that count, with their dots, in small letters.
        group: as in `TreePart.split`.
    """
    has_parts = test is not None and (root / "train").is_dir()
    if (root / "test").is_dir() and not has_parts and test is not None:
        raise ValueError(f"{root} has test/ but no train/ beside it: put the training files into train/")
    has_test = has_parts and (root / "test").is_dir()
    below = root / "train" if has_parts else root
    whole = _list(below, _class_names(below), suffixes)
    if test and has_test:
        given = _list(root / "test", _class_names(below), suffixes)
        return given.noted(*given.told_of_groups(whole, "test", group))
    if test is None or has_test:
        return whole
    if few := [name for name, count in zip(whole.class_names, whole.labels.bincount(), strict=True) if count < FEWEST]:
        raise ValueError(f"{below} has fewer than {FEWEST} files of {', '.join(few)}: too few to set some apart")
    return whole.split(TEST_SHARE, group)[0 if test else 1]


def with_validation(root: Path, part: TreePart, suffixes: Collection[str], group: str) -> tuple[TreePart, TreePart]:
    """The training and the validation files, of those for development.

    The latter are what is below val/, valid/ or validation/, beside train/, or else a sixth.
    """
    for name in VALIDATION_FOLDERS:
        if (root / "train").is_dir() and (root / name).is_dir():
            given = _list(root / name, _class_names(root / "train"), suffixes)
            return part, given.noted(*given.told_of_groups(part, "validation", group))
    validation, train = part.split(VALIDATION_SHARE, group)
    return train, validation


def told_unreadable(what: str, found: Sequence[str]) -> str:
    """A sentence on files that can't be read, the first few of them by name."""
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"unreadable {what}, mend or remove them: {'; '.join(found[:MOST_NAMED])}{more}"


def _class_names(root: Path) -> list[str]:
    names = _subfolders(root)
    if len(names) < 2:
        raise ValueError(f"{root} must hold a folder of files for each of two or more classes; it has {len(names)}")
    return names


def _subfolders(folder: Path) -> list[str]:
    """Those that begin with a dot or an underscore hold other things, such as background noise."""
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    return sorted(name for name in names if not name.startswith((".", "_")))


def _list(folder: Path, names: list[str], suffixes: Collection[str]) -> TreePart:
    if unknown := set(_subfolders(folder)) - set(names):
        raise ValueError(f"{folder} has classes that the training files have not: {', '.join(sorted(unknown))}")
    files, labels, empty, others = [], [], [], 0
    for label, name in enumerate(names):
        there = [path for path in (folder / name).rglob("*") if path.is_file() and not path.name.startswith(".")]
        found = sorted(path for path in there if path.suffix.lower() in suffixes)
        others += len(there) - len(found)
        files += found
        labels += [label] * len(found)
        if not found:
            empty.append(name)
    if empty:
        raise ValueError(f"{folder} has no files of {', '.join(empty)} ({', '.join(sorted(suffixes))})")
    kinds = ", ".join(sorted(suffixes))
    notes = [f"{others} files below {folder} are of other kinds than {kinds} and were left out"] if others else []
    if loose := sum(path.is_file() and path.suffix.lower() in suffixes for path in folder.iterdir()):
        notes.append(f"{loose} files in {folder} are in no class's folder and were left out")
    if aside := sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("_")):
        notes.append(f"no classes, by their first character: {', '.join(aside)}")
    contents = [_content(path) for path in files]
    notes += told_of_copies(f"files below {folder}", contents, labels)
    return TreePart(files, torch.tensor(labels), tuple(names), tuple(notes), contents)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:  # who reads it tells of it, and of others
        return str(path).encode()
