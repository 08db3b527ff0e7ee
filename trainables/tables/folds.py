"""Which rows of a table stay together, and how they are parted: folds with the target in proportion.

Knows nothing of files or models.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from trainables.data.splits import stratified_order
from trainables.tables.columns import MISSING_WORDS

# A target of numbers is taken for classes where it has no more different ones than this, all of them whole.
MOST_CLASSES = 20
# Targets of a regression are split in proportion within as many equal parts.
TARGET_PARTS = 10


def fold_numbers(strata: npt.NDArray[Any], groups: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """The number of each row's fold, 0 to `count` - 1: strata in proportion, no group in two folds."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) < count:
        raise ValueError(
            f"{len(first)} groups of rows are too few for {count} parts: rows that are the same, or of one group, stay "
            "together"
        )
    order = stratified_order(torch.from_numpy(_strata(strata[first]))).numpy()
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) * count // len(first)
    return np.asarray(fold[inverse])


def groups_of(rows: pd.DataFrame, copies: npt.NDArray[np.int64], group: str) -> npt.NDArray[np.int64]:
    """Of rows with a number, alike for copies."""
    if not group:
        return copies
    # Without a group a row is one of its own, with its copies that have none either.
    codes = pd.factorize(rows[group])[0].astype(np.int64)
    return np.where(codes < 0, codes.max(initial=0) + 1 + copies, codes)


def told_of_groups(
    rows: pd.DataFrame, copies: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], group: str
) -> list[str]:
    """Sentences on the rows that stay together, and those that should."""
    sentences = []
    num_copies = int(pd.Series(copies).duplicated(keep=False).sum())
    if num_copies and not group:
        sentences.append(f"{num_copies} of {len(rows)} rows have copies, which stay on one side of each split")
    elif num_copies:
        num_groups = pd.Series(groups).groupby(copies).transform("nunique")
        if num_apart := int((num_groups > 1).sum()):
            sentences.append(f"{num_apart} of {len(rows)} rows have copies in another group, maybe beyond a split")
    if group:
        values = rows[group]
        if num_empty := int(values.isna().sum()):
            sentences.append(f"{num_empty} of {len(rows)} rows have no {group}: each is a group of its own")
        words = values[values.astype(str).str.strip().str.casefold().isin(MISSING_WORDS) & values.notna()]
        sentences += [
            f"{count} rows have the {group} {word!r}, which is one group: leave the cells empty if they have none"
            for word, count in words.value_counts().items()
        ]
    return sentences


def _strata(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Few different values as they are, many in parts of equal size."""
    codes, unique = pd.factorize(values, sort=True)
    if len(unique) <= MOST_CLASSES or values.dtype.kind != "f":
        return codes.astype(np.int64)
    return pd.qcut(values, TARGET_PARTS, labels=False, duplicates="drop").astype(np.int64)
