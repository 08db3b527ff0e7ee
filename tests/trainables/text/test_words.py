import pytest

from trainables.text.words import words_of


def test_words_and_signs_are_told_apart_and_joined() -> None:
    assert words_of("Where's my Card?", 1) == ["where", "'", "s", "my", "card", "?"]
    assert words_of("my new card", 2) == ["my", "new", "card", "my new", "new card"]
    assert words_of("my new card", 3)[-1] == "my new card"
    assert words_of("", 3) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("很快，OK好吃", ["很", "快", "，", "ok", "好", "吃"]),
        ("お金を3回ATMで", ["お", "金", "を", "3", "回", "atm", "で"]),
        ("ラーメン", ["ラ", "ー", "メ", "ン"]),
        ("ที่นี่ดี", ["ที่", "นี่", "ดี"]),
        ("카드를 분실", ["카드를", "분실"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("Grüße, мир!", ["grüße", ",", "мир", "!"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
    ],
)
def test_characters_are_words_where_nothing_stands_between_words(text: str, words: list[str]) -> None:
    assert words_of(text, 1) == words


def test_pairs_of_characters_are_joined_too() -> None:
    assert words_of("很快吃", 2) == ["很", "快", "吃", "很 快", "快 吃"]
