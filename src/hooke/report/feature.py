"""A feature's page as one HTML file that runs no script, and short forms of features and findings for a notebook's cell."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from itertools import groupby

from hooke.atlas import wording
from hooke.atlas.feature import Context, Feature, OutputToken, Relative
from hooke.atlas.notebook import LABEL, heading
from hooke.atlas.records import Moved
from hooke.explain.rules.phrasing import reworded, shortened
from hooke.report.document import document, masthead, veiled
from hooke.text.marks import runs, stripped
from hooke.text.markup import Markup, join, tag


def page(feature: Feature) -> str:
    """A whole HTML page: no script, no outside address, and a policy that forbids both."""
    title = heading(feature)
    if feature.label is not None and title == feature.label.text:
        title = reworded(title)
    return document(
        f"{title} · {stripped(feature.name)} · Hooke",
        files("hooke.report").joinpath("feature.css").read_text("utf-8"),
        tag("header", masthead([_star(feature), tag("bdi", title)], tag("code", tag("bdi", stripped(feature.name)))), _written(feature)),
        tag(
            "main",
            *_covered(feature, _contexts("Where it fires most", feature.top, feature)),
            _effect(feature),
            _outputs(feature),
            tag("div", _relatives("Alike in what they write", "cosine", feature.neighbours), class_="half"),
            tag("div", _relatives("Fires on the same tokens", "Jaccard", feature.together), class_="half"),
            *_covered(
                feature,
                *(
                    _contexts("Where it reaches {} to {}".format(*map(wording.number, feature.stretch(i))), feature.intervals[i], feature)
                    for i in reversed(range(len(feature.intervals)))
                ),
                _contexts("Near misses: alike, and it is silent", feature.misses, feature),
            ),
            tag(
                "section",
                tag("h2", "Figures"),
                tag("div", _figures(feature), tag("div", _histogram(feature), _tokens(feature)), class_="about"),
            ),
            _topics(feature),
        ),
    )


def _star(feature: Feature) -> Markup:
    return tag("span", "★ ", class_="star", title="starred") if feature.written.star else join()


def _written(feature: Feature) -> Markup:
    parts = []
    if feature.written.label:
        measured = feature.label.text if feature.label else wording.NO_LABEL
        parts.append(tag("p", "This label is yours; the atlas says: ", tag("bdi", stripped(measured)[:LABEL]), class_="soft"))
    parts += [tag("p", tag("bdi", line), class_="note") for line in feature.written.note.splitlines() if line.strip()]
    return tag("div", parts)


def _figures(feature: Feature) -> Markup:
    rows = [*wording.reading(feature), *(wording.trust(feature.label) if feature.label else ())]
    if feature.output:
        rows.append(("makes likelier", stripped(feature.output.text)[:LABEL]))
    rows += wording.facts(feature)
    return tag("table", tag("tbody", [tag("tr", tag("th", name, scope="row"), tag("td", tag("bdi", value))) for name, value in rows]))


def _histogram(feature: Feature) -> Markup | None:
    if not sum(feature.histogram):
        return None
    heights = wording.heights(feature.histogram)
    bars = [
        tag("rect", tag("title", wording.number(n)), x=f"{i}", y=f"{20 * (1 - height):.2f}", width="0.85", height=f"{20 * height:.2f}")
        for i, (n, height) in enumerate(zip(feature.histogram, heights, strict=True))
        if n
    ]
    drawn = tag(
        "svg", bars, viewBox=f"0 0 {len(heights)} 20", preserveAspectRatio="none", role="img", aria_label="histogram", class_="hist"
    )
    said = f"Activations where it fires, 0 to {wording.number(feature.max)}; heights by logarithm."
    return tag("figure", drawn, tag("figcaption", said, class_="soft small"))


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))
    return tag("table", head, tag("tbody", [tag("tr", [tag("td", tag("bdi", cell)) for cell in row]) for row in rows]))


def _tokens(feature: Feature) -> Markup | None:
    if not feature.tokens:
        return None
    rows = [
        (f"“{token.text}”", wording.number(token.count), wording.percent(token.share), f"{token.enrichment:+.1f}")
        for token in feature.tokens
    ]
    return _table(("token", "times", "of activation", "log-odds"), rows)


def _contexts(title: str, contexts: Sequence[Context], feature: Feature) -> Markup | None:
    if not contexts:
        return None
    rows = [
        tag(
            "li",
            tag("span", wording.number(context.activation) if context.activation else "–", class_="value"),
            tag("p", highlighted(context, feature.max, figures=True), class_="tokens", dir="auto"),
            tag("span", tag("bdi", wording.source(context)), class_="source soft"),
        )
        for context in contexts
    ]
    return tag("section", tag("h2", title), tag("ol", rows, class_="passages"))


def _covered(feature: Feature, *sections: Markup | None) -> list[Markup]:
    """Sections of texts; of a sensitive feature behind something to press."""
    shown = [section for section in sections if section is not None]
    return [tag("section", veiled(*shown))] if shown and feature.sensitive else shown


def highlighted(context: Context, maximum: float, *, figures: bool = False) -> Markup:
    """A context, each token tinted by how strongly the feature fires on it, the peak underlined.

    With `figures` every token says its activation when it is pointed at; without, neighbours of one tint share it: half the markup.
    """
    parts: list[Markup] = []
    steps = [wording.step(value, maximum) for value in context.values]
    pieces = groupby(range(len(steps)), lambda at: at if figures else (steps[at], at == context.peak))
    for run in (list(indices) for _, indices in pieces):
        text, value = "".join(context.tokens[at] for at in run), context.values[run[0]]
        bare = text.lstrip(" ")
        kinds = [f"s{steps[run[0]]}"] if steps[run[0]] else []
        kinds += ["peak"] if run[0] == context.peak else []
        said = wording.number(value) if figures and value > 0 else None
        shown = tag("span", _visible(bare), class_=" ".join(kinds), title=said) if kinds else _visible(bare)
        parts += [join(text[: len(text) - len(bare)]), shown]
    return join(parts)


def _visible(text: str) -> Markup:
    """`text` with every hidden character shown as a mark."""
    return join(
        [
            piece if name is None else " " if piece in "\t\n\r" else tag("span", name, class_="mark", title=f"U+{ord(piece):04X}")
            for piece, name in runs(text)
        ]
    )


def _effect(feature: Feature) -> Markup:
    """What it does as measured; it stands before what its decoder row alone would say."""

    def listed(tokens: Sequence[Moved]) -> Markup:
        said = (f" {wording.chance(one.before)} → {wording.chance(one.after)}" for one in tokens)
        return tag("p", [tag("span", f"“{one.text}”", tag("small", own), class_="out") for one, own in zip(tokens, said, strict=True)])

    rows: list[tuple[str, Markup | str]] = []
    if feature.effect:
        names = ("likelier", "less likely")
        rows = [(name, listed(tokens)) for name, tokens in zip(names, feature.effect.full.held, strict=True) if tokens]
    rows += [(name, tag("bdi", value)) for name, value in wording.effect(feature)]
    body = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows]
    note = tag("p", wording.MEASURED, class_="soft small") if feature.effect else None
    return tag("section", tag("h2", "What it does, measured"), note, tag("table", tag("tbody", body)))


def _outputs(feature: Feature) -> Markup | None:
    def listed(tokens: Sequence[OutputToken]) -> Markup:
        weights = (f" {token.weight:+.2f}" for token in tokens)
        return tag("p", [tag("span", f"“{t.text}”", tag("small", w), class_="out") for t, w in zip(tokens, weights, strict=True)])

    if not feature.promoted and not feature.suppressed:
        return None
    rows = [(name, tokens) for name, tokens in (("raises", feature.promoted), ("lowers", feature.suppressed)) if tokens]
    body = [tag("tr", tag("th", name, scope="row"), tag("td", listed(tokens))) for name, tokens in rows]
    return tag(
        "section",
        tag("h2", "What its direction alone would write"),
        tag("p", wording.APPROXIMATE, class_="soft small"),
        tag("table", tag("tbody", body)),
    )


def _relatives(title: str, measure: str, relatives: Sequence[Relative]) -> Markup | None:
    if not relatives:
        return None
    rows = [(f"{r.value:.2f}", r.name.rpartition("/")[2], stripped(shortened(r.label or wording.NO_LABEL))[:LABEL]) for r in relatives]
    return tag("section", tag("h2", title), _table((measure, "feature", "label"), rows))


def _topics(feature: Feature) -> Markup | None:
    found = wording.topics(feature)
    if not found:
        return None
    rows = [(topic, f"{nats:.1f}") for topic, nats in found]
    return tag("section", tag("h2", "Topics it speaks for"), _table(("topic", "nats when fully active"), rows))
