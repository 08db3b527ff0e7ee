import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from trainables.data.trees import DATA_ENV
from trainables.recommending.interactions import Source, find_dataset, load_interactions


def write(folder: Path, rows: Sequence[tuple[object, ...]], items: dict[str, str] | None = None) -> Source:
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["user", "item", "timestamp", "rating"][: len(rows[0])]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "interactions.csv", index=False)
    if items is not None:
        pd.DataFrame(items.items(), columns=["item", "text"]).to_csv(folder / "items.csv", index=False)
    return Source(str(folder))


def test_the_last_items_of_each_user_are_left_out_in_the_order_of_time(tmp_path: Path) -> None:
    rows = [("b", "x", 3), ("a", "z", 9), ("b", "y", 1), ("a", "x", 2), ("b", "z", 2), ("a", "y", 2)]
    data = load_interactions(write(tmp_path, rows))
    assert (data.users, data.items) == (("a", "b"), ("x", "y", "z"))
    names = [[data.items[i] for i in one.tolist()] for one in data.histories(0)]
    # Of two at the same time the one that stands first in the file comes first.
    assert names == [["x", "y", "z"], ["y", "z", "x"]]
    assert [data.items[i] for i in data.left_out(0).tolist()] == ["z", "x"]
    assert [data.items[i] for i in data.left_out(1).tolist()] == ["y", "z"]
    assert [one.tolist() for one in data.histories(2)] == [[0], [1]]
    assert data.notes == ()


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    good = [("a", item, time) for time, item in enumerate("vwxyz")]
    rows = [*good, ("a", "v", 7), ("a", None, 8), ("a", "u", "noon"), ("b", "x", 1), ("b", "y", 2)]
    data = load_interactions(write(tmp_path, rows, {"v": "a film", "w": ""}))
    assert data.users == ("a",)
    assert data.counts.tolist() == [5]
    assert data.texts == ("a film", "", "", "", "")
    assert data.notes == (
        "2 of 10 rows left out: no user, no item or no number as timestamp",
        "1 of 8 rows left out: the user has the item already",
        "2 of 7 rows left out: users with fewer than 3 items",
        "4 of 5 items have no text",
    )


def test_users_and_items_may_be_called_what_pandas_takes_for_missing(tmp_path: Path) -> None:
    names = ["None", "NA", "null", "nan", ""]
    rows = [(user, item, time) for user in ("NA", "b") for time, item in enumerate(names)]
    data = load_interactions(write(tmp_path, rows, {"None": "a film", "NA": "null"}))
    assert data.users == ("NA", "b")
    assert set(data.items) == {"None", "NA", "null", "nan"}
    assert dict(zip(data.items, data.texts, strict=True)) == {"None": "a film", "NA": "null", "null": "", "nan": ""}
    assert data.notes[0] == "2 of 10 rows left out: no user, no item or no number as timestamp"


def test_of_several_times_with_an_item_the_first_counts_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [("a", "v", 7), ("a", "z", 6), ("a", "y", 5), ("a", "x", 4), ("a", "v", 1)]
    data = load_interactions(write(tmp_path, rows))
    assert [data.items[i] for i in data.history.tolist()] == ["v", "x", "y", "z"]


def test_what_was_rated_low_does_not_count(tmp_path: Path) -> None:
    rows = [("a", item, time, rating) for time, (item, rating) in enumerate(zip("vwxyz", (5, 1, 4, 4, 3), strict=True))]
    source = write(tmp_path, rows)
    data = load_interactions(Source(source.dataset, min_rating=4))
    assert data.items == ("v", "x", "y")
    assert data.notes == ("2 of 5 rows left out: no rating of at least 4",)


def test_what_can_not_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither one of movielens-100k nor a folder with interactions\.csv"):
        find_dataset(str(tmp_path / "nowhere"))
    source = write(tmp_path / "few", [("a", "x", 1), ("a", "y", 2)])
    with pytest.raises(ValueError, match="has no user with 3 items or more; 2 of 2 rows left out"):
        load_interactions(source)
    with pytest.raises(ValueError, match="min_rating is 3, and there is no column rating"):
        load_interactions(Source(source.dataset, min_rating=3))
    (tmp_path / "few" / "items.csv").write_text("item,text\nx,one\nx,two\ny,three\n")
    with pytest.raises(ValueError, match=r"items\.csv has more than one row of: x; keep one of each"):
        load_interactions(source)
    (tmp_path / "few" / "interactions.csv").write_text("user,thing\n1,2\n")
    with pytest.raises(ValueError, match=r"has no column item, timestamp; it has user, thing"):
        load_interactions(source)


def test_movielens_is_read_as_grouplens_has_it_or_told_where_to_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_ENV, str(tmp_path))
    monkeypatch.setattr("trainables.recommending.interactions.find_spec", lambda _: None)
    with pytest.raises(ValueError, match="MovieLens-100K is not at hand: `pip install --no-deps recbole`"):
        load_interactions(Source("movielens-100k"))
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text("".join(f"7\t{item}\t3\t{100 - item}\n" for item in (1, 2, 3)))
    films = "1|Un été (1990)|x||x|0|0|1\n2|Toy (1995)|x||x|0|1|1\n3||x||x|0|0|0\n"
    (folder / "u.item").write_text(films, encoding="latin-1")
    (folder / "u.genre").write_text("unknown|0\nComedy|1\nDrama|2\n\n")
    data = load_interactions(Source("movielens-100k"))
    assert (data.users, data.items, data.texts) == (
        ("7",),
        ("1", "2", "3"),
        ("Un été (1990) Drama", "Toy (1995) Comedy Drama", ""),
    )
    assert data.history.tolist() == [2, 1, 0]
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t1\t3\t30\n7\t2\t3\t20\n7\t3\t3\t10\n"
    )
    (folder / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n1\tToy Story\t1995\tComedy\n"
    )
    data = load_interactions(Source("movielens-100k"))
    assert data.texts == ("Toy Story 1995 Comedy", "", "")
    assert data.history.tolist() == [2, 1, 0]
