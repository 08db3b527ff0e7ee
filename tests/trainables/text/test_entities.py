import pytest
from seqeval.metrics import f1_score, precision_score, recall_score

from trainables.text.entities import Entity, entities_of, entity_report, entity_scores, token_report


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O", []),
        ("", []),
        ("B-per I-per O B-loc", [("per", 0, 2), ("loc", 3, 4)]),
        ("B-per B-per I-per", [("per", 0, 1), ("per", 1, 3)]),
        ("B-per I-loc I-loc O", [("per", 0, 1), ("loc", 1, 3)]),
        ("I-per I-per", [("per", 0, 2)]),
        ("O I-creative-work I-creative-work", [("creative-work", 1, 3)]),
    ],
)
def test_entities_begin_and_end_where_conlleval_says(tags: str, wanted: list[tuple[str, int, int]]) -> None:
    assert entities_of(tags.split()) == [Entity(*one) for one in wanted]


def test_scores_are_seqevals() -> None:
    tags = ["O", "B-per", "I-per", "B-loc", "I-loc"]
    # Sentences of every order of tags that there is, shifted against each other.
    wanted = [[tags[(i * (k + 1) + j * j) % 5] for j in range(9)] for i in range(5) for k in range(4)]
    found = [[tags[(i * (k + 2) + j * k) % 5] for j in range(9)] for i in range(5) for k in range(4)]
    found[:5] = wanted[:5]
    scores = entity_scores("val", wanted, found)
    assert 0 < scores["val_f1"] < 1
    assert scores == pytest.approx(
        {
            "val_precision": precision_score(wanted, found),
            "val_recall": recall_score(wanted, found),
            "val_f1": f1_score(wanted, found),
        }
    )


def test_nothing_found_scores_nothing() -> None:
    assert set(entity_scores("val", [["B-per"]], [["O"]]).values()) == {0.0}


def test_the_report_tells_each_kind() -> None:
    report = entity_report([["B-per", "O", "B-loc"], ["B-per"]], [["B-per", "O", "B-per"], ["O"]])
    table = report["entities"]
    assert set(table) == {"per", "loc", "all"}
    assert table["per"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2.0}
    assert table["loc"]["support"] == 1.0
    assert table["all"]["recall"] == pytest.approx(1 / 3)
    assert report["text"].splitlines()[1].split() == ["loc", "0.0000", "0.0000", "0.0000", "1"]


def test_words_are_counted_by_tag_by_prefix_and_averaged() -> None:
    wanted = [["B-per", "I-per", "O"], ["B-loc", "O"]]
    found = [["B-per", "O", "O"], ["B-per", "O"]]
    report = token_report(wanted, found)
    assert report["tags"]["B-per"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1.0}
    assert report["prefixes"]["B"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2.0}
    assert report["prefixes"]["O"]["recall"] == 1.0
    averages = report["averages"]
    assert averages["micro"]["f1"] == pytest.approx(3 / 5)
    assert averages["macro"]["recall"] == pytest.approx((0 + 1 + 0 + 1) / 4)
    assert averages["weighted"]["recall"] == pytest.approx(3 / 5)
    assert all(name in report["text"] for name in ("B-per", "micro average", "macro average", "weighted average"))
