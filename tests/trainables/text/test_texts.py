import csv
import shutil
from pathlib import Path

import pytest

from trainables.text.texts import DATA_ENV, UNKNOWN, Source, find_dataset, find_file, load_development, load_test

CLASSES = ("card", "cash", "loan")

Rows = list[tuple[str, str]]


def rows_of(count: int, part: str = "") -> Rows:
    """`count` different texts of each class."""
    return [(f"{part} {name} question {number}", name) for number in range(count) for name in CLASSES]


def write_csv(path: Path, rows: Rows, columns: tuple[str, str] = ("text", "label")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def write_tree(root: Path, rows: Rows) -> Path:
    for number, (text, label) in enumerate(rows):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{number}.txt").write_text(text, encoding="utf-8")
    return root


def test_a_file_in_one_piece_is_split_in_three_with_all_classes_in_proportion(tmp_path: Path) -> None:
    source = Source(str(write_csv(tmp_path / "all.csv", rows_of(30))))
    development, (test, notes) = load_development(source), load_test(source)
    parts = (development.train, development.validation, test)
    assert [len(part) for part in parts] == [60, 12, 18]
    assert all(part.class_names == CLASSES for part in parts)
    assert [sorted(part.labels.bincount().tolist()) for part in parts] == [[20] * 3, [4] * 3, [6] * 3]
    assert sorted(text for part in parts for text in part.texts) == sorted(text.strip() for text, _ in rows_of(30))
    assert (development.notes, notes) == ((), ())
    assert load_development(source).train.texts == development.train.texts


def test_texts_that_differ_in_case_alone_are_not_parted_nor_those_of_a_group_where_asked(tmp_path: Path) -> None:
    rows = [(text, name) for text, name in rows_of(30)] + [(text.upper(), name) for text, name in rows_of(30)]
    source = Source(str(write_csv(tmp_path / "all.csv", rows)))
    development, (test, notes) = load_development(source), load_test(source)
    parts = [{text.casefold() for text in part.texts} for part in (development.train, development.validation, test)]
    assert [len(part) for part in parts] == [60, 12, 18]
    assert len(set.union(*parts)) == 90
    assert notes == ()
    path = tmp_path / "customers.csv"
    with path.open("w", newline="") as file:
        told = [(text, f"customer {number // 6}", name) for number, (text, name) in enumerate(rows_of(30))]
        csv.writer(file).writerows([("text", "customer", "label"), *told])
    source = Source(str(path), group_column="customer")
    development, (test, _) = load_development(source), load_test(source)
    customer_of = {" ".join(text.split()): customer for text, customer, _ in told}
    customers = [
        {customer_of[text] for text in part.texts} for part in (development.train, development.validation, test)
    ]
    assert [len(each) for each in customers] == [10, 2, 3]
    assert len(set.union(*customers)) == 15
    write_csv(tmp_path / "test.csv", rows_of(2, "test"))  # which is not parted any more
    assert len(load_test(Source(str(path), test_dataset=str(tmp_path / "test.csv"), group_column="customer"))[0]) == 6
    with pytest.raises(ValueError, match="has no column 'client'; it has text, customer, label"):
        load_development(Source(str(path), group_column="client"))
    with pytest.raises(ValueError, match=r"group: .* give group_column in its place"):
        load_development(Source(str(path), group="^a"))


def test_files_of_one_group_are_not_parted_where_asked(tmp_path: Path) -> None:
    """Of each class there are thirty texts, five each of six authors."""
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for number in range(30):
            (tmp_path / name / f"author{number // 5}-{number}.txt").write_text(f"{name} author{number // 5} {number}")
    with pytest.raises(ValueError, match=r"group_column: .* give group in its place"):
        load_development(Source(str(tmp_path), group_column="author"))
    source = Source(str(tmp_path), group=r"^author\d+")
    development, (test, _) = load_development(source), load_test(source)
    parts = [{text.split()[1] for text in part.texts} for part in (development.train, development.validation, test)]
    assert [len(part) for part in (development.train, development.validation, test)] == [60, 15, 15]
    assert [len(part) for part in parts] == [4, 1, 1]
    assert len(set.union(*parts)) == 6


def test_copies_are_not_parted_whatever_their_groups_and_given_groups_are_told(tmp_path: Path) -> None:
    def write(path: Path, rows: list[tuple[str, str, str]]) -> str:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "customer", "label"), *rows])
        return str(path)

    rows = [(text, f"c{number}", name) for number, (text, name) in enumerate(rows_of(20))]
    rows += [(text.upper(), f"again {customer}", name) for text, customer, name in rows]
    source = Source(write(tmp_path / "all.csv", rows), group_column="customer")
    development, (test, notes) = load_development(source), load_test(source)
    parts = [{text.casefold() for text in part.texts} for part in (development.train, development.validation, test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert notes == ()
    given = write(tmp_path / "test.csv", [("new", "c3", "card"), ("other", "c99", "card"), ("third", "", "card")])
    _, notes = load_test(Source(source.dataset, test_dataset=given, group_column="customer"))
    assert notes == ("1 of 3 test texts are of groups that training texts are of as well",)


def test_a_class_of_one_group_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "lonely.csv"
    for lonely in CLASSES:
        with path.open("w", newline="") as file:
            rows = [(text, "one" if name == lonely else text, name) for text, name in rows_of(30)]
            csv.writer(file).writerows([("text", "customer", "label"), *rows])
        # Or else a ValueError would say which class is on one side of a split.
        development = load_development(Source(str(path), group_column="customer"))
        assert development.train.labels.bincount(minlength=3).min() > 0


@pytest.mark.parametrize("kind", ["folder of files", "two files", "tree", "tree in two parts"])
def test_what_comes_in_two_parts_is_left_so(tmp_path: Path, kind: str) -> None:
    train, test = rows_of(12, "train"), rows_of(2, "test")
    if kind == "folder of files":
        write_csv(tmp_path / "data" / "train.csv", train)
        write_csv(tmp_path / "data" / "test.csv", test)
        source = Source(str(tmp_path / "data"))
    elif kind == "two files":
        source = Source(
            str(write_csv(tmp_path / "a.csv", train)), test_dataset=str(write_csv(tmp_path / "b.csv", test))
        )
    elif kind == "tree":
        source = Source(
            str(write_tree(tmp_path / "data", train)), test_dataset=str(write_csv(tmp_path / "b.csv", test))
        )
    else:
        write_tree(tmp_path / "data" / "train", train)
        write_tree(tmp_path / "data" / "test", test)
        source = Source(str(tmp_path / "data"))
    development = load_development(source)
    assert len(development.train) + len(development.validation) == 36
    assert all(text.startswith("train") for text in development.train.texts + development.validation.texts)
    assert sorted(load_test(source)[0].texts) == sorted(text for text, _ in test)


def test_columns_are_found_by_name_or_place_or_told(tmp_path: Path) -> None:
    rows = rows_of(10)
    path = str(write_csv(tmp_path / "data.csv", rows, ("question", "intent")))
    assert load_development(Source(path)).train.class_names == CLASSES
    assert load_development(Source(path, label_column="intent", text_column="question")).train.class_names == CLASSES
    with pytest.raises(ValueError, match="no column 'answer'; it has question, intent"):
        load_development(Source(path, text_column="answer"))
    with pytest.raises(ValueError, match="one column only"):
        load_development(Source(path, text_column="intent"))


def test_what_is_left_out_or_doubtful_is_counted(tmp_path: Path) -> None:
    rows = [
        *rows_of(10, "a"),
        ("", "card"),
        ("lost", " "),
        *rows_of(1, "a"),
        ("Torn apart", "card"),
        ("torn  apart", "loan"),
    ]
    test = [*rows_of(2, "b"), ("A card QUESTION 1", "card"), ("A card QUESTION 1", "card")]
    write_csv(tmp_path / "train.csv", rows)
    write_csv(tmp_path / "test.csv", test)
    development = load_development(Source(str(tmp_path)))
    assert development.notes == (
        "2 of 37 rows have no text or no label and were left out",
        "3 of 37 rows were there before and were left out",
        "1 texts have more than one label; they were kept",
    )
    assert len(development.train) + len(development.validation) == 32
    test_rows, notes = load_test(Source(str(tmp_path)))
    assert len(test_rows) == 8
    assert notes == (
        "1 of 8 rows were there before and count again",
        "2 of 8 test texts stand among the training texts as well",
    )
    (write_tree(tmp_path / "tree", rows_of(10)) / "readme.txt").touch()
    assert load_development(Source(str(tmp_path / "tree"))).notes == (
        f"1 files in {tmp_path / 'tree'} are in no class's folder and were left out",
    )


def test_unknown_classes_are_validated_and_tested_and_never_trained_on(tmp_path: Path) -> None:
    source = Source(str(write_csv(tmp_path / "all.csv", rows_of(30))), unknown_classes=1)
    development, (test, _) = load_development(source), load_test(source)
    assert len(development.train.class_names) == 2
    assert UNKNOWN not in development.train.labels.tolist()
    assert development.validation.labels.tolist().count(UNKNOWN) == 4
    assert test.labels.tolist().count(UNKNOWN) == 6
    (unknown,) = set(CLASSES) - set(development.train.class_names)
    assert not any(unknown in text for text in development.train.texts)
    with pytest.raises(ValueError, match="unknown_classes 2 leaves fewer than 2 of 3"):
        load_development(Source(source.dataset, unknown_classes=2))


def test_what_is_unknown_in_the_test_is_other_than_in_the_validation(tmp_path: Path) -> None:
    rows = [(f"{name} question {number}", name) for number in range(30) for name in "abcdef"]
    source = Source(str(write_csv(tmp_path / "all.csv", rows)), unknown_classes=3)
    development, (test, notes) = load_development(source), load_test(source)
    unknown = [
        {text.split()[0] for text, label in zip(part.texts, part.labels.tolist(), strict=True) if label == UNKNOWN}
        for part in (development.validation, test)
    ]
    assert [len(names) for names in unknown] == [1, 2]
    assert sorted([*unknown[0], *unknown[1], *development.train.class_names]) == list("abcdef")
    never = ", ".join(sorted(unknown[0] | unknown[1]))
    (note,) = development.notes
    assert note.startswith(f"never trained on: {never}; ")
    assert notes == (
        f"unknown in the test: {', '.join(sorted(unknown[1]))}; in the validation: {', '.join(unknown[0])}",
    )


def test_a_tree_without_test_has_a_part_of_train_set_apart(tmp_path: Path) -> None:
    source = Source(str(tmp_path))
    write_tree(tmp_path / "train", rows_of(10))
    development, (test, _) = load_development(source), load_test(source)
    assert len(development.train) + len(development.validation) == 24
    assert len(test) == 6
    assert not set(test.texts) & {*development.train.texts, *development.validation.texts}


def test_a_folder_with_train_csv_alone_has_a_part_of_it_set_apart(tmp_path: Path) -> None:
    source = Source(str(write_csv(tmp_path / "train.csv", rows_of(10)).parent))
    development, (test, _) = load_development(source), load_test(source)
    assert (len(development.train) + len(development.validation), len(test)) == (24, 6)


def test_a_test_file_may_be_named_beside_a_folder_with_parts(tmp_path: Path) -> None:
    for name, count in (("train", 10), ("test", 2), ("other", 3)):
        write_csv(tmp_path / f"{name}.csv", rows_of(count, name))
    rows, _ = load_test(Source(str(tmp_path), test_dataset=str(tmp_path / "other.csv")))
    assert len(rows) == 9
    assert all(text.startswith("other") for text in rows.texts)


def test_what_can_not_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = write_csv(tmp_path / "few.csv", [*rows_of(10), ("one", "rare"), ("two", "scarce")])
    with pytest.raises(ValueError, match="fewer than 4 texts can't be learned and validated: rare, scarce"):
        load_development(Source(str(few)))
    with pytest.raises(ValueError, match="two or more classes; found card"):
        load_development(Source(str(write_csv(tmp_path / "one.csv", [(str(n), "card") for n in range(20)]))))
    write_csv(tmp_path / "parts" / "train.csv", rows_of(10))
    write_csv(tmp_path / "parts" / "test.csv", [("what", "insurance")])
    with pytest.raises(ValueError, match="classes that the training texts have not: insurance"):
        load_test(Source(str(tmp_path / "parts")))
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"empty has no .txt files"):
        load_development(Source(str(tmp_path / "tree")))
    write_tree(tmp_path / "mixed", rows_of(10))
    (tmp_path / "mixed" / "test" / "card").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"mixed has test but no train beside it: put the training texts there"):
        load_development(Source(str(tmp_path / "mixed")))
    shutil.rmtree(tmp_path / "mixed" / "test")
    (next((tmp_path / "mixed").iterdir()) / "note.doc").touch()
    with pytest.raises(ValueError, match=r"files other than .txt, turn them into such or move them away: .*note\.doc"):
        load_development(Source(str(tmp_path / "mixed")))
    with pytest.raises(ValueError, match="neither one of banking77 nor a path"):
        find_dataset("nowhere")
    monkeypatch.delenv(DATA_ENV, raising=False)
    with pytest.raises(ValueError, match=f"folder that {DATA_ENV} names"):
        find_dataset("banking77")
    (tmp_path / "more.csv").write_text("text,label\n" + "one, and more,card\n" * 9)
    with pytest.raises(ValueError, match="more fields than its header: put texts with separators into quotes"):
        load_development(Source(str(tmp_path / "more.csv")))
    with pytest.raises(ValueError, match=r"there is no file .*typo\.csv; give the path of one, or leave it out"):
        find_file(str(tmp_path / "typo.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"text,label\n\xff\xfe,card\n")
    with pytest.raises(ValueError, match="can't be read as a CSV file"):
        load_development(Source(str(tmp_path / "bytes.csv")))
