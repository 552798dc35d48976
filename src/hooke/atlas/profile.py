"""Profiles: how files of schema 1 keep a feature's examples, as texts without token ids."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from hooke.atlas.feature import OutputToken, Passage, old_score
from hooke.atlas.packing import unsqueeze
from hooke.atlas.query import Query
from hooke.atlas.records import Label

_MOST = 1 << 16


def unpack_profile(blob: bytes) -> dict[str, Any]:
    """The fields of `Feature` in a profile, and ``words``, what its label's rule looks for."""
    found = json.loads(unsqueeze(blob, _MOST))
    top = [_passage(*example) for example in found["examples"]]
    return {
        "top": top,
        "promoted": [OutputToken(_text(token), None) for token in found["outputs"]],
        "words": list(map(_text, found["words"])),
    }


def scan(rows: Iterable[tuple[int, int, bytes]], query: Query, wanted: int) -> Iterator[tuple[int, list[Passage], int]]:
    """Each feature with the examples that have so many `wanted` words of the query, and how many tokens it promotes that are one."""
    for feature, _, content in rows:
        # Most have none of the words, and a look at the text is quicker than reading it.
        if not query.maybe(unsqueeze(content, _MOST).decode()):
            continue
        fields = unpack_profile(content)
        top = [passage for passage in fields["top"] if query.hits("".join(passage.tokens)) >= wanted]
        yield feature, top, sum(query.hits(token.text) >= wanted for token in fields["promoted"])


def old_label(text: str | None, rule: str | None, score: float | None, evidence: int, words: list[str]) -> Label | None:
    """The label that a row of schema 1 holds."""
    if text is None:
        return None
    return Label(text, rule or "none", {"words": words}, None if score is None else old_score(score, evidence))


def _passage(before: Any, peak: Any, after: Any, activation: Any, source: Any) -> Passage:
    if not math.isfinite(value := float(activation)):
        raise ValueError("an activation is not finite")
    return Passage(list(map(_text, (before, peak, after))), [0.0, value, 0.0], 1, _text(source), None, None)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is not one")
    return value
