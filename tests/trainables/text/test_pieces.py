import pytest
import torch

from tests.trainables.text.test_pretrained import write_bert
from trainables.text.pieces import IGNORED, Written, cut

pytestmark = pytest.mark.slow  # imports transformers

WORDS = ["my", "friend", "ada", "love", "##lace", "is", "in", "paris", "好", "吃", "@", ".", "0"]
NAMES = ("O", "B-loc", "B-per", "I-per")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("pieces"), WORDS)


def test_a_tag_stands_at_the_first_piece_alone(bert: str) -> None:
    """The well-known trap: padding and the other pieces must count neither in the loss nor in the scores."""
    written = [Written.of(("ada", "lovelace", "is")), Written.of(("paris",))]
    tags = [["B-per", "I-per", "O"], ["B-loc"]]
    pieces = cut(bert, written, 16)
    assert pieces.lengths.tolist() == [6, 3]
    #                                   CLS      ada  love  lace     is  SEP
    assert pieces.unit_of.tolist() == [[IGNORED, 0, 1, IGNORED, 2, IGNORED], [IGNORED, 0, *[IGNORED] * 4]]
    labels = pieces.labels(tags, NAMES)
    assert labels.tolist() == [[IGNORED, 2, 3, IGNORED, 0, IGNORED], [IGNORED, 1, *[IGNORED] * 4]]
    assert pieces.labels(tags, NAMES[:3]).tolist()[0] == [IGNORED, 2, IGNORED, IGNORED, 0, IGNORED]
    assert pieces.tags(torch.where(labels == IGNORED, 1, labels), written, NAMES) == tags


def test_a_long_text_is_read_in_windows_with_each_unit_in_one(bert: str) -> None:
    words = ["my", "friend", "ada", "lovelace", "is", "in", "paris"] * 3
    written = [Written.of(words), Written.of(["paris"])]
    for max_length in (4, 5, 8, 16):
        pieces = cut(bert, written, max_length)
        assert pieces.ids.shape[1] <= max_length
        assert pieces.text_of.tolist() == sorted(pieces.text_of.tolist())
        units = [pieces.unit_of[pieces.text_of == text] for text in (0, 1)]
        assert [sorted(some[some != IGNORED].tolist()) for some in units] == [list(range(21)), [0]]
    classes = pieces.labels([["B-per" if word == "ada" else "O" for word in words], ["B-loc"]], NAMES)
    found = pieces.tags(classes.clamp(min=0), written, NAMES)
    assert [place for place, tag in enumerate(found[0]) if tag == "B-per"] == [2, 9, 16]


def test_an_entity_goes_on_within_a_word() -> None:
    written = Written.of(("hi", ".paris.", "0"))
    assert [written.text[start:end] for start, end in written.units] == ["hi", ".", "paris", ".", "0"]
    assert written.unit_tags(["O", "B-loc", "B-per"]) == ["O", "B-loc", "I-loc", "I-loc", "B-per"]
    assert written.word_tags(["O", "B-loc", "O", "I-loc", "B-per"], 3) == ["O", "B-loc", "B-per"]


def test_a_word_counts_once_whatever_it_is_cut_into(bert: str) -> None:
    """Signs within words, most of them outside of entities, would outweigh what is to be found."""
    written = [Written.of(("hi", ".paris.", "ada")), Written.raw(".paris.")]
    pieces = cut(bert, written, 16)
    there = pieces.unit_of != IGNORED
    shares = pieces.shares(written)
    assert shares[0][there[0]].tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 1])
    assert shares[1][there[1]].tolist() == [1, 1, 1]
    assert not shares[~there].any()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("Ada", "is", "in", "Paris", "."), "Ada is in Paris ."),
        (("好", "吃", "，", "OK", "好"), "好吃， OK 好"),
        (("ที่", "นี่"), "ที่นี่"),
    ],
)
def test_words_are_written_as_their_script_does(words: tuple[str, ...], text: str) -> None:
    assert Written.of(words).text == text


def test_what_leaves_no_piece_has_no_tag(bert: str) -> None:
    written = Written.of(("ada", "\u200d", "paris"))
    pieces = cut(bert, [written], 16)
    found = pieces.tags(torch.full(pieces.ids.shape, 2), [written], NAMES)
    assert written.word_tags(found[0], 3) == ["B-per", "O", "B-per"]


def test_a_tokenizer_without_room_is_told(bert: str) -> None:
    with pytest.raises(ValueError, match="its tokenizer needs a max_length above 2"):
        cut(bert, [Written.raw("ada")], 2)
