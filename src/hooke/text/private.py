"""Private: e-mail addresses, account, telephone and other long numbers, taken out of text that is shown.

What stands for a person by name or by street address is not found: no pattern tells a private person from one in the news.
"""

import re
from collections.abc import Iterator, Sequence

COVER = "█"
"""What stands in the place of a token that is taken out."""
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_NUMBER = re.compile(r"(?<![\w.,])\+?\(?\d(?:[\s()/.-]{0,2}\d){8,18}(?![\w.,]?\d)")
_YEAR = r"(?:1[5-9]|20)\d\d"
_DATE = re.compile(
    rf"(?<!\d)(?:{_YEAR}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]{_YEAR}|{_YEAR}(?:[\s()/.-]{{1,2}}{_YEAR})+)(?!\d)"
)
_FRACTION = re.compile(r"\d{1,3}\.\d+")
_DIALLED = re.compile(r"\+|\(|0\d")
_DIGIT = re.compile(r"\d")
_SHORT = 3
"""Digits up to which numbers in a row are a table's or a score's, not parts of one long number."""


def masked(text: str) -> str:
    """`text` without e-mail addresses, account numbers, telephone and other long numbers.

    >>> masked("Write to jo.bell@example.org or call +44 20 7946 0958, room 12")
    'Write to [e-mail] or call [number], room 12'
    """
    out, at = [], 0
    for start, end, mark in sorted(_private(text)):
        if start >= at:
            out += [text[at:start], mark]
            at = end
    return "".join([*out, text[at:]])


def hidden(pieces: Sequence[str]) -> list[int]:
    """Which of the pieces of a text have a part in what `masked` takes out.

    >>> hidden(["to", " jo", "@", "x", ".", "org", " now"])
    [1, 2, 3, 4, 5]
    """
    text = "".join(pieces)
    spans = [(start, end) for start, end, _ in _private(text)]
    found, at = [], 0
    for n, piece in enumerate(pieces) if spans else ():
        start, at = at, at + len(piece)
        if any(start < high and low < at for low, high in spans):
            found.append(n)
    return found


def covered(pieces: Sequence[str]) -> list[str]:
    """The same number of pieces, those that `hidden` tells of covered.

    >>> covered(["to", " jo", "@", "x", ".", "org", " now"])
    ['to', ' █', '█', '█', '█', '█', ' now']
    """
    out = list(pieces)
    for n in hidden(pieces):
        out[n] = f" {COVER}" if out[n].startswith(" ") else COVER
    return out


def _private(text: str) -> Iterator[tuple[int, int, str]]:
    """Where something private stands, and what to say in its place."""
    if "@" in text:
        yield from ((*hit.span(), "[e-mail]") for hit in _MAIL.finditer(text))
    if _DIGIT.search(text):
        yield from ((*hit.span(), "[account]") for hit in _ACCOUNT.finditer(text))
        undated = _DATE.sub(lambda hit: "x" * len(hit[0]), text)
        yield from ((*hit.span(), "[number]") for hit in _NUMBER.finditer(undated) if not _harmless(hit[0]))


def _harmless(number: str) -> bool:
    """Whether digits are a fraction, or several short numbers in a row, and not one long number.

    >>> [_harmless(own) for own in ("3.141592653", "12 15 9 33 41", "020 7946 0958", "06 12 34 56 78", "4929 1234 5678 9012")]
    [True, True, False, False, False]
    """
    parts = re.findall(r"\d+", number)
    short = len(parts) > 3 and all(len(part) <= _SHORT for part in parts)
    return bool(_FRACTION.fullmatch(number)) or (short and not _DIALLED.match(number))
