from pathlib import Path

import numpy as np
import pytest

from trainables.tables.encoding import Encoder
from trainables.tables.folds import fold_numbers
from trainables.tables.tables import Source, Table, check_classes, load_development, load_test, read_rows


def write_csv(path: Path, rows: list[list[object]], header: str = "size,colour,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def rows_of(count: int) -> list[list[object]]:
    """Sizes all different, three colours, a label of two that depends on the size."""
    return [[f"{i}.5", ("red", "green", "blue")[i % 3], "large" if i >= count / 2 else "small"] for i in range(count)]


def table(numbers: list[list[float]], categories: list[list[str]] | None = None) -> Table:
    values = np.array(numbers, np.float64)
    texts = np.array(categories, object) if categories else np.empty((len(values), 0), object)
    return Table(values, texts, np.zeros(len(values), np.int64), np.arange(len(values)))


@pytest.mark.parametrize(
    ("name", "classes", "sizes"),
    [
        ("breast_cancer", ("benign", "malignant"), (455, 114)),
        ("wine", ("class_0", "class_1", "class_2"), (142, 36)),
        ("digits", tuple("0123456789"), (1437, 360)),
        ("diabetes", (), (353, 89)),
    ],
)
def test_bundled_data_are_split_in_proportion_into_parts_that_share_no_row(
    name: str, classes: tuple[str, ...], sizes: tuple[int, int]
) -> None:
    tests = []
    for fold in range(5):
        source = Source(name, test_fold=fold)
        development = load_development(source)
        test = load_test(source, development)
        assert development.schema.classes == classes
        assert test.told["rows_also_in_training"] == 0
        assert len(development.table) + len(test.table) == sum(sizes)
        assert abs(len(test.table) - sizes[1]) <= 1
        tests += [row.tobytes() for row in test.table.numbers]
        if classes:
            shares = [np.bincount(part.target) / len(part) for part in (development.table, test.table)]
            assert np.abs(shares[0] - shares[1]).max() < 1.5 / len(test.table) + 0.01
    assert len(tests) == sum(sizes)  # each row is a test row once
    assert len(set(tests)) == sum(sizes)


def test_columns_are_what_the_development_rows_say_and_useless_ones_are_told(tmp_path: Path) -> None:
    rows = [[*row[:2], "", 7, f"id{i}", row[2]] for i, row in enumerate(rows_of(60))]
    rows[3][5] = ""
    path = write_csv(tmp_path / "t.csv", rows, "size,colour,nothing,always,name,label")
    development = load_development(Source(str(path)))
    schema = development.schema
    assert (schema.numbers, schema.categories, schema.classes) == (("size",), ("colour",), ("large", "small"))
    assert schema.dropped == {
        "nothing": "empty",
        "always": "the same in all rows",
        "name": "another text in each row",
    }
    assert development.told["rows_read"] == 60
    assert development.told["rows_without_target"] == 1
    assert development.told["columns_dropped"] == schema.dropped


def test_missing_and_infinite_numbers_are_counted(tmp_path: Path) -> None:
    rows = rows_of(40)
    rows[0][0], rows[1][0], rows[2][1] = "", "inf", ""
    write_csv(tmp_path / "train.csv", rows)
    rows[5][0] = "five"
    write_csv(tmp_path / "test.csv", rows)
    source = Source(str(tmp_path / "train.csv"), test_dataset=str(tmp_path / "test.csv"))
    development = load_development(source)
    assert (development.told["values_missing"], development.told["values_no_finite_number"]) == (2, 1)
    assert development.table.categories[2, 0] == ""
    test = load_test(source, development)
    assert test.told["values_no_finite_number"] == 2
    assert np.isnan(test.table.numbers[5, 0])


def test_arrays_are_a_table(tmp_path: Path) -> None:
    x = np.arange(80.0).reshape(40, 2)
    x[3, 1] = np.nan
    np.savez(tmp_path / "a.npz", X=x, y=np.array(["even", "odd"])[np.arange(40) % 2])
    source = Source(str(tmp_path / "a.npz"))
    development = load_development(source)
    assert (development.schema.numbers, development.schema.target) == (("x0", "x1"), "y")
    assert development.schema.classes == ("even", "odd")
    assert len(development.table) + len(load_test(source, development).table) == 40
    np.savez(tmp_path / "b.npz", X=x, z=x)
    with pytest.raises(
        ValueError, match=r"must hold X \[rows, columns\] and y \[rows\]; it holds {'X': \[40, 2\], 'z'"
    ):
        load_development(Source(str(tmp_path / "b.npz")))


def test_few_cells_that_are_no_number_are_counted_and_many_make_the_column_one_of_texts(tmp_path: Path) -> None:
    rows = rows_of(60)
    rows[7][0] = "oops"
    development = load_development(Source(str(write_csv(tmp_path / "few.csv", rows)), test_dataset="wine"))
    assert development.schema.numbers == ("size",)
    assert (development.told["values_no_finite_number"], int(np.isnan(development.table.numbers).sum())) == (1, 1)
    for row in rows[:10]:
        row[0] = "oops"
    many = load_development(Source(str(write_csv(tmp_path / "many.csv", rows)), test_dataset="wine"))
    assert many.schema.categories == ("size", "colour")


def test_test_rows_that_stand_in_training_are_counted(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", rows_of(40))
    same = [["7.50", *row[1:]] if row[0] == "7.5" else row for row in rows_of(40)[5:9]]
    write_csv(tmp_path / "test.csv", [*same, ["99", "red", "large"]])
    source = Source(str(tmp_path / "train.csv"), test_dataset=str(tmp_path / "test.csv"))
    test = load_test(source, load_development(source))
    assert (test.told["rows_used"], test.told["rows_also_in_training"]) == (5, 4)


def test_identical_rows_and_groups_stay_together(tmp_path: Path) -> None:
    twice = [row for row in rows_of(50) for _ in range(2)]
    path = write_csv(tmp_path / "twice.csv", twice)
    development = load_development(Source(str(path)))
    assert load_test(Source(str(path)), development).told["rows_also_in_training"] == 0
    fold_of = fold_numbers(development.table.target, development.table.groups, 4)
    sizes = development.table.numbers[:, 0]
    assert all(len(set(fold_of[sizes == size])) == 1 for size in sizes)

    rows = [[*row[:2], f"patient{i // 5}", row[2]] for i, row in enumerate(rows_of(100))]
    path = write_csv(tmp_path / "grouped.csv", rows, "size,colour,patient,label")
    source = Source(str(path), group="patient")
    development = load_development(source)
    test = load_test(source, development)
    assert development.schema.categories == ("colour",)
    patients = [{int(size // 5) for size in part.table.numbers[:, 0]} for part in (development, test)]
    assert not patients[0] & patients[1]


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["1", "10", "2"], "auto", ("1", "2", "10")),
        (["0.5", "1", "2"], "auto", ()),
        ([str(i) for i in range(30)], "auto", ()),
        ([str(i) for i in range(30)], "classification", tuple(map(str, range(30)))),
        (["1", "2"], "regression", ()),
    ],
)
def test_the_task_is_told_by_the_target(tmp_path: Path, labels: list[str], task: str, classes: tuple[str, ...]) -> None:
    rows = [[f"{i}.5", "red" if i % 2 else "blue", labels[i % len(labels)]] for i in range(300)]
    path = write_csv(tmp_path / "t.csv", rows)
    assert load_development(Source(str(path), task=task)).schema.classes == classes


def test_many_numbers_that_are_classes_are_split_in_proportion(tmp_path: Path) -> None:
    """As numbers they would be split by their size, and rare ones might be in one part alone."""
    rows = [[f"{i}.5", "red", str(i % 25 if i < 500 else 25 + i % 5)] for i in range(525)]
    source = Source(str(write_csv(tmp_path / "t.csv", rows)), task="classification")
    development = load_development(source)
    test = load_test(source, development)
    counts = np.bincount(test.table.target, minlength=30)
    assert counts.min() >= 1
    assert counts.max() <= 5


def test_what_can_not_be_used_is_refused(tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "t.csv", rows_of(40)))
    with pytest.raises(ValueError, match=r"target 'lable' is no column of .*; there are size, colour, label"):
        load_development(Source(path, target="lable"))
    with pytest.raises(ValueError, match="group 'patient' is no column"):
        load_development(Source(path, group="patient"))
    with pytest.raises(ValueError, match="keep: year, label is no column to predict from; there are size, colour"):
        load_development(Source(path, keep="size+year+label"))
    for fold in range(5):  # whichever rows are for development
        with pytest.raises(ValueError, match=r"is not all numbers, as a regression needs; got '(small|large)'"):
            load_development(Source(path, task="regression", test_fold=fold))
    with pytest.raises(ValueError, match="can't be read as a CSV file"):
        load_development(Source(str(tmp_path / "none.csv")))
    with pytest.raises(ValueError, match="too few for 5 parts"):
        load_development(Source(str(write_csv(tmp_path / "few.csv", rows_of(4)))))
    other = str(write_csv(tmp_path / "other.csv", [["1", "red", "huge"]]))
    source = Source(path, test_dataset=other)
    with pytest.raises(ValueError, match="classes that the training rows have not: huge"):
        load_test(source, load_development(source))
    narrow = str(write_csv(tmp_path / "narrow.csv", [["1", "large"]], "size,label"))
    source = Source(path, test_dataset=narrow)
    with pytest.raises(ValueError, match="has no column colour"):
        load_test(source, load_development(source))
    rare = write_csv(tmp_path / "rare.csv", [*rows_of(60), ["1.25", "red", "huge"], ["2.25", "red", "huge"]])
    with pytest.raises(ValueError, match=r"needs 5 rows of each class for 5 folds; too few of: huge \([12]\)"):
        check_classes(load_development(Source(str(rare))), 5)
    with pytest.raises(ValueError, match=r"needs 6 rows of each class for 2 folds"):  # three are left to be trained on
        check_classes(load_development(Source(str(rare))), 2)


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
def test_the_encoder_learns_from_its_rows_alone(scaling: str) -> None:
    random = np.random.default_rng(0)
    rows = table(random.lognormal(size=(500, 2)).tolist(), [[("a", "b")[i % 2]] for i in range(500)])
    encoder = Encoder.fit(rows, scaling)
    x = encoder(rows)
    assert (x.dtype, x.shape, encoder.width) == (np.float32, (500, 4), 4)
    assert np.abs(x[:, :2].mean(axis=0)).max() < 1e-5
    assert np.abs(x[:, :2].std(axis=0) - 1).max() < 1e-5
    # Other rows are encoded by the same figures, alone or together.
    other = table([[1e9, -1e9], [1.0, 1.0]], [["a"], ["c"]])
    both = encoder(other)
    assert np.array_equal(both[1:], encoder(other.take(np.array([1]))))
    assert both[:, 2:].tolist() == [[1, 0], [0, 0]]
    assert np.isfinite(both).all()
    if scaling == "quantile":
        assert np.abs(both[0, :2]).max() < 3.5
        assert abs(np.mean(x[:, 0] ** 3)) < 0.2  # no longer skewed


def test_missing_numbers_become_the_median_and_are_marked() -> None:
    encoder = Encoder.fit(table([[1.0, 5.0], [2.0, 5.0], [np.nan, 5.0], [9.0, 5.0]]), "standard")
    x = encoder(table([[2.0, 6.0], [np.nan, np.nan]]))
    assert x.shape == (2, 3)
    assert x[0, 0] == x[1, 0]
    assert x[:, 2].tolist() == [0, 1]
    assert x[:, 1].tolist() == [1, 0]  # a constant column is not divided by its spread
    assert Encoder.fit(table([[np.nan], [np.nan]]), "standard")(table([[3.0]])).tolist() == [[3.0, 0.0]]


def test_seldom_categories_share_no_column() -> None:
    rows = table([[0.0]] * 7, [["a"], ["a"], ["b"], ["b"], ["c"], [""], [""]])
    encoder = Encoder.fit(rows, "standard")
    assert encoder.categories == (("", "a", "b"),)
    assert encoder(rows)[:, 1:].tolist()[4:6] == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("word", ["None", "NA", "null", "nan"])
def test_a_class_and_a_category_may_be_called_what_pandas_takes_for_missing(tmp_path: Path, word: str) -> None:
    rows = [[*row[:2], word if row[2] == "small" else row[2]] for row in rows_of(60)]
    for row in rows:
        row[1] = word if row[1] == "red" else row[1]
    path = str(write_csv(tmp_path / "t.csv", rows))
    development = load_development(Source(path))
    assert set(development.schema.classes) == {"large", word}
    assert set(development.table.categories[:, 0]) == {word, "green", "blue"}
    assert development.told["rows_without_target"] == development.told["values_missing"] == 0
    assert read_rows(path, development.schema).categories[0, 0] == word


def test_words_among_numbers_are_missing_values_counted_and_told(tmp_path: Path) -> None:
    rows = rows_of(140)
    for row in rows[::14]:
        row[0] = "?"
    rows[1][0] = "NA"
    source = Source(str(write_csv(tmp_path / "t.csv", rows)), test_dataset="wine")
    development = load_development(source)
    assert development.schema.numbers == ("size",)
    assert (development.told["values_missing"], development.told["values_no_finite_number"]) == (11, 0)
    note = "column size: 11 of 140 cells are a word for a missing value ('?', 'NA') and count as missing"
    assert note in development.told["notes"]

    # So they are among targets that are numbers, unless these are said to be classes.
    targets = [[row[0], row[1], "NA" if i % 10 == 0 else i % 2] for i, row in enumerate(rows_of(60))]
    path = str(write_csv(tmp_path / "targets.csv", targets))
    told = load_development(Source(path)).told
    assert told["rows_without_target"] == 6
    assert "column label: 6 of 60 cells are a word for a missing value ('NA') and count as missing" in told["notes"]
    assert load_development(Source(path, task="classification")).schema.classes == ("0", "1", "NA")


def test_copies_with_different_ids_stay_on_one_side_of_every_split(tmp_path: Path) -> None:
    rows = [[i, *rows_of(40)[i % 40]] for i in range(120)]
    path = str(write_csv(tmp_path / "t.csv", rows, "id,size,colour,label"))
    development = load_development(Source(path))
    test = load_test(Source(path), development)
    assert development.schema.dropped == {"id": "a number of the row"}
    assert not {*development.table.numbers[:, 0]} & {*test.table.numbers[:, 0]}
    assert test.told["rows_also_in_training"] == 0
    fold_of = fold_numbers(development.table.target, development.table.groups, 4)
    sizes = development.table.numbers[:, 0]
    assert all(len(set(fold_of[sizes == size])) == 1 for size in sizes)
    count = len(development.table)
    assert f"{count} of {count} rows have copies, which stay on one side of each split" in development.told["notes"]


def test_test_rows_that_are_copies_with_another_id_are_counted(tmp_path: Path) -> None:
    ids = iter(np.random.default_rng(0).choice(10**8, 100, replace=False).tolist())
    values = np.random.default_rng(1).normal(size=(60, 2)).round(3).tolist()
    rows = [[next(ids), *value, "yes" if value[0] > 0 else "no"] for value in values]
    write_csv(tmp_path / "train.csv", rows, "id,a,b,label")
    write_csv(tmp_path / "test.csv", [[next(ids), *row[1:]] for row in rows[:25]], "id,a,b,label")
    source = Source(str(tmp_path / "train.csv"), test_dataset=str(tmp_path / "test.csv"))
    test = load_test(source, load_development(source))
    assert test.told["rows_also_in_training"] == 25
    assert test.told["notes"] == ["25 of 25 test rows stand among the training rows as well"]


def test_a_year_that_is_kept_is_a_feature_by_which_no_rows_are_copies(tmp_path: Path) -> None:
    """Each row is there twice, but for the year."""
    rows: list[list[object]] = [[1900 + i, f"{i % 10}.5", "rgb"[i % 3], i % 2] for i in range(60)]
    path = str(write_csv(tmp_path / "years.csv", rows, "year,size,colour,label"))
    for keep, numbers, has_copies in (("", ("size",), True), ("year", ("year", "size"), False)):
        source = Source(path, keep=keep)
        development = load_development(source)
        assert development.schema.numbers == numbers
        assert any("have copies" in note for note in development.told["notes"]) == has_copies
        assert load_test(source, development).told["rows_also_in_training"] == 0


def test_rows_without_a_group_are_groups_of_their_own(tmp_path: Path) -> None:
    rows = [[*row[:2], "" if i % 2 else f"p{i // 10}", row[2]] for i, row in enumerate(rows_of(100))]
    rows[3], rows[0][2] = rows[1], "NA"
    path = write_csv(tmp_path / "t.csv", rows, "size,colour,patient,label")
    development = load_development(Source(str(path), group="patient", test_dataset="wine"))
    groups = development.table.groups
    assert groups[1] == groups[3]  # a copy
    empty = groups[1::2]
    assert len(set(empty)) == 49
    assert not set(empty) & set(groups[::2])
    assert len(set(groups[::2])) == 11
    assert development.told["notes"][-2:] == [
        "50 of 100 rows have no patient: each is a group of its own",
        "1 rows have the patient 'NA', which is one group: leave the cells empty if they have none",
    ]
    rows[10][:2], rows[20][:2] = rows[0][:2], rows[0][:2]
    path = write_csv(tmp_path / "u.csv", rows, "size,colour,patient,label")
    told = load_development(Source(str(path), group="patient", test_dataset="wine")).told
    assert "3 of 100 rows have copies in another group, maybe beyond a split" in told["notes"]


def test_test_rows_of_a_group_that_was_trained_on_are_told(tmp_path: Path) -> None:
    rows = [[*row[:2], "" if i % 5 == 0 else f"p{i // 5}", row[2]] for i, row in enumerate(rows_of(100))]
    path = str(write_csv(tmp_path / "all.csv", rows, "size,colour,patient,label"))
    source = Source(path, group="patient")
    assert load_test(source, load_development(source)).told["notes"] == []
    write_csv(tmp_path / "train.csv", rows[2:], "size,colour,patient,label")
    write_csv(tmp_path / "test.csv", rows[:2], "size,colour,patient,label")
    source = Source(str(tmp_path / "train.csv"), group="patient", test_dataset=str(tmp_path / "test.csv"))
    notes = load_test(source, load_development(source)).told["notes"]
    assert notes == ["1 of 2 test rows have a patient of the training rows"]
