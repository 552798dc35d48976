"""A feature's page, and lists of features, in a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hooke.atlas import wording
from hooke.atlas.feature import Context, Feature, OutputToken, Relative
from hooke.atlas.records import NO_MEANING, TOO_RARE, Moved
from hooke.atlas.search import SearchHit, SearchResult
from hooke.atlas.sensitive import NOTE
from hooke.explain.rules.phrasing import shortened
from hooke.text.marks import marked, stripped

_BARS = " ▁▂▃▄▅▆▇█"
_ACCENT = "color(172)"
# The page's amber, from a breath of it to the full colour, on which black is read well.
_TINTS = ("", "black on #fbecd8", "black on #f7dab0", "black on #f2c787", "black on #ecb359", "black on #e69f00")
_TOP, _BEFORE, _AFTER = 10, 14, 10
_LABEL = 200


def print_feature(feature: Feature, console: Console, *, everything: bool = False) -> None:
    """The page of one feature; with `everything`, all its examples rather than the foremost."""
    console.print(_heading(feature))
    if feature.sensitive:
        console.print(Text(NOTE))
    console.print(Padding(_pairs([*_trust(feature), *wording.facts(feature)]), (0, 0, 1, 2), expand=False))
    if sum(feature.histogram):
        _section(console, f"How strongly (0 to {wording.number(feature.max)}; heights by logarithm)", _histogram(feature, console))
    if feature.tokens:
        _section(console, "Which tokens", _tokens(feature, 20 if everything else 8))
    most = len(feature.top) if everything else _TOP
    _contexts(console, "Where it fires most", feature.top[:most], feature)
    for i in reversed(range(len(feature.intervals))):
        low, high = map(wording.number, feature.stretch(i))
        _contexts(console, f"Where it reaches {low} to {high}", feature.intervals[i][: None if everything else 2], feature)
    _contexts(console, "Near misses: alike, and it is silent", feature.misses[: None if everything else 4], feature)
    _effect(console, feature)
    if feature.promoted or feature.suppressed:
        pairs = [("raises", _outputs(feature.promoted)), ("lowers", _outputs(feature.suppressed))]
        title = f"What its direction alone would write ({wording.APPROXIMATE})"
        _section(console, title, _pairs([(name, text) for name, text in pairs if text]))
    _relatives(console, "Alike in what they write (cosine)", feature.neighbours)
    _relatives(console, "Fires on the same tokens (Jaccard)", feature.together)
    if topics := wording.topics(feature):
        _section(console, "Topics it speaks for (nats)", _pairs([(f"{nats:.1f}", marked(topic)) for topic, nats in topics]))


def _heading(feature: Feature) -> Text:
    lines = [Text(marked(feature.name), style="dim"), _title(feature.title, bold=True)]
    if feature.written.star:
        lines[1] = Text("★ ", style=_ACCENT) + lines[1]
    if feature.written.label:
        measured = feature.label.text if feature.label else wording.NO_LABEL
        lines[1].append(f"  your label; the atlas says: {stripped(measured)[:_LABEL]}", style="dim not bold")
    if feature.written.note:
        lines += [Text(f"“{marked(line)}”", style="italic") for line in feature.written.note.splitlines()]
    return Text("\n").join(lines)


def _title(label: str | None, *, bold: bool = False) -> Text:
    label = label and shortened(label)
    if label is None:
        return Text(wording.NO_LABEL, style="dim italic")
    return Text(stripped(label)[:_LABEL], style="dim" if label in (NO_MEANING, TOO_RARE) else "bold" if bold else "")


def _trust(feature: Feature) -> list[tuple[str, str]]:
    rows = [*wording.reading(feature), *(wording.trust(feature.label) if feature.label else ())]
    if feature.output:
        rows.append(("makes likelier", stripped(feature.output.text)[:_LABEL]))
    return rows


def _pairs(rows: Iterable[tuple[str, str | Text]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), Text(marked(value)) if isinstance(value, str) else value)
    return grid


def _section(console: Console, title: str, body: Table | Text) -> None:
    console.print(Text(title, style="bold"))
    console.print(Padding(body, (0, 0, 1, 2), expand=False))


def _histogram(feature: Feature, console: Console) -> Text:
    bars = "".join(_BARS[max(1, round(8 * height)) if height else 0] for height in wording.heights(feature.histogram))
    return Text(bars if console.encoding.lower().startswith("utf") else " ".join(map(str, feature.histogram)), style=_ACCENT)


def _tokens(feature: Feature, most: int) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right", "right"):
        grid.add_column(justify=justify, no_wrap=True)
    grid.add_row(*(Text(name, style="dim") for name in ("token", "times", "of activation", "log-odds")))
    for token in feature.tokens[:most]:
        grid.add_row(_quoted(token.text), wording.number(token.count), wording.percent(token.share), f"{token.enrichment:+.1f}")
    return grid


def _quoted(token: str) -> Text:
    return Text(f"“{marked(token)[:40]}”")


def _contexts(console: Console, title: str, contexts: Sequence[Context], feature: Feature) -> None:
    if not contexts:
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for context in contexts:
        line = highlighted(context.near(_BEFORE, _AFTER), feature.max, colour=console.color_system is not None)
        line.append(f"   {marked(wording.source(context))}", style="dim")
        grid.add_row(wording.number(context.activation) if context.activation else "–", line)
    _section(console, title, grid)


def highlighted(context: Context, maximum: float, *, colour: bool) -> Text:
    """A context on one line, its tokens tinted by how strongly the feature fires; without `colour` the peak stands in ⟦ ⟧."""
    line = Text()
    for at, (token, value) in enumerate(zip(context.tokens, context.values, strict=True)):
        piece = marked(token)
        bare = piece.lstrip(" ")
        line.append(piece[: len(piece) - len(bare)])
        if at == context.peak and not colour:
            bare = f"⟦{bare}⟧"
        style = _TINTS[wording.step(value, maximum)]
        line.append(bare, style=f"{style} bold" if at == context.peak and value > 0 else "underline" if at == context.peak else style)
    return line


def _outputs(tokens: Sequence[OutputToken]) -> Text:
    parts = [Text.assemble(_quoted(t.text), (f" {t.weight:+.2f}", "dim")) for t in tokens]
    return Text("  ").join(parts)


def _effect(console: Console, feature: Feature) -> None:
    """What it does as measured; it stands before what its decoder row alone would say."""
    rows: list[tuple[str, str | Text]] = []
    if feature.effect:
        names = ("likelier", "less likely")
        rows = [(name, _moved(tokens)) for name, tokens in zip(names, feature.effect.full.held, strict=True) if tokens]
    title = f"What it does ({wording.MEASURED})" if feature.effect else "What it does"
    _section(console, title, _pairs([*rows, *wording.effect(feature)]))


def _moved(tokens: Sequence[Moved]) -> Text:
    parts = [Text.assemble(_quoted(one.text), (f" {wording.chance(one.before)} → {wording.chance(one.after)}", "dim")) for one in tokens]
    return Text("  ").join(parts)


def _relatives(console: Console, title: str, relatives: Sequence[Relative]) -> None:
    if relatives:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        for relative in relatives:
            grid.add_row(f"{relative.value:.2f}", marked(relative.name), _title(relative.label))
        _section(console, title, grid)


def print_found(found: SearchResult, console: Console) -> None:
    """The features that a search found, and for each the text that has the words."""
    if not found.hits:
        console.print(Text("Nothing found." if found.query.strip() else "No feature passes these filters.", style="italic"))
        return
    if found.loosened:
        console.print(Text("No feature has all of these words; here is what has some of them.", style="italic"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for hit in found:
        rating = wording.rated(hit)
        grid.add_row(Text.assemble((rating.word, "bold"), (rating.behind, "dim")), _hit(hit, console, _by(hit)))
    console.print(grid)
    said = f"First column: how far the name can be relied on, by its own test or by its rule's; {wording.FITS}; {wording.TRUTH}."
    console.print(Text(said, style="dim"), width=min(100, console.width))


def _by(hit: SearchHit) -> str:
    """Who gave the name of a feature that was found."""
    if hit.written.label:
        return ""
    if not (hit.named and hit.named.stands_first):
        return "by rule · "
    return "read · "


def _hit(hit: SearchHit, console: Console, named: str) -> Text:
    mine = " your label" if hit.written.label else ""
    places = f" · found in {', '.join(hit.found_in)}" if hit.found_in else ""
    rest = f"  {named}{marked(hit.name)} · {wording.percent(hit.density)} of tokens{places}"
    line = Text.assemble(("★ " if hit.written.star else "", _ACCENT), _title(hit.title, bold=True), (mine, "italic dim"), (rest, "dim"))
    if hit.passage is not None and "context" in hit.found_in:
        line.append("\n")
        line.append_text(highlighted(hit.passage, hit.max, colour=console.color_system is not None))
    return line
