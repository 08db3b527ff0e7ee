"""Sentences of tagged words in CoNLL's columns: read, cleaned, split; knows nothing of models or trials.

A data set is two reads that never meet: `load_development`, whose sentences training and validation share, and
`load_test`. What was left out, and what is doubtful, is told in sentences.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from trainables.data.splits import TEST_SHARE, VALIDATION_SHARE, split_rows
from trainables.data.trees import DATA_ENV, MOST_NAMED
from trainables.text.entities import OUTSIDE

_PREFIXES = ("B-", "I-")
_DOCUMENT_START = "-DOCSTART-"
GROUPS = ("", "document")


@dataclass(frozen=True)
class Source:
    """Where sentences come from: a word a line, its tag in the last column, an empty line between sentences.

    Attributes:
        dataset: `wnut17`, or a file of training sentences.
        validation_dataset, test_dataset: files; if empty, and none comes with `dataset`, a part of it is set apart.
        group: one of `GROUPS`: `document` sets whole documents apart, which begin with a line of -DOCSTART-.
    """

    dataset: str
    validation_dataset: str = ""
    test_dataset: str = ""
    group: str = ""


@dataclass(frozen=True)
class Sentences:
    """Words and tags of each sentence, as many of the one as of the other, and the number of its document."""

    words: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    documents: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.words)

    def take(self, rows: list[int]) -> "Sentences":
        words, tags = (tuple(column[i] for i in rows) for column in (self.words, self.tags))
        return Sentences(words, tags, tuple(self.documents[i] for i in rows))


@dataclass(frozen=True)
class Development:
    """What training and the search see.

    Attributes:
        tags: those of the training sentences, `O` first; a tag's place is its class.
        notes: sentences on what was left out or is doubtful.
    """

    train: Sentences
    validation: Sentences
    tags: tuple[str, ...]
    notes: tuple[str, ...]


def load_development(source: Source) -> Development:
    """The training and the validation set, the same each time. Raises ValueError for data that can't be used."""
    train, validation, _ = _files(source)
    rows, notes = _cleaned(_read(train))
    rows = _without_test(rows, source)
    if validation is None:
        held_out, rows = _split(rows, VALIDATION_SHARE, source)
    else:
        held_out, more = _cleaned(_read(validation))
        notes += [f"{validation.name}: {note}" for note in more]
    tags = (OUTSIDE, *sorted(_tags(rows) - {OUTSIDE}))
    if len(tags) == 1:
        raise ValueError(f"{train} has no named entities: every tag is {OUTSIDE}")
    if unseen := _tags(held_out) - set(tags):
        notes.append(f"tags of validation words that no training word has, never found: {', '.join(sorted(unseen))}")
    return Development(rows, held_out, tags, tuple(notes))


def load_test(source: Source) -> tuple[Sentences, tuple[str, ...]]:
    """The test set, that no search may see, and what there is to tell of it."""
    train, _, test = _files(source)
    development, _ = _cleaned(_read(train))
    notes: list[str] = []
    if test is None:
        rows = _split(development, TEST_SHARE, source)[0]
        development = _without_test(development, source)
    else:
        rows, notes = _cleaned(_read(test), are_all_kept=True)
    if unseen := _tags(rows) - _tags(development):
        notes.append(f"tags of test words that no training word has, never found: {', '.join(sorted(unseen))}")
    seen = set(development.words)
    leaked = sum(words in seen for words in rows.words)
    if leaked:
        notes.append(f"{leaked} of {len(rows)} test sentences stand among the training sentences as well")
    return rows, tuple(notes)


def _tags(sentences: Sentences) -> set[str]:
    return {tag for each in sentences.tags for tag in each}


def find_dataset(name: str) -> None:
    """ValueError where there is no data set of this name, nor a file at this path."""
    _files(Source(name))


def _wnut17() -> tuple[Path, Path, Path]:
    folder = Path(os.environ.get(DATA_ENV, "")) / "ner" / "wnut17"
    if DATA_ENV not in os.environ or not folder.is_dir():
        raise ValueError(
            f"WNUT-17 is looked for in ner/wnut17 of the folder that {DATA_ENV} names; put its wnut17train.conll, "
            "emerging.dev.conll and emerging.test.annotated there (github.com/leondz/emerging_entities_17)"
        )
    return folder / "wnut17train.conll", folder / "emerging.dev.conll", folder / "emerging.test.annotated"


DATASETS: dict[str, Callable[[], tuple[Path, Path, Path]]] = {"wnut17": _wnut17}


def _files(source: Source) -> tuple[Path, Path | None, Path | None]:
    """Of training, validation and test; None for what is to be set apart."""
    validation, test = (_path(text) for text in (source.validation_dataset, source.test_dataset))
    if source.dataset in DATASETS:
        train, own_validation, own_test = DATASETS[source.dataset]()
        return train, validation or own_validation, test or own_test
    train = Path(source.dataset).expanduser()
    if not train.is_file():
        raise ValueError(
            f"dataset {source.dataset!r} is neither one of {', '.join(DATASETS)} nor a file; give the path of one with "
            "a word and its tag in each line and an empty line between sentences"
        )
    return train, validation, test


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _read(path: Path) -> Sentences:
    words: list[tuple[str, ...]] = []
    tags: list[tuple[str, ...]] = []
    documents: list[int] = []
    document = 0
    sentence: list[tuple[str, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as UTF-8 text: {error}") from error
    wrong = []
    for number, line in enumerate([*lines, ""], 1):
        columns = line.split("\t") if "\t" in line else line.split()
        is_start = columns[:1] == [_DOCUMENT_START]
        if is_start or not line.strip():
            if sentence:
                words.append(tuple(word for word, _ in sentence))
                tags.append(tuple(tag for _, tag in sentence))
                documents.append(document)
            sentence = []
            document += is_start
            continue
        tag = columns[-1].strip()
        if len(columns) < 2 or (tag != OUTSIDE and not (tag[:2] in _PREFIXES and tag[2:])):
            wrong.append(f"line {number}: {line.strip()[:40]!r}")
            continue
        sentence.append((columns[0].strip(), tag))
    if wrong:
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise ValueError(
            f"{path} has lines that are no word and tag (O, B-KIND or I-KIND): {'; '.join(wrong[:MOST_NAMED])}{more}"
        )
    if not words:
        raise ValueError(f"{path} has no sentences")
    return Sentences(tuple(words), tuple(tags), tuple(documents))


def _cleaned(rows: Sentences, *, are_all_kept: bool = False) -> tuple[Sentences, list[str]]:
    """Each sentence once, and what there is to tell of the others.

    Args:
        are_all_kept: repeated ones as well: a test set that is given is the one that others have measured on.
    """
    first: dict[tuple[str, ...], int] = {}
    torn = 0
    for number, words in enumerate(rows.words):
        torn += rows.tags[first.setdefault(words, number)] != rows.tags[number]
    notes = []
    if len(first) < len(rows):
        what = "count again" if are_all_kept else "were left out"
        notes.append(f"{len(rows) - len(first)} of {len(rows)} sentences were there before and {what}")
    if torn:
        notes.append(f"{torn} of these were tagged otherwise")
    return rows if are_all_kept else rows.take(list(first.values())), notes


def _split(rows: Sentences, share: float, source: Source) -> tuple[Sentences, Sentences]:
    """That share of the sentences or of the documents, and the rest; always the same ones."""
    if source.group and len(set(rows.documents)) == 1:
        raise ValueError(
            f"group: 'document' needs lines that begin with {_DOCUMENT_START}, one before each document, and "
            f"{source.dataset} has no two; leave group out to part it by sentences"
        )
    has_entity = torch.tensor([set(tags) != {OUTSIDE} for tags in rows.tags])
    parts = split_rows(has_entity, share, rows.documents if source.group else None)
    held_out, rest = (rows.take(sorted(part.tolist())) for part in parts)
    return held_out, rest


def _without_test(rows: Sentences, source: Source) -> Sentences:
    return rows if _files(source)[2] is not None else _split(rows, TEST_SHARE, source)[1]
