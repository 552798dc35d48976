"""Token marks: a text as token pieces, with each token's word and its marks: its form, its place in line and text, what encloses it."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from hooke.text.words import words_of

FORMS = (
    "numbers",
    "punctuation",
    "line breaks",
    "spaces",
    "capitalised words",
    "words in capitals",
    "single letters",
    "Cyrillic letters",
    "Greek letters",
    "Arabic letters",
    "Hebrew letters",
    "Chinese characters",
    "Japanese letters",
    "Korean letters",
    "Indian scripts",
    "Thai letters",
    "scripts other than Latin",
    "letters with accents",
)
"""Marks of a token's own text."""
PLACES = (
    "first words of a text",
    "words near the beginning of a text",
    "first words of a line",
    "first words of a sentence",
    "last words of a line",
    "last words of a sentence",
    "beginnings of split words",
    "middles of split words",
    "ends of split words",
    "years",
    "ordinal numbers",
    "digits inside numbers",
    "last digits of numbers",
    "decimals",
    "amounts of money",
    "percentages",
    "words after a number",
    "words before a number",
    "names inside a sentence",
    "second words of a name",
    "initials and abbreviations",
    "hyphenated words",
    "quoted text",
    "text in brackets",
    "code",
    "items of a list",
    "headings and lines in capitals",
)
"""Marks that a token's surroundings give it."""
MARKS = FORMS + PLACES
"""All marks, in the order of their numbers; the wording is what a label says."""

_NUMBER = {name: number for number, name in enumerate(MARKS)}
_SCRIPTS = {
    "CYRILLIC": "Cyrillic letters",
    "GREEK": "Greek letters",
    "ARABIC": "Arabic letters",
    "HEBREW": "Hebrew letters",
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese letters",
    "KATAKANA": "Japanese letters",
    "HANGUL": "Korean letters",
    "THAI": "Thai letters",
} | dict.fromkeys(
    ("DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "GUJARATI", "KANNADA", "MALAYALAM", "GURMUKHI", "ORIYA", "SINHALA"), "Indian scripts"
)
_BEGINNING = 6
"""So many words are near the beginning."""
_LONGEST_QUOTE = 80
"""A quotation mark that no other follows within so many tokens encloses nothing."""
_YEAR = re.compile(r"1[0-9]{3}|20[0-9]{2}")
_ORDINAL = re.compile(r"[0-9]+(st|nd|rd|th)")
_KEYWORDS = frozenset(
    {
        "def",
        "class",
        "import",
        "from",
        "return",
        "if",
        "for",
        "while",
        "else",
        "elif",
        "try",
        "except",
        "with",
        "public",
        "static",
        "void",
        "function",
        "var",
        "const",
        "let",
    }
)
_ITEM = re.compile(r"\s*([-*•·–]|\(?[0-9]{1,2}[.)]|\(?[a-z][.)])\s+\S")
_TITLES = frozenset({"mr", "mrs", "ms", "dr", "st", "prof", "sen", "rep", "gen", "col", "capt", "lt", "rev", "no", "vs"})
_CURRENCY = frozenset("$£€¥")
_POINTS = frozenset({".", ","})
_ENDS = (".", "!", "?")
_PERCENT = frozenset({"%", "percent", "pct", "per"})
_OPENING = frozenset("\"'“‘")
_BEFORE_SPEECH = frozenset(".!?:,")
_PAIRS = {"(": ")", "[": "]", "“": "”", "«": "»"}


@dataclass(frozen=True)
class TokenMarks:
    """What can be said of each token of a text from the text alone."""

    words: list[str]
    """The words, lower case, in reading order."""
    index: list[int]
    """For each token the number of its word."""
    marks: list[int]
    """For each token its `MARKS`, as bits."""


def token_marks(pieces: Sequence[str]) -> TokenMarks:
    """The marks of the tokens that `pieces` spell.

    >>> found = token_marks(["In", " ", "1", "9", "8", "7"])
    >>> found.words, found.index
    (['in', '1987'], [0, 1, 1, 1, 1, 1])
    """
    words, index = _words(pieces)
    marks = [_form(piece) for piece in pieces]
    for mark, tokens in (*_word_places(pieces, words, index), *_enclosed(pieces), *_lines(pieces)):
        bit = 1 << _NUMBER[mark]
        for token in tokens:
            marks[token] |= bit
    return TokenMarks(words, index, marks)


def names_of(marks: int) -> list[str]:
    """The `MARKS` whose bits are set."""
    return [name for number, name in enumerate(MARKS) if marks >> number & 1]


def _words(pieces: Sequence[str]) -> tuple[list[str], list[int]]:
    """Words as `words_of` finds them, but a lone space (some tokenizers put one before a number) belongs to the word that follows."""
    joined: list[str] = []
    group = []
    waiting = False
    for piece in pieces:
        if waiting and not piece.startswith((" ", "\n")):
            joined[-1] += piece
        else:
            joined.append(piece)
        waiting = piece == " "
        group.append(len(joined) - 1)
    words, index = words_of(joined)
    return words, [index[number] for number in group]


@lru_cache(1 << 17)
def _form(piece: str) -> int:
    body = piece.strip()
    letters = [char for char in body if char.isalpha()]
    found = [
        ("numbers", body[:1].isdigit()),
        ("punctuation", bool(body) and not any(char.isalnum() for char in body)),
        ("line breaks", "\n" in piece),
        ("spaces", bool(piece) and not body and "\n" not in piece),
        ("capitalised words", bool(letters) and body[0].isupper() and not (len(letters) > 1 and body.isupper())),
        ("words in capitals", len(letters) > 1 and body.isupper()),
        ("single letters", len(letters) == 1 and len(body) == 1),
        ("letters with accents", any("\u00c0" <= char <= "\u024f" for char in letters)),
    ]
    marks = sum(1 << _NUMBER[name] for name, holds in found if holds)
    for char in letters:
        if char > "\u024f":
            script = _SCRIPTS.get(unicodedata.name(char, "").partition(" ")[0].partition("-")[0])
            if script:
                marks |= 1 << _NUMBER[script]
            if not unicodedata.name(char, "").startswith("LATIN"):
                marks |= 1 << _NUMBER["scripts other than Latin"]
    return marks


Marked = list[tuple[str, list[int]]]
"""Marks, each with the tokens that have it."""


@dataclass(frozen=True)
class _Row:
    """The words of a text in a row, with what is asked of each one's neighbours."""

    words: list[str]
    capital: list[bool]
    """Whether the word is written with a capital."""

    def at(self, number: int) -> str:
        """A word, or nothing where the text has begun or ended."""
        return self.words[number] if 0 <= number < len(self.words) else ""

    def number(self, number: int) -> bool:
        """Whether a word is a number."""
        return self.at(number)[:1].isdigit()

    def goes_on(self, number: int) -> bool:
        """Whether a number goes on behind a point or comma."""
        return self.at(number + 1) in _POINTS and self.number(number + 2)

    def opens(self, number: int) -> bool:
        """Whether a word begins a sentence."""
        before, two_before = self.at(number - 1), self.at(number - 2)
        if number == 0 or "\n" in before or before[-1:] in _ENDS[1:]:
            return True
        if before[-1:] == ".":
            return len(two_before) > 1 and two_before not in _TITLES
        return before in _OPENING and (number < 2 or "\n" in two_before or two_before in _BEFORE_SPEECH)


def _word_places(pieces: Sequence[str], words: list[str], index: list[int]) -> Marked:
    """Marks that depend on the words beside a token's own, or on which part of its word it is."""
    out: dict[str, list[int]] = {name: [] for name in PLACES}
    starts: dict[int, int] = {}
    capital = [False] * len(words)
    for token, word in enumerate(index):
        if word not in starts and pieces[token].strip(" "):
            starts[word] = token
            capital[word] = pieces[token].strip(" ")[0].isupper()
    row = _Row(words, capital)
    known: dict[int, list[str]] = {}
    for token, word in enumerate(index):
        if word not in known:
            known[word] = [name for name, holds in _of_word(row, word) if holds]
        ends = token + 1 == len(index) or index[token + 1] != word
        for name in known[word]:
            out[name].append(token)
        for name, holds in _of_part(row, word, pieces[token], starts.get(word) == token, ends):
            if holds:
                out[name].append(token)
    return list(out.items())


def _of_word(row: _Row, word: int) -> tuple[tuple[str, bool], ...]:
    """Marks that all tokens of a word share."""
    own, before, after = row.at(word), row.at(word - 1), row.at(word + 1)
    number, solid, opens = row.number(word), own[:1].isalpha(), row.opens(word)
    third = row.at(word + 3) if row.goes_on(word) else ""
    money = before in _CURRENCY or (before in _POINTS and row.number(word - 2) and row.at(word - 3) in _CURRENCY)
    return (
        ("first words of a text", word == 0),
        ("words near the beginning of a text", word < _BEGINNING),
        ("first words of a line", word == 0 or ("\n" in before and "\n" not in own)),
        ("first words of a sentence", solid and opens),
        ("last words of a line", "\n" in after),
        ("last words of a sentence", own.isalnum() and after[:1] in _ENDS and not row.goes_on(word)),
        ("years", number and _YEAR.fullmatch(own) is not None),
        ("ordinal numbers", number and _ORDINAL.fullmatch(own) is not None),
        ("decimals", number and before == "." and row.number(word - 2)),
        ("amounts of money", number and money),
        ("percentages", number and (after in _PERCENT or third in _PERCENT)),
        ("words after a number", not number and row.number(word - 1)),
        ("words before a number", not number and row.number(word + 1)),
        ("names inside a sentence", solid and row.capital[word] and not opens),
        ("second words of a name", solid and row.capital[word] and word > 0 and row.capital[word - 1]),
        ("initials and abbreviations", _initial(before, own, after)),
    )


def _of_part(row: _Row, word: int, piece: str, starts: bool, ends: bool) -> tuple[tuple[str, bool], ...]:
    """Marks of a token as a part of its word."""
    own, before, after = row.at(word), row.at(word - 1), row.at(word + 1)
    solid = own[:1].isalpha()
    split = solid and not (starts and ends)
    digits = own[:1].isdigit() and piece.strip()[:1].isdigit()
    return (
        ("beginnings of split words", split and starts),
        ("middles of split words", split and not starts and not ends),
        ("ends of split words", split and ends),
        ("digits inside numbers", digits and not starts),
        ("last digits of numbers", digits and ends and not row.goes_on(word)),
        ("hyphenated words", (solid and "-" in (before, after)) or (own == "-" and before[:1].isalpha() and not piece.startswith(" "))),
    )


def _initial(before: str, own: str, after: str) -> bool:
    """A letter with a full stop after it, or that full stop."""
    return (len(own) == 1 and own.isalpha() and after == ".") or (own == "." and len(before) == 1 and before.isalpha())


def _enclosed(pieces: Sequence[str]) -> Marked:
    """Tokens between quotation marks or brackets that close again before the line ends or too much is enclosed."""
    quoted: list[int] = []
    bracketed: list[int] = []
    waiting: dict[str, int] = {}
    for token, piece in enumerate(pieces):
        if "\n\n" in piece:
            waiting.clear()
        for char in piece:
            # A closing mark that nothing waits for opens what follows, as straight quotation marks do.
            closes = waiting.pop(char, None)
            if closes is not None and token - closes <= _LONGEST_QUOTE:
                (bracketed if char in ")]" else quoted).extend(range(closes + 1, token))
            elif char in _PAIRS:
                waiting[_PAIRS[char]] = token
            elif char == '"':
                waiting[char] = token
    return [("quoted text", quoted), ("text in brackets", bracketed)]


def _is_code(line: str) -> bool:
    """Whether a line looks like a program's: indented, ended like one, or a keyword's or a call's."""
    body = line.strip()
    first = body.split(" ", 1)[0].rstrip(":(")
    call = "(" in body and ")" in body and any(char in body for char in "=_")
    return bool(body) and (
        line.startswith(("    ", "\t")) or body[-1] in "{};=" or (first in _KEYWORDS and any(c in body for c in "(:=")) or call
    )


def _lines(pieces: Sequence[str]) -> Marked:
    """Marks of the line that a token is in."""
    out: dict[str, list[int]] = {"code": [], "items of a list": [], "headings and lines in capitals": []}
    line: list[int] = []
    for token in range(len(pieces) + 1):
        if token < len(pieces) and "\n" not in pieces[token]:
            line.append(token)
            continue
        text = "".join(pieces[own] for own in line)
        indented = "" if not line or not line[0] else pieces[line[0] - 1].rpartition("\n")[2]
        if _is_code(indented + text):
            out["code"] += line
        if _ITEM.match(text):
            out["items of a list"] += line
        if text.lstrip().startswith("#") or (len(text) > 8 and text.isupper()):
            out["headings and lines in capitals"] += line
        line = []
    return list(out.items())
