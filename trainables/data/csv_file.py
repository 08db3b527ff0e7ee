"""CSV files with a header, read as texts: what is a number is for others to say.

An empty cell alone is missing: a class, a category or an item may be called None, NA or null.
"""

from pathlib import Path
from typing import Any

import pandas as pd


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """A table of texts, NaN where a cell is empty; raises ValueError, with the reason, for a file that is none.

    Args:
        options: more of `pandas.read_csv`.
    """
    try:
        table: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read as a CSV file with a header: {error}") from error
    # pandas takes what the header does not name for the names of rows, and moves all columns.
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path} has rows with more fields than its header: put texts with separators into quotes")
    return table
