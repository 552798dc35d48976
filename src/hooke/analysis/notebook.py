"""An analysis in a notebook's cell: inline styles, no script, colours that sit on a light and on a dark page."""

from hooke.analysis.result import Analysis, Hit, TextResult
from hooke.analysis.wording import (
    BAR,
    NO_LABEL,
    STEPS,
    Words,
    about,
    by_word,
    clipped,
    count,
    explained,
    named,
    percent,
    rated,
    site,
    tints,
)
from hooke.analysis.wording import topic as topic_of
from hooke.text.marks import stripped
from hooke.text.markup import Markup, join, tag

MAX_TEXTS = 40
"""Texts that a cell shows; `hooke.report.analysis.page` shows the rest."""
MAX_OPEN = 8
"""With more texts than this, their features are folded away."""

_TINTS = ("", *(f"rgba(230,159,0,{0.11 * step:.2f})" for step in range(1, STEPS + 1)))
_SOFT = "opacity:.75;font-size:.85em"
_CELL = "text-align:left;padding:1px 12px 1px 0;background:none;border:0"
_READING = (
    f"Each line: a feature's name, how far to rely on it and what that rests on, {BAR}, the word at which it rises most, its address."
    " Tokens are coloured by the first."
)

_UNLABELLED = (
    "Each line: a feature without a label, its peak as a share of the text's strongest feature, the word it rises on, its address."
    " Tokens are coloured by the first."
)


def fragment(analysis: Analysis) -> str:
    """The analysis as HTML that any notebook keeps: every text, its tokens coloured by its top feature, and its features."""
    shown = analysis.texts[:MAX_TEXTS]
    saes = [
        f"{stripped(str(sae.get('name')))} ({site(sae.get('site'))}; explains {percent(sae.get('explained'))})" for sae in analysis.saes
    ]
    topics = " · ".join(f"{stripped(topic.topic)} {len(topic.texts)}" for topic in analysis.topics)
    none = sum(text.topic is None for text in analysis.texts)
    left = len(analysis.texts) - len(shown)
    return tag(
        "div",
        tag("p", tag("b", f"{count(len(analysis.texts), 'text')} through {stripped(analysis.model)}"), style="margin:0"),
        tag("p", " · ".join(saes), style=f"margin:0;{_SOFT}"),
        tag("p", tag("b", "Topics: "), topics or "none", f" · fit none {none}" if none else None, style="margin:.4em 0")
        if analysis.topical
        else None,
        tag("p", _READING if analysis.topical else _UNLABELLED, style=f"margin:.4em 0;{_SOFT}"),
        [_text(text, len(shown) <= MAX_OPEN, analysis) for text in shown],
        tag("p", f"{count(left, 'more text')} in the analysis; the HTML report shows them.", style=_SOFT) if left else None,
        tag("ul", [tag("li", limit) for limit in analysis.limits], style=f"margin:.6em 0 0;padding-left:1.2em;{_SOFT}")
        if analysis.limits
        else None,
        style="line-height:1.45;max-width:70em",
    )


def _text(text: TextResult, opened: bool, analysis: Analysis) -> Markup:
    said = " · ".join(filter(None, [topic_of(text) if analysis.topical else "", explained(text.explained, analysis.saes)]))
    cut = Words(text.tokens)
    rows = [_row(hit, cut) for hit in about(text)]
    words = " · ".join(f"“{word}” {'; '.join(names)}" for word, names in by_word(text.words, cut))
    return tag(
        "details",
        tag(
            "summary",
            tag("bdi", _tokens(text), dir="auto", style="font-size:1.1em"),
            tag("span", f" {said}", style=_SOFT),
            style="cursor:pointer",
        ),
        tag("table", tag("tbody", rows), style="border-collapse:collapse;margin:.2em 0 .6em 1.2em;font-size:.92em")
        if rows
        else tag("p", "No feature stands out here.", style=f"margin:.2em 0 .6em 1.2em;{_SOFT}"),
        tag("p", "words: ", words, style=f"margin:.2em 0 .6em 1.2em;{_SOFT}") if words else None,
        open=opened,
        style="margin:.25em 0",
    )


def _tokens(text: TextResult) -> Markup:
    drawn = tints(about(text)[0], Words(text.tokens)) if about(text) else {}
    parts: list[Markup | str] = []
    for pos, token in enumerate(text.tokens):
        bare = token.lstrip(" ")
        tint = f"background:{_TINTS[drawn[pos]]}" if pos in drawn else None
        parts += [token[: len(token) - len(bare)], tag("span", bare, style=tint) if tint else bare]
    return join(parts) if parts else join(text.text)


def _row(hit: Hit, words: Words) -> Markup:
    rating = rated(hit)
    label = tag("i", NO_LABEL, style="opacity:.75") if hit.title is None else tag("bdi", named(hit))
    bar = tag(
        "span",
        tag("span", style=f"display:block;height:100%;width:{100 * clipped(hit.relative):.0f}%;background:rgba(230,159,0,.9)"),
        style="display:inline-block;width:4em;height:.4em;background:rgba(128,128,128,.3);vertical-align:middle;margin-right:.5em",
    )
    cells = (
        label,
        join(tag("b", rating.word), tag("span", rating.behind, style=_SOFT)),
        bar,
        tag("bdi", f"“{words.of(hit)}”"),
    )
    address = tag("code", stripped(hit.feature), style=_SOFT + ";background:none")
    return tag("tr", [tag("td", cell, style=_CELL) for cell in (*cells, address)], style="background:none")
