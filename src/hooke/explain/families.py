"""Families: words that a language model's embedding puts side by side, as word classes. Made from Gemma's weights: its terms apply."""

from functools import cache
from importlib import resources

_NAMED = 3
"""Words in a family's name."""


@cache
def families() -> dict[str, frozenset[str]]:
    """The families by name, each with its words: the small ones, then those of several small ones.

    ``families.txt`` has a line for each small family, the words that say most of it first, and an empty line between large ones. A large
    family is called by the first words of its first small ones, so no two names are the same.
    """
    lines = (resources.files("hooke.explain") / "families.txt").read_text("utf-8").split("\n\n")
    large = [[line.split() for line in block.splitlines()] for block in lines]
    small = {", ".join(words[:_NAMED]): frozenset(words) for block in large for words in block}
    wide = {", ".join(words[0] for words in block[:_NAMED]): frozenset().union(*block) for block in large if len(block) > 1}
    return small | wide
