"""Texts as words, in any script; knows nothing of networks or data sets."""

import re

# Scripts that put no space between words, of which each character counts as one: Chinese and Japanese characters,
# kana, Thai, Lao, Burmese, Khmer.
_SIGNS = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_THAI = "\u0e01-\u0e30\u0e32\u0e33\u0e3f-\u0e46\u0e4f-\u0e59\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0ed0-\u0edf"
_KHMER = "\u1000-\u102a\u103f-\u1049\u1050-\u1055\u1780-\u17b3\u17d7-\u17e9"
_SINGLE = _SIGNS + _KANA + _THAI + _KHMER
# What stands over, under or beside the character before it, which `\w` leaves out, and joiners within words.
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    "\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0900-\u0903\u093a-\u094f\u0955-\u0957\u0962\u0963\u0980-\u0983\u09bc-\u09cd"
    "\u0a01-\u0a03\u0a3c-\u0a4d\u0a70\u0a71\u0a81-\u0a83\u0abc-\u0acd\u0b01-\u0b03\u0b3c-\u0b4d\u0b82\u0bbe-\u0bcd"
    "\u0c00-\u0c04\u0c3c-\u0c56\u0c81-\u0c83\u0cbc-\u0cd6\u0d00-\u0d03\u0d3b-\u0d4d\u0d81-\u0d83\u0dca-\u0ddf"
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u3099\u309a\u200c\u200d"
)
_RUN = rf"(?:(?![{_SINGLE}])[\w{_MARKS}])+"
_WORD = re.compile(rf"[{_SINGLE}][{_MARKS}]*|{_RUN}|[^\w\s{_MARKS}]")
# What is one name for all its signs: addresses of pages and of mail, names of users, tags.
_ADDRESS = (
    r"(?:https?://|www\.)(?:[^\s\u0080-\uffff]*[A-Za-z0-9_/])?|[A-Za-z0-9][\w.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
_UNIT = re.compile(rf"{_ADDRESS}|[@#]{_RUN}|{_WORD.pattern}")


_NO_SPACE = re.compile(rf"[{_SINGLE}{_MARKS}\u3001-\u303f\uff01-\uff65]")


def spans_of(text: str) -> list[tuple[int, int]]:
    """Where each word, sign and address of a text begins and ends."""
    return [found.span() for found in _UNIT.finditer(text)]


def are_parted(left: str, right: str) -> bool:
    """Whether a space is written between two words that follow each other."""
    return not (_NO_SPACE.match(left[-1:]) and _NO_SPACE.match(right))


def words_of(text: str, ngrams: int, max_length: int | None = None) -> list[str]:
    """The first words and signs of a text, lower case, and after them all that follow each other, up to `ngrams`.

    Where a script puts no spaces between words, such as Chinese, each character is one.
    """
    words = _WORD.findall(text.lower())[:max_length]
    joined = [" ".join(words[i : i + n]) for n in range(2, ngrams + 1) for i in range(len(words) - n + 1)]
    return words + joined
