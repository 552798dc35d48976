"""How an analysis is put into words and steps: the same in the terminal, on the page and in a notebook."""

import math
import re

from hooke.analysis.result import Hit, TextResult
from hooke.errors import HookeError
from hooke.explain.rules.phrasing import reworded
from hooke.names import Site
from hooke.text.marks import stripped

NO_LABEL = "no label"
"""What stands where a label would, when no atlas knows the feature."""
YOURS = ("your label", "· not scored")
"""What stands where a score would, when the label is a person's own: the atlas' score is of the atlas' label."""
STRONG, FAIR = 0.85, 0.7
"""From which score on a name is called strongly, or fairly, supported; below it is weak, and 0.5 is chance."""
ENOUGH = 20
"""Held-out examples that a strong score rests on at least."""
STEPS = 5
"""Steps of the colour scale; each is a fifth of a feature's maximum."""


def score(value: float | int | None, evidence: int | None, method: str | None) -> tuple[str, str]:
    """A label's score and what stands behind it; never shown the one without the other.

    >>> score(0.934, 128, "extractive")
    ('0.93', 'n 128 · extractive')
    """
    how = {"": "method not stated", "none": "no name held up"}.get(stripped(method or ""), stripped(method or ""))
    if value is None or not math.isfinite(value):
        return "unscored", f"· {how}" if method else ""
    return f"{value:.2f}", f"n {number(evidence)} · {how}"


def trust(hit: Hit) -> str:
    """How far a feature's name is to be trusted, in a word: by the score of a reader's name, else of the rule (strong: on some examples).

    >>> trust(Hit("a/1", "a", 1, "bank", 0.93, "word", 40, 1.0, 1.0, 3.0, "bank", 0))
    'strong'
    """
    value = hit.name_score if hit.name_score is not None else hit.label_score
    if hit.own_label:
        return "yours"
    if value is None or not math.isfinite(value):
        return "not scored"
    enough = hit.name_score is not None or hit.label_evidence >= ENOUGH
    return "strong" if value >= STRONG and enough else "fair" if value >= FAIR else "weak"


def untried(hit: Hit) -> bool:
    """Whether its name is a reader's that nobody tried, so that what is known of the score is said of the rule."""
    return hit.name_score is None and None not in (hit.name, hit.label) and not str(hit.name).startswith(reworded(str(hit.label)))


def about(text: TextResult) -> list[Hit]:
    """What a text's first list shows: what it is about; of an analysis that has no such list, the features that stand out."""
    return text.about or ([] if text.words else text.features)


def named(hit: Hit) -> str:
    """What a feature is called, safe to show; in the list of what a text is about, what a rule's name is about.

    >>> named(Hit("a/1", "a", 1, None, None, None, 0, 1.0, 1.0, 3.0, "bank", 0))
    'no label'
    >>> named(Hit("a/1", "a", 1, "texts on sport", 0.9, "topic", 9, 1.0, 1.0, 3.0, "cup", 0, name="about sport", group="about"))
    'sport'
    """
    name = stripped(hit.title or "")[:200]
    return (name.removeprefix("about ") if hit.group == "about" and not hit.own_label else name) or NO_LABEL


def address(feature: str) -> tuple[str, str, str, str]:
    """A feature's address in four parts, of which the second and the last are enough where one SAE a layer is shown.

    >>> address("gemma-3-270m/resid_post.12/4k/2703")
    ('gemma-3-270m/resid_post.', '12', '/4k', '/2703')
    """
    found = re.fullmatch(r"(.*\.)([0-9]+)(/[^/]*)(/[0-9]+)", stripped(feature))
    return (found[1], found[2], found[3], found[4]) if found else ("", stripped(feature), "", "")


def strongest(hit: Hit, tokens: list[str]) -> list[tuple[str, float]]:
    """The tokens on which a feature fired, strongest first, with its activations."""
    ranked = sorted(hit.activations.items(), key=lambda item: (-item[1], item[0]))
    return [(tokens[pos], value) for pos, value in ranked if 0 <= pos < len(tokens)]


def past_maximum(hit: Hit) -> bool:
    """Whether a feature fired more strongly here than ever in the atlas' corpus."""
    return math.isfinite(hit.relative) and hit.relative > 1


def steps(hit: Hit) -> dict[int, int]:
    """Step 1 to ``STEPS`` of the colour scale, by position: fifths of the feature's maximum.

    Where no maximum is known (`relative` not above 0), the peak in this text stands for it.
    """
    known = math.isfinite(hit.relative) and hit.relative > 0
    top = hit.activation / hit.relative if known else hit.activation
    values = hit.activations or {hit.pos: hit.activation}
    return {pos: min(STEPS, math.ceil(STEPS * value / top - 1e-9) or 1) for pos, value in values.items() if value > 0 and top > 0}


def percent(share: float | int | None) -> str:
    """A share in whole per cent.

    >>> percent(0.874)
    '87\\u202f%'
    """
    return "not measured" if share is None or not math.isfinite(share) else f"{100 * share:.0f}\u202f%".replace("-", "−")


def explained(share: float | None) -> str:
    """How much of a text the features account for, in words."""
    return "explained share not measured" if share is None or not math.isfinite(share) else f"{percent(share)} explained"


def fields(text: TextResult) -> str:
    """What came with a text, each value with its name; long ones shortened.

    >>> fields(TextResult("rain", [], [], None, [], None, fields={"id": 17, "desk": "Weather", "note": None}))
    'id 17 · desk Weather'
    """
    known = [(stripped(name), stripped(str(value))) for name, value in text.fields.items() if value not in (None, "")]
    return " · ".join(f"{name} {value if len(value) <= 80 else value[:79] + '…'}" for name, value in known)


def clipped(share: float | int) -> float:
    """A share as the length of a bar, in [0, 1]."""
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


def number(value: float | int | None) -> str:
    """Three significant digits, thousands apart."""
    if value is None or not math.isfinite(value):
        return "not measured"
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def site(text: object) -> str:
    """A site as people say it: layer first."""
    try:
        parsed = Site.parse(str(text))
    except HookeError:
        return str(text)
    return f"layer {parsed.layer}, {parsed.kind}"


def count(n: int, noun: str) -> str:
    """A number with its noun.

    >>> count(2, "text")
    '2 texts'
    """
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"
