"""An analysis as HTML: `page`, one file for a browser that runs no script, and `fragment`, for a notebook's cell."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from hooke.analysis import wording
from hooke.analysis.notebook import fragment
from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult
from hooke.analysis.wording import (
    NO_LABEL,
    STEPS,
    clipped,
    count,
    explained,
    number,
    past_maximum,
    short_topic,
    site,
    tints,
)
from hooke.atlas import NO_MEANING
from hooke.atlas.sensitive import NOTE
from hooke.atlas.wording import FITS, TRUTH
from hooke.report.analysis_card import Features, Known, card
from hooke.report.document import document, masthead
from hooke.report.topic_map import topic_map
from hooke.text.marks import runs, stripped
from hooke.text.markup import Markup, join, tag

MAX_TEXTS = 2000
"""Texts that a page shows; past it a browser gets slow, and the page says so."""
MIN_SHARE = 0.05
"""Share of the topical evidence below which a second topic is not worth naming."""
LONG = 400
"""Tokens past which a text scrolls in a box of its own."""


def page(analysis: Analysis, features: Features | None = None) -> str:
    """A whole HTML page: no script, no outside address, and a policy that forbids both.

    `features`, by address, are shown in place when a row is opened (see `hooke.analysis.Reader.known`). Which feature colours a text is
    a matter of which row is open, or pointed at; the style sheet does that with ``:has()``.
    """
    style = files("hooke.report").joinpath("analysis.css").read_text("utf-8") + _rules(analysis)
    return document(
        f"{count(len(analysis.texts), 'text')} through {stripped(analysis.model)} · Hooke",
        style,
        tag("a", "Skip to the texts", class_="skip", href="#texts"),
        tag(
            "header",
            masthead([f"{count(len(analysis.texts), 'text')}, as ", tag("bdi", stripped(analysis.model)), " reads them"], None),
            tag("p", stripped(analysis.naming), class_="soft small naming") if analysis.naming else None,
            _help(analysis),
        ),
        tag(
            "main",
            _chips(analysis) if analysis.topical and analysis.texts else None,
            _texts(analysis, Known(features or {}, _first(analysis))),
            _topics(analysis) if analysis.topics else None,
            topic_map(analysis),
        ),
    )


def _rules(analysis: Analysis) -> str:
    """Style rules as long as the analysis needs them: row i of a text tints its tokens; topic k hides other texts."""
    rules = []
    for i in range(max((len(_rows(text)) for text in analysis.texts), default=0)):
        chosen = [f".text:has(.r{i}[open]):not(:has(summary.s:hover))", f".text:has(.r{i}>summary:hover)"]
        if i == 0:
            chosen.append(".text:not(:has(.row[open])):not(:has(summary.s:hover))")
        for s in range(1, STEPS + 1):
            rules.append(f"{','.join(f'{c} .f{i}s{s}' for c in chosen)}{{--t:var(--s{s});--w:{s}px;--u:underline}}")
        rules.append(f"{','.join(f'{c} .p{i}' for c in chosen)}{{--line-kind:underline}}")
    tints = "".join(f".f0s{s}{{--t:var(--s{s})}}" for s in range(1, STEPS + 1))
    rules.append(f"@supports not selector(:has(a)){{{tints}}}")
    rules += [f".legend .l{s}{{--t:var(--s{s});--w:{s}px}}" for s in range(1, STEPS + 1)]
    for k in [*range(len(analysis.topics)), "x"] if analysis.topical else []:
        rules.append(f"body:has(#only-{k}:checked) .text:not(.in-{k},:target,:has(:target)){{display:none}}")
    return "\n".join(rules) + "\n"


def _first(analysis: Analysis) -> dict[str, tuple[int, int]]:
    """The text and row that show each feature first."""
    first: dict[str, tuple[int, int]] = {}
    for i, text in enumerate(analysis.texts[:MAX_TEXTS]):
        for f, hit in enumerate(_rows(text)):
            first.setdefault(hit.feature, (i, f))
    return first


def _rows(text: TextResult) -> list[Hit]:
    """The features that a text shows, those of what it is about first."""
    return [*wording.about(text), *text.words]


def _help(analysis: Analysis) -> Markup:
    """All that explains the page, folded into one line."""
    return tag(
        "details",
        tag("summary", "How to read this, and what it cannot say"),
        tag("div", _reading(analysis), _limits(analysis), _saes(analysis), class_="columns"),
        class_="help",
    )


def _saes(analysis: Analysis) -> Markup:
    names = ("Sparse autoencoder", "Site", "Features", "Active per token", "Explained")
    rows = []
    for sae in analysis.saes:
        cells = (
            tag("code", tag("bdi", stripped(str(sae.get("name"))))),
            site(sae.get("site")),
            number(sae.get("d_sae")),
            number(sae.get("l0")),
            wording.usual(sae),
        )
        rows.append(tag("tr", [tag("td", cell, data_h=name.lower()) for name, cell in zip(names, cells, strict=True)]))
    table = tag("table", tag("thead", tag("tr", [tag("th", name, scope="col") for name in names])), tag("tbody", rows))
    return tag("section", tag("h2", "Looked through"), table, class_="wide")


def _reading(analysis: Analysis) -> Markup:
    edges = [tag("span", f"{20 * step - 20}–{20 * step}\u202f%", class_=f"l{step}") for step in range(1, STEPS + 1)]
    lists = "Under each text stand the features that tell what it is about, most telling first; then those of its words, on one line."
    guess = (
        "A name is a guess, and what stands behind it rates the name, not how strongly the feature fires here."
        f" {wording.scale(analysis)} “Its rule” says that the name was not tested itself, and the score is that of the feature's rule."
    )
    topics = "A topic's share is how much of what the features say of topics speaks for it: it is a guess, as names are."
    opened = (
        "Open a feature for passages that it fires on, from the text that the atlas was made from (not yours), and for what it does to the"
        " model's next word."
    )
    most = "the strongest it was ever seen to fire" if analysis.topical else "the strongest of the features that the text shows"
    said = (
        "The model read each text; what it computed on the way was taken apart into features.",
        *(
            [lists, wording.order(analysis), guess, topics, opened]
            if analysis.topical
            else ["Nothing is known of what these features mean."]
        ),
        "Point at a feature, or open it, to colour the words it fires on; underlined is the one at which it rises most. Else the first one"
        " colours them.",
        "Explained is the share of the model's activity on a text that the features account for. Where it is low that is said: much of"
        " what the model made of such a text is not shown.",
    )
    tint = (
        f"Tint and bar are how strongly a feature fires, as a share of {most}. On words of grammar (“of”, “the”) the tint of what a text is"
        " about is kept pale: that stays on once it is said, and is often strongest there."
    )
    return tag(
        "section",
        tag("h2", "How to read this"),
        tag("ul", [tag("li", line) for line in (*said, tint)]),
        tag("div", edges, class_="legend"),
    )


def _limits(analysis: Analysis) -> Markup:
    limits = [limit for limit in analysis.limits if limit != analysis.naming] or ["No limits were stated with this analysis."]
    return tag("section", tag("h2", "What this cannot say"), tag("ul", [tag("li", limit) for limit in limits]))


def _chips(analysis: Analysis) -> Markup:
    """The topics as a row of chips, each a choice of the texts that are shown."""

    def chip(key: str | int, name: Markup | str, texts: int) -> Markup:
        button = tag("input", type="radio", name="only", id=f"only-{key}", checked=key == "all", autocomplete="off", class_="vh")
        return tag("label", button, name, " ", tag("span", str(texts)))

    rest = sum(text.topic is None for text in analysis.texts)
    chips = [chip("all", "all", len(analysis.texts))]
    chips += [chip(k, tag("bdi", short_topic(topic.topic)), len(topic.texts)) for k, topic in enumerate(analysis.topics)]
    if rest:
        chips.append(chip("x", "no topic sure enough", rest))
    return tag("fieldset", tag("legend", "Show the texts of a topic", class_="vh"), chips, class_="chips")


def _topics(analysis: Analysis) -> Markup:
    entries = [
        tag(
            "div",
            tag("h3", tag("bdi", stripped(topic.topic)), " ", tag("span", count(len(topic.texts), "text"))),
            tag("ul", [_carrier(hit, texts, len(topic.texts)) for hit, texts in wording.carriers(topic)]),
            class_="topic",
            id=f"topic-{k}",
        )
        for k, topic in enumerate(analysis.topics)
    ]
    return tag("section", tag("h2", "The topics, and the features that speak for them"), tag("div", entries, class_="all"), class_="topics")


def _carrier(hit: Hit, texts: int, of: int) -> Markup:
    """One feature that carried a topic: its name, how far to rely on it, and in how many of the topic's texts."""
    return tag(
        "li",
        _name(hit),
        " ",
        tag("span", f"{wording.rated(hit).word} · in {texts} of {count(of, 'text')}", class_="soft"),
        title=hit.feature,
    )


def _texts(analysis: Analysis, known: Known) -> Markup:
    place = {topic.topic: k for k, topic in enumerate(analysis.topics)}
    left = len(analysis.texts) - MAX_TEXTS
    layers = [str(sae.get("name")) for sae in analysis.saes]
    return tag(
        "section",
        tag("h2", "Texts", id="texts", class_="vh"),
        tag("p", [tag("span", head, title=said) for head, said in _HEADS], class_="heads", aria_hidden="true")
        if analysis.topical and len(layers) == 1
        else None,
        tag("p", f"The first {MAX_TEXTS} texts are shown; {left} more are in the JSON output.", class_="soft") if left > 0 else None,
        [
            _text(i, text, place if analysis.topical else None, analysis.saes, known, analysis.topics)
            for i, text in enumerate(analysis.texts[:MAX_TEXTS])
        ],
        class_="texts",
    )


_HEADS = (
    ("feature, most telling first", None),
    ("the name is", f"{FITS}; {TRUTH}"),
    ("fires here", wording.BAR),
    ("rises on", "the word of this text at which the feature rises most"),
)
"""What stands in the columns of a row, and what that means: said once, and not in every row."""


def _text(
    i: int,
    text: TextResult,
    place: dict[str, int] | None,
    saes: Sequence[Mapping[str, Any]],
    known: Known,
    topics: Sequence[TopicResult],
) -> Markup:
    """One text; `place` numbers the topics, None where nothing is known of any."""
    where = place.get(text.topic) if place and text.topic is not None else None
    kind = "x" if text.topic is None else where
    about = list(enumerate(wording.about(text)))
    of_words, cut = list(enumerate(text.words, len(about))), wording.Words(text.tokens)
    return tag(
        "article",
        tag(
            "p",
            _tokens(text, cut),
            class_="tokens long" if len(text.tokens) > LONG else "tokens",
            dir="auto",
            tabindex=0 if len(text.tokens) > LONG else None,
        ),
        tag("p", own_fields, class_="soft small") if (own_fields := wording.fields(text)) else None,
        tag(
            "div",
            tag("a", str(i + 1), class_="num", href=f"#text-{i}", aria_label=f"Link to text {i + 1}"),
            _topic(text, None if where is None or where >= len(topics) else where) if place is not None else None,
            tag("span", f"{count(text.sinks, 'attention sink')} left out") if text.sinks else None,
            tag("span", f"{count(text.truncated, 'token')} past the model's context left out") if text.truncated else None,
            tag("span", how, class_="end") if (how := explained(text.explained, saes)) else None,
            class_="head",
        ),
        _layers(i, about, cut, [str(sae.get("name")) for sae in saes], known)
        if about
        else tag("p", "No feature stands out here." if text.tokens else "The text has no tokens.", class_="empty"),
        _words(i, of_words, cut, known) if of_words else None,
        class_="text" if kind is None else f"text in-{kind}",
        id=f"text-{i}",
    )


def _layers(i: int, rows: Sequence[tuple[int, Hit]], words: wording.Words, layers: Sequence[str], known: Known) -> Markup:
    """The features of what a text is about, those of several SAEs side by side, each under a chip."""
    several = len(layers) > 1
    columns = []
    for layer in layers if several else [None]:
        own = [_row(i, f, hit, words, known) for f, hit in rows if layer is None or hit.sae == layer]
        head = tag("p", tag("span", site(layer.split("/")[1] if layer.count("/") > 1 else layer), class_="layer")) if layer else None
        if own:
            columns.append(tag("div", head, own))
    rest = [_row(i, f, hit, words, known) for f, hit in rows if several and hit.sae not in layers]
    return tag("div", columns, rest, class_="about several" if several else "about")


def _words(i: int, rows: Sequence[tuple[int, Hit]], words: wording.Words, known: Known) -> Markup:
    """The features of a text's words: one line, behind the words they fire on, and each of them behind that."""
    said = [
        join(tag("bdi", "“", _visible(word), "”", class_="of"), " ", tag("bdi", "; ".join(names)))
        for word, names in wording.by_word([hit for _, hit in rows], words)
    ]
    line = join(tag("b", "words"), " ", [join(one, " · " if n + 1 < len(said) else "") for n, one in enumerate(said)])
    return tag("details", tag("summary", line), [_row(i, f, hit, words, known) for f, hit in rows], class_="words")


def _topic(text: TextResult, where: int | None) -> Markup:
    """The text's topic with its share, and what else it might be."""
    first = text.topic or next((score.topic for score in text.topics), None)
    others = [score for score in text.topics if score.topic != first and score.score >= MIN_SHARE][:2]
    said = " and ".join(short_topic(other.topic) for other in others)
    name = (
        tag("span", wording.topic(text), class_="none")
        if text.topic is None
        else tag("a", tag("bdi", wording.topic(text)), href=None if where is None else f"#topic-{where}")
    )
    return tag("span", name, tag("span", f" · also {said}", class_="also") if said else None)


def _tokens(text: TextResult, words: wording.Words) -> Markup:
    """The text as its tokens; each carries, for every feature, the step of its tint as a class."""
    classes: list[list[str]] = [["t"] for _ in text.tokens]
    for f, hit in enumerate(_rows(text)):
        for pos, step in tints(hit, words).items():
            if 0 <= pos < len(classes):
                classes[pos].append(f"f{f}s{step}")
        if 0 <= hit.pos < len(classes):
            for pos in words.tokens_of(hit):
                classes[pos].append(f"p{f}")
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


def _row(i: int, f: int, hit: Hit, words: wording.Words, known: Known) -> Markup:
    """One feature: its name, how far to trust it, how strongly it fires and on what; behind it all that is known of it."""
    firing = f"fires at {wording.strength(hit)} of its strongest"
    summary = tag(
        "summary",
        tag("span", _name(hit), class_="label"),
        _trust(hit),
        tag(
            "span",
            _bar(hit.relative),
            tag("span", firing, class_="vh"),
            class_="strength over" if past_maximum(hit) else "strength",
            title=firing,
        ),
        tag("bdi", "“", _visible(words.of(hit)), "”", class_="peak"),
        class_="s",
    )
    anchor = known.anchor(hit.feature) if known.first[hit.feature] == (i, f) else None
    return tag("details", summary, card(i, hit, words.tokens, known), class_=f"row r{f}", name=f"t{i}", id=anchor)


def _name(hit: Hit) -> Markup:
    if hit.title is None:
        return tag("i", NO_LABEL, class_="none")
    said = tag("bdi", wording.named(hit), class_="vague" if hit.title == NO_MEANING else None)
    return join(said, " ", tag("small", "sensitive", class_="soft", title=NOTE)) if hit.sensitive else said


def _trust(hit: Hit) -> Markup:
    """How far to rely on a name, in a word, and what that rests on."""
    rating = wording.rated(hit)
    return tag("span", tag("b", rating.word) if rating.word else None, rating.behind, class_="trust poor" if rating.poor else "trust")


def _bar(share: float) -> Markup:
    return tag("svg", tag("rect", width=f"{100 * clipped(share):.0f}%", height="100%"), class_="bar", aria_hidden="true")


__all__ = ["MAX_TEXTS", "fragment", "page"]
