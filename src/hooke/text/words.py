"""Words: the words that tokens are pieces of, and what kind of thing each token is."""

import re
import unicodedata
from collections.abc import Sequence

TOKEN_KINDS = ("numbers", "punctuation", "line breaks", "capitalised words", "words in capitals", "parts inside words", "non-Latin script")
"""Kinds a token can be of, in the order of `kinds`."""

_LETTERS, _WORD = re.compile(r"[^\W\d_]"), re.compile(r"\w+")


def words_of(pieces: Sequence[str]) -> tuple[list[str], list[int]]:
    """The words (lower case) of a text given as token pieces, and for each piece the number of its word.

    A word begins at a space, a line break, and wherever letters or digits meet anything else.

    >>> words_of(["The", " mini", "ster", "'", "s", " £", "5"])
    (['the', 'minister', "'", 's', '£', '5'], [0, 1, 1, 2, 3, 4, 5])
    """
    words: list[str] = []
    index = []
    solid = False  # whether the word before may go on
    for piece in pieces:
        body = piece.strip(" ").lower()
        goes_on = solid and bool(body) and not piece.startswith(" ") and body[0].isalnum()
        if goes_on:
            words[-1] += body
        else:
            words.append(body or piece)
        solid = bool(body) and body[-1].isalnum()
        index.append(len(words) - 1)
    return words, index


def kinds(piece: str) -> list[bool]:
    """Which of `TOKEN_KINDS` a token's text is.

    >>> [kind for kind, is_one in zip(TOKEN_KINDS, kinds(" Bank")) if is_one]
    ['capitalised words']
    """
    body = piece.strip(" ")
    letters = _LETTERS.findall(body)
    return [
        bool(body) and body[0].isdigit(),
        bool(body.strip()) and not any(char.isalnum() for char in body),
        "\n" in piece,
        bool(letters) and body[0].isupper() and not body.isupper(),
        len(letters) > 1 and body.isupper(),
        bool(letters) and not piece.startswith(" ") and body[0].islower(),
        any(ord(char) > 0x24F and not unicodedata.name(char, "").startswith("LATIN") for char in letters),
    ]


def folded(text: str) -> str:
    """`text` without case and accents, its words between single spaces."""
    bare = text.casefold()
    if not bare.isascii():
        bare = "".join(char for char in unicodedata.normalize("NFD", bare) if not unicodedata.combining(char))
    return f" {' '.join(_WORD.findall(bare))} "


def stem(word: str) -> str:
    """`word` without an English ending, near enough to what a search in an atlas does."""
    return re.sub(r"(?<=\w{4})(?:ings?|ed|es|s|ers?|e)$", "", word)
