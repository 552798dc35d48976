"""Kinds: what a feature is, as its reader said or else by its rule. Needs no model."""

from hooke.atlas import NO_MEANING, TOO_RARE, Name
from hooke.explain.rules.phrasing import reworded
from hooke.explain.rules.vocabulary import grammatical

ABOUT_KINDS = ("topic", "entity", "event", "frame")
"""Kinds of features that tell what a text is about; the others are of its words."""
_ABOUT_RULES = ("topic", "subject", "text", "text class", "near", "near class")
_FORM_RULES = ("mark", "ending", "beginning", "language")


def kind_of(name: Name | None, rule: str | None, label: str | None) -> str | None:
    """What a feature is, in the words of `hooke.atlas.naming.ABOUT`: as its reader said, else by the rule; None where nothing is known."""
    if name is not None:
        return name.about
    if label is None:
        return None
    if label in (NO_MEANING, TOO_RARE) or rule == "none":
        return "unclear"
    said = reworded(label)
    if rule in _ABOUT_RULES or said.startswith(("about ", "near ")):
        return "topic"
    if rule in _FORM_RULES:
        return "form"
    words = {word.strip("“”") for word in said.removeprefix("the word ").split(", ")}
    return "grammar" if words <= grammatical() or said.startswith(("after ", "before ")) else "word"
