"""An analysis as HTML: `page`, one file for a browser that runs no script, and `fragment`, for a notebook's cell."""

from importlib.resources import files
from typing import Any

from hooke.analysis.notebook import fragment
from hooke.analysis.result import Analysis, Hit, TextResult
from hooke.analysis.wording import (
    NO_LABEL,
    STEPS,
    YOURS,
    clipped,
    count,
    explained,
    fields,
    number,
    past_maximum,
    percent,
    score,
    site,
    steps,
    strongest,
)
from hooke.atlas import NO_MEANING
from hooke.report.document import document, masthead
from hooke.text.marks import runs, stripped
from hooke.text.markup import Markup, join, tag

MAX_TEXTS = 2000
"""Texts that a page shows; past it a browser gets slow, and the page says so."""
MIN_SHARE = 0.05
"""Share of the topical evidence below which a second topic is not worth naming."""
LONG = 400
"""Tokens past which a text scrolls in a box of its own."""


def page(analysis: Analysis) -> str:
    """A whole HTML page: no script, no outside address, and a policy that forbids both.

    Which feature colours a text is a radio button; the style sheet does the rest with ``:has()``.
    """
    style = files("hooke.report").joinpath("analysis.css").read_text("utf-8") + _rules(analysis)
    return document(
        f"{count(len(analysis.texts), 'text')} through {stripped(analysis.model)} · Hooke",
        style,
        tag("a", "Skip to the texts", class_="skip", href="#texts"),
        _header(analysis),
        tag("main", _topics(analysis), _texts(analysis), class_="body")
        if analysis.topical
        else tag("main", _texts(analysis), class_="body alone"),
    )


def _rules(analysis: Analysis) -> str:
    """Style rules as long as the analysis needs them: feature i of a text tints its tokens; topic k hides other texts."""
    rules = []
    for i in range(max((len(text.features) for text in analysis.texts), default=0)):
        chosen = [f".text:has(.r{i} :checked):not(:has(.row:hover))", f".text:has(.r{i}:hover)"]
        for s in range(1, STEPS + 1):
            rules.append(f"{','.join(f'{c} .f{i}s{s}' for c in chosen)}{{--t:var(--s{s});--w:{s}px;--u:underline}}")
        rules.append(f"{','.join(f'{c} .p{i}' for c in chosen)}{{--line-kind:underline}}")
    tints = "".join(f".f0s{s}{{--t:var(--s{s})}}" for s in range(1, STEPS + 1))
    rules.append(f"@supports not selector(:has(a)){{{tints}}}")
    rules += [f".legend .l{s}{{--t:var(--s{s});--w:{s}px}}" for s in range(1, STEPS + 1)]
    for k in [*range(len(analysis.topics)), "x"] if analysis.topical else []:
        rules.append(f"body:has(#only-{k}:checked) .text:not(.in-{k}):not(:target){{display:none}}")
    return "\n".join(rules) + "\n"


def _header(analysis: Analysis) -> Markup:
    return tag(
        "header",
        masthead(
            [f"{count(len(analysis.texts), 'text')}, seen through ", tag("bdi", stripped(analysis.model))],
            "The model read each text. What it computed on the way was taken apart into features; here are those that stand out in each"
            f" text{', and the broader topics they make up' if analysis.topical else '. Nothing is known of what they mean'}.",
        ),
        tag("div", _saes(analysis), _limits(analysis), _reading(analysis.topical), class_="facts"),
    )


def _saes(analysis: Analysis) -> Markup:
    names = ("Sparse autoencoder", "Site", "Features", "Active per token", "Explained here", "On its card")
    rows = []
    for sae in analysis.saes:
        cells = (
            tag("code", tag("bdi", stripped(str(sae.get("name"))))),
            site(sae.get("site")),
            number(sae.get("d_sae")),
            number(sae.get("l0")),
            percent(sae.get("explained")),
            percent(sae.get("expected")),
        )
        rows.append(tag("tr", [tag("td", cell, data_h=name.lower()) for name, cell in zip(names, cells, strict=True)]))
    table = tag("table", tag("thead", tag("tr", [tag("th", name, scope="col") for name in names])), tag("tbody", rows))
    return tag("section", tag("h2", "Looked through"), table)


def _reading(topical: bool) -> Markup:
    edges = [tag("span", f"{20 * step - 20}–{20 * step}\u202f%", class_=f"l{step}") for step in range(1, STEPS + 1)]
    named = " and well named" if topical else ""
    guess = (
        "A label is a guess. Its score says how well it tells, on n held-out examples, where the feature fires: 1 is always,"
        " 0.5 is chance. The word after it is how the label was made."
    )
    said = (
        "Point at a feature to colour its tokens; click, tap or use the arrow keys to keep it. The underlined token is its peak.",
        f"Features stand in order of how specific{',' if topical else ' and'} strong{named} they are, against background text. "
        "Strength is the peak's tint.",
        *([guess] if topical else []),
        "Explained is the share of the model's activity on a text that the features account for. The rest is not shown.",
    )
    most = "the strongest it was ever seen to fire" if topical else "the strongest of the features that the text shows"
    tint = f"Tint is how strongly the chosen feature fires on a token, as a share of {most}."
    return tag(
        "section",
        tag("h2", "How to read this"),
        tag(
            "div",
            tag("div", tag("p", tint), tag("div", edges, class_="legend")),
            tag("ul", [tag("li", line) for line in said]),
            class_="columns",
        ),
        class_="reading",
    )


def _limits(analysis: Analysis) -> Markup:
    limits = analysis.limits or ["No limits were stated with this analysis."]
    return tag("section", tag("h2", "What this cannot say"), tag("ul", [tag("li", limit) for limit in limits]))


def _topics(analysis: Analysis) -> Markup:
    shown = analysis.texts[:MAX_TEXTS]
    rest = [i for i, text in enumerate(analysis.texts) if text.topic is None]
    largest = max([len(rest), *(len(topic.texts) for topic in analysis.topics)])
    known = {hit.feature: hit for text in analysis.texts for hit in text.features}

    def pick(key: str | int, name: Markup | str, texts: int, bar: Markup | None) -> Markup:
        button = tag("input", type="radio", name="only", id=f"only-{key}", checked=key == "all", autocomplete="off")
        return tag("label", button, tag("span", name), tag("span", str(texts)), bar, class_="pick")

    def entry(key: str | int, name: Markup | str, texts: list[int], carriers: list[Markup]) -> Markup:
        links = [tag("li", tag("a", tag("bdi", shown[i].text), href=f"#text-{i}")) for i in texts if i < len(shown)]
        return tag(
            "div",
            pick(key, name, len(texts), _bar(len(texts) / max(largest, 1))),
            tag("ul", carriers[:2]) if carriers else None,
            tag(
                "details",
                tag("summary", "texts" + (f" and {count(len(carriers) - 2, 'more feature')}" if len(carriers) > 2 else "")),
                tag("ul", carriers[2:]) if carriers[2:] else None,
                tag("ol", links),
            )
            if links
            else None,
            class_="topic",
            id=f"topic-{key}",
        )

    entries = [tag("div", pick("all", "all texts", len(analysis.texts), None), class_="topic")]
    for k, topic in enumerate(analysis.topics):
        entries.append(entry(k, tag("bdi", stripped(topic.topic)), topic.texts, [_carrier(feature, known) for feature in topic.features]))
    if rest:
        entries.append(entry("x", "fits no topic", rest, []))
    return tag("section", tag("h2", "Topics"), tag("div", entries, role="radiogroup", aria_label="Show the texts of"), class_="topics")


def _carrier(feature: dict[str, Any], known: dict[str, Hit]) -> Markup:
    """One feature that carried a topic: label, score, evidence, method, texts."""
    hit = known.get(str(feature.get("feature")))
    evidence = feature.get("label_evidence", hit.label_evidence if hit else None)
    method = feature.get("label_method", hit.label_method if hit else None)
    own = feature.get("own_label")
    about = join(_score(feature.get("label_score"), evidence, method, own), f" · {count(int(feature.get('texts') or 0), 'text')}")
    return tag("li", _label(own or feature.get("label")), tag("span", about, class_="score"), title=str(feature.get("feature")))


def _texts(analysis: Analysis) -> Markup:
    columns = ("", "feature and its address", "label score", "strength", "peak token")
    place = {topic.topic: k for k, topic in enumerate(analysis.topics)}
    left = len(analysis.texts) - MAX_TEXTS
    return tag(
        "section",
        tag("h2", "Texts", id="texts"),
        tag("p", f"The first {MAX_TEXTS} texts are shown; {left} more are in the JSON output.", class_="soft") if left > 0 else None,
        tag("div", [tag("span", column) for column in columns], class_="cols", aria_hidden="true"),
        [_text(i, text, place if analysis.topical else None) for i, text in enumerate(analysis.texts[:MAX_TEXTS])],
        class_="texts",
    )


def _text(i: int, text: TextResult, place: dict[str, int] | None) -> Markup:
    """One text; `place` numbers the topics, None where nothing is known of any."""
    where = place.get(text.topic) if place and text.topic is not None else None
    kind = "x" if text.topic is None else where
    rows = [_row(i, f, hit, text.tokens) for f, hit in enumerate(text.features)]
    return tag(
        "article",
        tag(
            "header",
            tag("a", str(i + 1), class_="num", href=f"#text-{i}", aria_label=f"Link to text {i + 1}"),
            None
            if place is None
            else tag("span", "fits no topic", class_="chip none")
            if text.topic is None
            else tag("a", tag("bdi", stripped(text.topic)), class_="chip", href=None if where is None else f"#topic-{where}"),
            _shares(text),
            tag("span", f"{count(text.truncated, 'token')} past the model's context left out") if text.truncated else None,
            tag("span", explained(text.explained), class_="end"),
            class_="head",
        ),
        tag(
            "p",
            _tokens(text),
            class_="tokens long" if len(text.tokens) > LONG else "tokens",
            dir="auto",
            tabindex=0 if len(text.tokens) > LONG else None,
        ),
        tag("p", own_fields, class_="soft") if (own_fields := fields(text)) else None,
        tag("fieldset", tag("legend", f"Colour text {i + 1} by", class_="vh"), rows)
        if rows
        else tag("p", "No feature stands out here." if text.tokens else "The text has no tokens.", class_="empty"),
        class_="text" if kind is None else f"text in-{kind}",
        id=f"text-{i}",
    )


def _shares(text: TextResult) -> Markup | None:
    """How the text's topical evidence is shared out: its topic's share, and the next two."""
    own = [score for score in text.topics if score.topic == text.topic]
    others = [score for score in text.topics if score.topic != text.topic and score.score >= MIN_SHARE][:2]
    said = [percent(own[0].score)] if own else []
    said += [
        f"{'nearest' if text.topic is None and not n else 'also'} {stripped(o.topic)} {percent(o.score)}" for n, o in enumerate(others)
    ]
    return tag("span", " · ".join(said)) if said else None


def _tokens(text: TextResult) -> Markup:
    """The text as its tokens; each carries, for every feature, the step of its tint as a class."""
    classes: list[list[str]] = [["t"] for _ in text.tokens]
    for f, hit in enumerate(text.features):
        for pos, step in steps(hit).items():
            if 0 <= pos < len(classes):
                classes[pos].append(f"f{f}s{step}")
        if 0 <= hit.pos < len(classes):
            classes[hit.pos].append(f"p{f}")
    if not text.tokens:
        return _visible(text.text)
    return join(_token(token, tokens_class) for token, tokens_class in zip(text.tokens, classes, strict=True))


def _token(token: str, classes: list[str]) -> Markup:
    """A token; the space before it stays outside its tint, so that words stand apart."""
    bare = token.lstrip(" ") or token
    return join(token[: len(token) - len(bare)], tag("span", _visible(bare), class_=" ".join(classes)))


def _visible(text: str) -> Markup:
    """Text with its hidden characters as small marks; line breaks break."""
    pieces = []
    for piece, name in runs(text):
        if name is None:
            pieces.append(join(piece))
        elif piece == "\n":
            pieces += [tag("span", "↵", class_="mark", title="U+000A"), Markup("\n")]
        else:
            pieces.append(tag("span", name, class_="mark", title=f"U+{ord(piece):04X}"))
    return join(pieces)


def _row(i: int, f: int, hit: Hit, tokens: list[str]) -> Markup:
    fired = strongest(hit, tokens)
    return tag(
        "label",
        tag("input", type="radio", name=f"t{i}", checked=f == 0, autocomplete="off"),
        tag("span", _label(hit.title), tag("bdi", stripped(hit.feature), class_="address"), class_="label"),
        tag("span", _score(hit.label_score, hit.label_evidence, hit.label_method, hit.own_label), class_="score"),
        tag("span", _bar(hit.relative), tag("span", percent(hit.relative)), class_="strength over" if past_maximum(hit) else "strength"),
        tag("bdi", _quoted(hit.token), class_="peak"),
        tag(
            "span",
            "fires on " if fired else None,
            [join(tag("b", _quoted(token)), f" {number(value)} · ") for token, value in fired[:12]],
            f"{len(fired) - 12} more · " if len(fired) > 12 else None,
            f"specificity {number(hit.specificity)} nats",
            " · stronger than its maximum in the atlas" if past_maximum(hit) else None,
            class_="fires",
        ),
        class_=f"row r{f}",
    )


def _quoted(token: str) -> Markup:
    return _visible(token.strip(" ") or "␣")


def _label(label: str | None) -> Markup:
    if label is None:
        return tag("i", NO_LABEL, class_="none")
    return tag("bdi", stripped(label)[:200], class_="vague" if label == NO_MEANING else None)


def _score(value: float | int | None, evidence: int | None, method: str | None, own: str | None) -> Markup:
    first, rest = YOURS if own else score(value, evidence, method)
    return join(tag("b", first), f" {rest}")


def _bar(share: float) -> Markup:
    return tag("svg", tag("rect", width=f"{100 * clipped(share):.1f}%", height="100%"), class_="bar", aria_hidden="true")


__all__ = ["MAX_TEXTS", "fragment", "page"]
