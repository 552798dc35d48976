"""Queries: what a person types into a search, read the same way for the index and for texts that no index knows."""

import re
from dataclasses import dataclass

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
        words = folded(text)
        if any(_inside(term, words) for term in self.unwanted):
            return 0
        return sum(_inside(term, words) for term in self.wanted)


def _inside(term: str, words: str) -> bool:
    wanted = folded(term).strip()
    return f" {stem(wanted)}" in words if term.endswith("*") or wanted.isascii() else f" {wanted} " in words


def _quoted(term: str) -> str:
    escaped = term.removesuffix("*").replace('"', '""')
    return f'"{escaped}"' + ("*" if term.endswith("*") else "")
