"""Queries: what a person types into a search, read the same way for the index and for texts that no index knows."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from hooke.errors import BadConfig
from hooke.text.words import folded, stem

MAX_QUERY = 1000
"""Characters of a query."""
_MAX_TERMS = 24
_TERM = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')


@dataclass(frozen=True)
class Query:
    """Words that must be there, and words that must not: ``space launch "solar wind" orbit* -film``."""

    wanted: tuple[str, ...]
    """Words and phrases; one that ends in ``*`` stands for every word that begins so."""
    unwanted: tuple[str, ...] = ()
    """Words and phrases that must not be there."""

    @classmethod
    def parse(cls, text: str) -> "Query":
        """The query that `text` is; `BadConfig` where there is no word in it."""
        if len(text) > MAX_QUERY:
            raise BadConfig(f"this query has {len(text):,} characters; it may have {MAX_QUERY:,}.")
        wanted: list[str] = []
        unwanted: list[str] = []
        for minus, phrase, word in _TERM.findall(text):
            term = " ".join((phrase or word).replace('"', " ").replace("\0", " ").split())
            if any(map(str.isalnum, term)):
                (unwanted if minus else wanted).append(term)
        if not wanted:
            raise BadConfig(f'there is no word to search for in {text!r}. Give words, a "phrase in quotes" or the beginning of a wo*.')
        return cls(tuple(wanted[:_MAX_TERMS]), tuple(unwanted[:_MAX_TERMS]))

    def match(self, *columns: str, every: bool = True) -> str:
        """The query in the language of SQLite's index, over `columns`; every word, or any of them."""
        words = (" AND " if every else " OR ").join(map(_quoted, self.wanted))
        without = "".join(f" NOT {_quoted(term)}" for term in self.unwanted)
        return f"{{{' '.join(columns)}}} : (({words}){without})"

    def hits(self, text: str) -> int:
        """How many of the wanted words `text` has, endings aside; 0 where it has an unwanted one."""
        return Texts([text]).hits(self).get(0, 0)


class Texts:
    """Texts read once as `Query.hits` reads one, so that a query finds those that have its words at one go."""

    def __init__(self, texts: Iterable[str]) -> None:
        own = [folded(text) for text in texts]
        self._all = "\n".join(own)  # which no folded text has in it
        self._starts = list(accumulate((len(text) + 1 for text in own[:-1]), initial=0))

    def hits(self, query: Query) -> dict[int, int]:
        """How many of the wanted words each text has, by its number; texts without any, or with an unwanted one, are left out."""
        found = Counter(number for term in query.wanted for number in self._having(term))
        unwanted = {number for term in query.unwanted for number in self._having(term)}
        return {number: words for number, words in found.items() if number not in unwanted}

    def _having(self, term: str) -> set[int]:
        wanted = folded(term).strip()
        sought = f" {stem(wanted)}" if term.endswith("*") or wanted.isascii() else f" {wanted} "
        found, at = set(), self._all.find(sought)
        while at >= 0:
            number = bisect_right(self._starts, at) - 1
            found.add(number)
            next_text = self._starts[number + 1] if number + 1 < len(self._starts) else len(self._all)
            at = self._all.find(sought, next_text)
        return found


def _quoted(term: str) -> str:
    escaped = term.removesuffix("*").replace('"', '""')
    return f'"{escaped}"' + ("*" if term.endswith("*") else "")
