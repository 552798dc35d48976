"""Features, atlases and findings in a notebook's cell: short forms, styled by themselves."""

from collections.abc import Iterable, Mapping
from typing import Any

from hooke.atlas import wording
from hooke.atlas.feature import Context, Feature
from hooke.atlas.records import NO_MEANING, TOO_RARE, SaeEntry
from hooke.atlas.search import SearchResult
from hooke.text.marks import stripped
from hooke.text.markup import Markup, join, tag

LABEL = 200
"""Characters of a label that are shown."""
_TINTS = ("", *(f"rgba(230,159,0,{alpha})" for alpha in (0.15, 0.3, 0.45, 0.65, 0.85)))
_CELL = "text-align:left;padding:.15em .8em .15em 0"


def fragment(feature: Feature) -> Markup:
    """A feature in a notebook's cell: name, trust, figures and its strongest examples, styled by itself."""
    rows = [*(wording.trust(feature.label) if feature.label else ()), *wording.facts(feature)]
    cells = [tag("tr", tag("td", name, style=_CELL + ";opacity:.75"), tag("td", value, style=_CELL)) for name, value in rows]
    examples = [tag("p", _tinted(context.near(), feature.max), style="margin:.2em 0") for context in feature.top[:5]]
    name = tag("code", stripped(feature.name), style="opacity:.75;background:none")
    return tag("div", tag("b", tag("bdi", heading(feature))), " ", name, tag("table", tag("tbody", cells)), examples)


def contents(name: str, facts: Mapping[str, Any], saes: Iterable[SaeEntry]) -> Markup:
    """What an atlas is about, in a notebook's cell."""
    head = tag("tr", [tag("th", heading, style=_CELL) for heading in ("SAE", "features")])
    rows = [tag("tr", tag("td", tag("code", stripped(e.name)), style=_CELL), tag("td", f"{e.d_sae:,}", style=_CELL)) for e in saes]
    model, tokens = stripped(str(facts.get("model", "a model"))), facts.get("tokens")
    read = f", {wording.number(tokens)} tokens read" if isinstance(tokens, int) else ""
    return tag("div", tag("b", f"Atlas of {model}"), f" ({stripped(name)}{read})", tag("table", tag("thead", head), tag("tbody", rows)))


def results(found: SearchResult) -> Markup:
    """What a search found, in a notebook's cell."""
    head = tag("tr", [tag("th", name, style=_CELL) for name in ("feature", "label", "score", "of tokens", "text")])
    rows = []
    for hit in found:
        quiet = ";opacity:.6" if hit.title in (None, NO_MEANING, TOO_RARE) else ""
        cells = (
            tag("td", tag("code", stripped(hit.name), style="background:none"), style=_CELL),
            tag(
                "td", tag("bdi", ("★ " if hit.written.star else "") + stripped(hit.title or wording.NO_LABEL)[:LABEL]), style=_CELL + quiet
            ),
            tag("td", "–" if hit.score is None else f"{hit.score:.2f}", style=_CELL),
            tag("td", wording.percent(hit.density), style=_CELL),
            tag("td", _tinted(hit.passage, hit.max) if hit.passage else None, style=_CELL),
        )
        rows.append(tag("tr", cells))
    said = "No feature has all of these words; here is what has some of them." if found.loosened else None
    return tag("div", tag("p", said) if said else None, tag("table", tag("thead", head), tag("tbody", rows)))


def heading(feature: Feature) -> str:
    """What a feature is called: your label, else the atlas', else that it has none."""
    return stripped(feature.title or wording.NO_LABEL)[:LABEL] or wording.NO_LABEL


def _tinted(context: Context, maximum: float) -> Markup:
    steps = [wording.step(value, maximum) for value in context.values]
    return join(
        [tag("span", token, style=f"background:{_TINTS[s]}") if s else token for token, s in zip(context.tokens, steps, strict=True)]
    )
