"""Vocabulary: what is known of a word by itself: the word classes it belongs to, how it ends and begins, the language it speaks for."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

ENDING, SHORT_ENDING, BEGINNING = 3, 2, 4
"""Letters of a word's endings and of its beginning."""
_MIN_LETTERS = 5
"""Shorter words have no ending or beginning to speak of."""
# Classes of grammar whose words are all of grammar (a verb in the past may say what a text is on).
_SMALL_WORDS = frozenset(
    {
        "auxiliary verbs",
        "negations",
        "pronouns for persons",
        "possessives",
        "words for it and that",
        "articles",
        "prepositions",
        "conjunctions",
        "question words",
    }
)
_MIN_HITS = 3
"""So many small words tell a language."""


@cache
def _tables() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    data = tomllib.loads((resources.files("hooke.explain.rules") / "classes.toml").read_text("utf-8"))
    own: dict[str, frozenset[str]] = {}
    for row in data["class"]:
        own[row["name"]] = frozenset(row.get("words", "").split()).union(*(own[name] for name in row.get("of", ())))
    return own, {row["name"]: frozenset(row["words"].split()) for row in data["language"]}


def named_classes() -> dict[str, frozenset[str]]:
    """The word classes that somebody named, each with its words."""
    return _tables()[0]


@cache
def classes() -> dict[str, frozenset[str]]:
    """All word classes, each with its words: those with a name of their own, and the `families`, called by some of their words."""
    return named_classes() | families()


@cache
def grammatical() -> frozenset[str]:
    """Words of grammar: they say nothing of what a text is on."""
    return frozenset().union(*(named_classes()[name] for name in _SMALL_WORDS))


@cache
def _known() -> frozenset[str]:
    return frozenset().union(*classes().values())


def is_word(text: str) -> bool:
    """Whether `text` is a whole English word of some content that is known here: no piece of one, and no word of grammar.

    >>> [is_word(text) for text in ("Profits", "extin", "of")]
    [True, False, False]
    """
    word = text.lower()
    return len(word) > 2 and word in _known() and word not in grammatical()


def languages() -> list[str]:
    """The languages that can be told."""
    return list(_tables()[1])


@cache
def _by_word(table: int) -> dict[str, tuple[int, ...]]:
    """For each word the numbers of the sets of one of the tables that it is in."""
    sets = (classes(), _tables()[1])[table]
    out: dict[str, tuple[int, ...]] = {}
    for number, words in enumerate(sets.values()):
        for word in words:
            out[word] = (*out.get(word, ()), number)
    return out


@cache
def names_of(word: str) -> tuple[str, ...]:
    """The `named_classes` that `word` is in."""
    return tuple(name for name, words in named_classes().items() if word in words)


def classes_of(word: str) -> tuple[int, ...]:
    """Numbers of the classes that `word` is in, in the order of `classes`."""
    return _by_word(0).get(word, ())


def language_of(words: Sequence[str]) -> int:
    """Number of the language in `languages` that a text of these words is in; -1 where its small words do not tell.

    >>> languages()[language_of("the cat is on the roof of the house".split())]
    'English'
    """
    table = _by_word(1)
    hits = Counter(number for word in words for number in table.get(word, ()))
    best = sorted(hits.items(), key=lambda item: (-item[1], item[0]))[:2]
    if not best or best[0][1] < _MIN_HITS or (len(best) > 1 and best[1][1] * 4 > best[0][1] * 3):
        return -1
    return best[0][0]


def ending(word: str, letters: int) -> str | None:
    """The last `letters` letters of a word long enough to have an ending."""
    return word[-letters:] if len(word) >= _MIN_LETTERS and word.isalpha() else None


def beginning(word: str) -> str | None:
    """The first letters of a word long enough to have a beginning."""
    return word[:BEGINNING] if len(word) >= _MIN_LETTERS and word.isalpha() else None


_NAMED = 3
"""Words in a family's name."""


@cache
def families() -> dict[str, frozenset[str]]:
    """The families by name, each with its words: the small ones, then those of several small ones.

    ``families.txt`` has a line for each small family, the words that say most of it first, and an empty line between large ones. A large
    family is called by the first words of its first small ones, so no two names are the same.
    """
    lines = (resources.files("hooke.explain.rules") / "families.txt").read_text("utf-8").split("\n\n")
    large = [[line.split() for line in block.splitlines()] for block in lines]
    small = {", ".join(words[:_NAMED]): frozenset(words) for block in large for words in block}
    wide = {", ".join(words[0] for words in block[:_NAMED]): frozenset().union(*block) for block in large if len(block) > 1}
    return small | wide
