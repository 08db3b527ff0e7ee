import pytest

from trainables.text.words import spans_of, words_of


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


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("see http://t.co/aB3?x=1.", ["see", "http://t.co/aB3?x=1", "."]),
        ("(www.example.org/) www.", ["(", "www.example.org/", ")", "www."]),
        ("ada@mail.example.org, @ada_l's #London!", ["ada@mail.example.org", ",", "@ada_l", "'", "s", "#London", "!"]),
        ("好http://t.co/a好吃 @小明你好", ["好", "http://t.co/a", "好", "吃", "@", "小", "明", "你", "好"]),
        ("C# 3 @ 4", ["C", "#", "3", "@", "4"]),
        ("Lovelace,is", ["Lovelace", ",", "is"]),
    ],
)
def test_an_address_is_one_unit(text: str, units: list[str]) -> None:
    assert [text[start:end] for start, end in spans_of(text)] == units
