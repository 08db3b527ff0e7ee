from pathlib import Path

import pytest

from trainables.text.conll import Source, find_dataset, load_development, load_test
from trainables.text.texts import DATA_ENV

PLACES = ("london", "paris", "rome", "oslo", "lima")


def sentence(place: str, number: int) -> str:
    return f"My\tO\nfriend\tO\nAda\tB-person\nLovelace\tI-person\nis\tO\nin\tO\n{place}\tB-location\n{number}\tO\n"


def write(path: Path, numbers: range) -> Path:
    path.write_text("\n".join(sentence(PLACES[number % 5], number) for number in numbers), encoding="utf-8")
    return path


def test_sentences_are_words_with_tags(tmp_path: Path) -> None:
    files = [write(tmp_path / name, range(start, start + 10)) for name, start in (("a", 0), ("b", 10), ("c", 20))]
    source = Source(*map(str, files))
    data = load_development(source)
    assert (len(data.train), len(data.validation)) == (10, 10)
    assert data.tags == ("O", "B-location", "B-person", "I-person")
    assert data.train.words[0] == ("My", "friend", "Ada", "Lovelace", "is", "in", "london", "0")
    assert data.train.tags[0] == ("O", "O", "B-person", "I-person", "O", "O", "B-location", "O")
    test, notes = load_test(source)
    assert (len(test), notes) == (10, ())


def test_what_comes_in_one_piece_is_split_in_three(tmp_path: Path) -> None:
    source = Source(str(write(tmp_path / "all", range(60))))
    data = load_development(source)
    test, _ = load_test(source)
    parts = [set(rows.words) for rows in (data.train, data.validation, test)]
    assert list(map(len, parts)) == [40, 8, 12]
    assert len(parts[0] | parts[1] | parts[2]) == 60
    assert load_development(source).train == data.train


def test_documents_are_not_parted_where_asked(tmp_path: Path) -> None:
    """A document is told by its sentences' numbers: five each."""
    parts = [f"-DOCSTART- -X- O\n\n{write(tmp_path / 'one', range(5 * n, 5 * n + 5)).read_text()}" for n in range(12)]
    (tmp_path / "all").write_text("\n".join(parts), encoding="utf-8")
    source = Source(str(tmp_path / "all"), group="document")
    data, (test, _) = load_development(source), load_test(source)
    documents = [{int(words[-1]) // 5 for words in rows.words} for rows in (data.train, data.validation, test)]
    assert [len(rows) for rows in (data.train, data.validation, test)] == [40, 10, 10]
    assert list(map(len, documents)) == [8, 2, 2]
    assert len(set.union(*documents)) == 12
    plain = load_development(Source(str(tmp_path / "all")))
    assert (len(plain.train), len({int(words[-1]) // 5 for words in plain.validation.words})) == (40, 6)
    with pytest.raises(ValueError, match="needs lines that begin with -DOCSTART-"):
        load_development(Source(str(write(tmp_path / "none", range(60))), group="document"))


def test_a_test_set_that_is_set_apart_is_not_trained_on_where_validation_is_given(tmp_path: Path) -> None:
    source = Source(
        *(str(write(tmp_path / name, numbers)) for name, numbers in (("a", range(50)), ("b", range(50, 60))))
    )
    data, (test, notes) = load_development(source), load_test(source)
    assert (len(data.train), len(data.validation), len(test), notes) == (40, 10, 10, ())
    assert not set(data.train.words) & set(test.words)


def test_columns_may_be_more_and_apart_by_spaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\nAda NNP I-NP B-person\nwrote VBD I-VP O\n\n\nYes UH O O\n", encoding="utf-8")
    (tmp_path / "b").write_text("Ada X Y B-person\n")
    data = load_development(Source(*(str(tmp_path / name) for name in "abb")))
    assert data.train.words == (("Ada", "wrote"), ("Yes",))
    assert data.train.tags == (("B-person", "O"), ("O",))


def test_what_is_left_out_or_doubtful_is_counted(tmp_path: Path) -> None:
    train = write(tmp_path / "a", range(10))
    with train.open("a") as file:
        file.write("\n" + sentence("london", 0) + "\n" + sentence("rome", 2).replace("B-location", "O"))
    (tmp_path / "b").write_text("Acme\tB-company\n\n" + sentence("lima", 4))
    data = load_development(Source(str(train), str(tmp_path / "b"), str(tmp_path / "b")))
    assert data.notes == (
        "2 of 12 sentences were there before and were left out",
        "1 of these were tagged otherwise",
        "tags of validation words that no training word has, never found: B-company",
    )
    _, notes = load_test(Source(str(train), test_dataset=str(tmp_path / "b")))
    assert notes == (
        "tags of test words that no training word has, never found: B-company",
        "1 of 2 test sentences stand among the training sentences as well",
    )


def test_what_can_not_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("Ada\tB-person\nLovelace\nwrote\tVERB\nin\tO\n")
    with pytest.raises(ValueError, match=r"no word and tag .*: line 2: 'Lovelace'; line 3: 'wrote\\tVERB'"):
        load_development(Source(str(wrong)))
    wrong.write_text("Ada\tO\n\nwrote\tO\n")
    with pytest.raises(ValueError, match="no named entities: every tag is O"):
        load_development(Source(str(wrong), str(wrong), str(wrong)))
    wrong.write_text("\n\n")
    with pytest.raises(ValueError, match="has no sentences"):
        load_development(Source(str(wrong)))
    wrong.write_bytes(b"\xff\xfe\tO\n")
    with pytest.raises(ValueError, match="can't be read as UTF-8"):
        load_development(Source(str(wrong)))
    with pytest.raises(ValueError, match="neither one of wnut17 nor a file"):
        find_dataset("nowhere")
    monkeypatch.delenv(DATA_ENV, raising=False)
    with pytest.raises(ValueError, match=f"folder that {DATA_ENV} names"):
        find_dataset("wnut17")
