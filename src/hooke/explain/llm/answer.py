"""Answers: the small JSON objects that readers give, taken apart with distrust. Nothing in an answer is ever run or followed."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hooke.atlas.naming import ABOUT, MAX_NAME, MAX_NOTE, Name
from hooke.text.marks import stripped

MAX_ANSWER = 4096
"""Characters of an answer; a longer one is none."""
MAX_WORDS = 6
_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.DOTALL)
_MARKUP = re.compile(r"<\s*[/!a-zA-Z]|&#?\w+;|\x1b|\x9b|https?:")
_QUOTED = re.compile(r"""["'“‘«][^"'”’»]*["'”’»]""")
# The first eight digits of digests of words that have no place in a name, so that they need not stand here.
_SLURS = frozenset(
    re.findall(
        ".{8}",
        "044eb98b08a841e90ce875d611cf8376120f6e5b158869a916ea09fc17a110e51e02eec422fc75e6268651b3333f76183b1e0d7c"
        "402f7ebd448b303c45cd3e1b517ae3f7566f532d5b3ae48b7122c9a182159dd08f5083e3937d56e498b52c4b9ae315a9bd331fb1"
        "be00f1afc1cabb6fc2c3b68bc3de533ecc020323daec0c23e7b98c6aeef3bd09f9d0d9b1",
    )
)


class Invalid(ValueError):
    """An answer that is none; the text says what is wrong with it, for the reader that is asked again."""


def parse_name(text: str) -> Name:
    """The name in an answer to an evidence sheet. Raises `Invalid`."""
    answer = answer_object(text, {"name", "about"}, {"note", "confidence"})
    about, name, note = answer["about"], answer["name"], answer.get("note", "")
    if about not in ABOUT:
        raise Invalid(f"about is none of {', '.join(ABOUT)}")
    if not isinstance(name, str) or not isinstance(note, str):
        raise Invalid("name and note have to be texts")
    note = stripped(_MARKUP.sub("", note))
    note = note if len(note) <= MAX_NOTE else note[: MAX_NOTE - 1].rstrip() + "…"
    return Name("" if about == "unclear" else _named(name), about, note, _share(answer.get("confidence")))


def parse_detection(places: int) -> Callable[[str], tuple[int, ...]]:
    """What takes apart an answer to so many numbered places: the numbers, from 1, of those said to be active. Raises `Invalid`."""
    return lambda text: numbers(answer_object(text, {"active"}), "active", places)


def numbers(answer: Mapping[str, Any], key: str, most: int) -> tuple[int, ...]:
    """The numbers, from 1, of so many lines that an answer has under `key`, each once. Raises `Invalid`."""
    said = answer[key]
    if not isinstance(said, list) or any(isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= most for n in said):
        raise Invalid(f"{key} has to be a list of numbers from 1 to {most}")
    return tuple(sorted(set(said)))


def answer_object(text: str, needed: set[str], allowed: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON object that an answer is: with all keys that are `needed`, and of others only those `allowed`. Raises `Invalid`."""
    if len(text) > MAX_ANSWER:
        raise Invalid(f"the answer has {len(text):,} characters, more than {MAX_ANSWER:,}")
    fenced = _FENCE.match(text)
    try:
        found = json.loads(fenced[1] if fenced else text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise Invalid("the answer is not one JSON object") from error
    if not isinstance(found, dict) or not needed <= found.keys() or not found.keys() <= needed.union(allowed):
        raise Invalid(f"the answer has to be one JSON object with {', '.join(sorted(needed.union(allowed)))} and nothing else")
    return found


def _named(text: str) -> str:
    if _MARKUP.search(text):
        raise Invalid("the name has markup, an escape or an address in it")
    name = stripped(unicodedata.normalize("NFC", text)).strip(" .,;:")
    if not name or len(name) > MAX_NAME or len(name.split()) > MAX_WORDS:
        raise Invalid(f"the name has to have 2 to {MAX_WORDS} words and at most {MAX_NAME} characters")
    letters = [c for c in _QUOTED.sub("", name) if c.isalpha()]
    if not letters or sum("LATIN" in unicodedata.name(c, "") for c in letters) < 0.8 * len(letters):
        raise Invalid("the name has to be in English")
    if any(_slur(word) for word in re.findall(r"\w+", name.casefold())):
        raise Invalid("the name has to be one that could stand in a newspaper")
    return name


def _slur(word: str) -> bool:
    return hashlib.sha256(word.encode()).hexdigest()[:8] in _SLURS


def _share(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Invalid("confidence has to be a number from 0 to 1")
    return float(value)
