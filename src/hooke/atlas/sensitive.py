"""Sensitive: features on private, protected or offensive matters, by their names and by the tokens that they fire on."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

NOTE = "It may touch on private or offensive matters. A feature describes text, not people."
"""What stands beside such a feature."""
SHOW = "Show the texts: they may offend, or speak of private matters"
"""What is to be pressed before texts behind it are shown."""
_SPENT = 0.1
"""Share of its activation that such a feature spends on the listed words."""


def by_name(name: str | None) -> bool:
    """Whether a name speaks of what is private, protected or offensive.

    >>> by_name("religious festivals"), by_name("interest rates"), by_name(None)
    (True, False, False)
    """
    return bool(name and _listed().search(name))


def by_tokens(shares: Iterable[tuple[str, float]]) -> bool:
    """Whether a feature spends much of its activation on the listed words, whatever it is called; `shares` are of tokens.

    >>> by_tokens([(" bank", 0.7), (" murder", 0.25)])
    True
    """
    return sum(share for token, share in shares if _listed().fullmatch(token.strip())) >= _SPENT


@cache
def _listed() -> re.Pattern[str]:
    lines = files("hooke.atlas").joinpath("sensitive.txt").read_text("utf-8").splitlines()
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    spelt = (re.escape(word.removesuffix("*")) + (r"\w*" if word.endswith("*") else "") for word in words)
    return re.compile(rf"\b(?:{'|'.join(spelt)})\b", re.IGNORECASE)
