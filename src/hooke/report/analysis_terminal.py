"""An analysis as text in a terminal: each text with its features, then the topics, then what limits them."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hooke.analysis import wording
from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult
from hooke.analysis.wording import NO_LABEL, about, clipped, count, explained, fields, named, rated, site, steps
from hooke.atlas import NO_MEANING
from hooke.atlas.sensitive import NOTE
from hooke.text.marks import marked, stripped

WIDE = 120
"""Columns from which a feature fits on one line."""
MAX_CHARACTERS = 400
"""Characters of a text that are shown; the rest is counted."""
READABLE = 100
"""Columns past which a sentence is broken, however wide the terminal is."""

_BAR = "#b06f00"  # at least 4:1 on white and on black
_EIGHTHS = " ▏▎▍▌▋▊▉"
_INDENT = 5
_PEAK = 16


def print_table(analysis: Analysis, console: Console, top: int) -> None:
    """Print the analysis with the first `top` features of each text; nothing from outside can steer the terminal."""
    address = partial(wording.short_address, analysis=analysis)
    cut = [wording.Words(text.tokens) for text in analysis.texts]
    rows = [[_row(hit, words, address) for hit in about(text)[:top]] for text, words in zip(analysis.texts, cut, strict=True)]
    # Widths are taken over all texts; 8 columns are the bar's, 2 stand between neighbours.
    widths = [max((row[at].cell_len for own in rows for row in own), default=0) for at in (1, 2, 3, 4)]
    widths[1:] = [min(width, WIDE // 3) for width in widths[1:]]
    widths[0] = max(12, min(console.width - _INDENT - 8 - sum(width + 2 for width in widths[1:]) - 2, widths[0]))
    if analysis.topical and analysis.texts:
        _say(console, [analysis.naming, _COLUMNS])
    for place, (text, words, own) in enumerate(zip(analysis.texts, cut, rows, strict=True), 1):
        _text(console, place, text, analysis)
        shown = (
            (_wide(own, widths) if console.width >= WIDE else _narrow(own)) if own else Text("no feature stands out", style="dim italic")
        )
        console.print(Padding(shown, (0, 0, 0, _INDENT), expand=False))
        if text.words:
            line = Padding(_words(text.words[:top], words), (0, 0, 0, _INDENT), expand=False)
            console.print(line, width=min(READABLE, console.width))
        console.print()
    if analysis.topical and len(analysis.texts) > 1:
        _topics(console, analysis)
    _limits(console, analysis)


_COLUMNS = (
    f"Under each text: its topic, with the share of the features' evidence that speaks for it. Then the features, most telling first:"
    f" {wording.BAR}; the feature's name; how far that name can be relied on, and what that rests on; the word at which it rises most; the"
    " feature's address, for `hooke feature`."
)


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in filter(None, lines):
        console.print(Padding(Text(marked(line), style="dim"), (0, 0, 1, 0), expand=False), width=min(READABLE, console.width))


def _row(hit: Hit, words: wording.Words, address: Callable[[Hit], str]) -> list[Text]:
    """What is said of a feature: bar, name, how far to rely on it, word and address."""
    return [_bar(hit.relative, 8), _name(hit), _score(hit), _word(hit, words), Text(address(hit), style="dim")]


def _text(console: Console, place: int, text: TextResult, analysis: Analysis) -> None:
    """The text with its number, and a line about it as a whole."""
    said = [wording.topic(text)] if analysis.topical else []
    if how := explained(text.explained, analysis.saes):
        said.append(how)
    if text.sinks:
        said.append(f"{count(text.sinks, 'attention sink')} left out")
    if text.truncated:
        said.append(f"{count(text.truncated, 'token')} past the model's context left out")
    grid = Table.grid()
    grid.add_column(width=_INDENT, no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(f"{place:>{_INDENT - 1}} ", _headline(text))
    if own_fields := fields(text):
        grid.add_row("", Text(own_fields, style="dim"))
    grid.add_row("", Text(" · ".join(said), style="dim italic" if text.topic is None else "dim"))
    console.print(grid)


def _headline(text: TextResult) -> Text:
    """The text, underlined where its first feature fires; on words of grammar not, if that is what the text is about."""
    shown = Text(style="bold", overflow="fold")
    fired = {pos for hit in about(text)[:1] for pos in steps(hit).keys() - wording.Words(text.tokens).faint(hit)}
    tokens = text.tokens if "".join(text.tokens) == text.text else [text.text]
    fired = fired if len(tokens) == len(text.tokens) else set()
    left = MAX_CHARACTERS
    for pos, token in enumerate(tokens):
        piece = marked(token[:left])
        bare = piece.lstrip(" ")
        shown.append(piece[: len(piece) - len(bare)])
        shown.append(bare, style="underline" if pos in fired else None)
        left -= len(token)
        if left <= 0 and (left < 0 or pos + 1 < len(tokens)):
            shown.append(f" … ({count(len(text.text), 'character')})", style="not bold dim")
            break
    return shown


def _wide(rows: Iterable[Sequence[Text]], widths: Sequence[int]) -> Table:
    """One line a feature; columns of one width in every text, so that they stand under each other."""
    grid = _bars(gap=2)
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _narrow(rows: Iterable[Sequence[Text]]) -> Table:
    """Two lines a feature."""
    grid = _bars(gap=1)
    grid.add_column(overflow="fold")
    for bar, name, score, word, address in rows:
        first = Text.assemble(name, ("  on ", "dim"), word)
        second = Text.assemble(score, (" · ", "dim"), address)
        grid.add_row(bar, Text("\n").join([first, second]))
    return grid


def _bars(gap: int) -> Table:
    """A grid that begins with a bar."""
    grid = Table.grid(padding=(0, gap, 0, 0))
    grid.add_column(width=8, no_wrap=True)
    return grid


def _bar(share: float, width: int) -> Text:
    """A bar of `width` columns, drawn in eighths."""
    eighths = round(clipped(share) * width * 8)
    full, part = divmod(eighths, 8)
    return Text("█" * full + (_EIGHTHS[part] if part else ""), style=_BAR)


def _name(hit: Hit) -> Text:
    if hit.title is None:
        return Text(NO_LABEL, style="dim italic")
    said = Text(named(hit), style="dim" if hit.title == NO_MEANING else "")
    return said.append(" (sensitive)", style="dim") if hit.sensitive else said


def _words(hits: Sequence[Hit], words: wording.Words) -> Text:
    """The features of a text's words, behind the words they fire on."""
    said = Text("words: ", style="dim italic", overflow="fold")
    for at, (word, names) in enumerate(wording.by_word(hits, words)):
        said.append(f"{' · ' if at else ''}“{marked(word)}” ", style="not dim not italic").append("; ".join(names), style="not italic")
    return said


def _score(hit: Hit) -> Text:
    """How far the name is to be relied on, in a word, and what that rests on."""
    rating = rated(hit)
    return Text.assemble((rating.word, "bold"), (rating.behind, "dim"))


def _word(hit: Hit, words: wording.Words) -> Text:
    token = marked(words.of(hit))
    return Text(f"“{token if len(token) < _PEAK - 1 else token[: _PEAK - 3] + '…'}”")


def _topics(console: Console, analysis: Analysis) -> None:
    rest = sum(text.topic is None for text in analysis.texts)
    largest = max([1, rest, *(len(topic.texts) for topic in analysis.topics)])
    grid = _bars(gap=2)
    grid.add_column(width=5, no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for topic in analysis.topics:
        grid.add_row(_bar(len(topic.texts) / largest, 8), str(len(topic.texts)), _topic(topic))
    if rest:
        grid.add_row(_bar(rest / largest, 8), str(rest), Text("no topic sure enough", style="italic"))
    console.print(Text(f"Topics of {count(len(analysis.texts), 'text')}", style="bold"))
    console.print(Padding(grid, (0, 0, 1, 2), expand=False))


def _topic(topic: TopicResult) -> Text:
    """A topic's name, and under it the three features that carried it most."""
    lines = [Text(stripped(topic.topic), style="bold")]
    for hit, texts in wording.carriers(topic)[:3]:
        lines.append(Text.assemble(_name(hit), (f"  {rated(hit).word} · in {count(texts, 'text')}", "dim")))
    return Text("\n").join(lines)


def _limits(console: Console, analysis: Analysis) -> None:
    """What was looked through, how to read it, and what it cannot say."""
    lines = []
    for sae in analysis.saes:
        name, where = stripped(str(sae.get("name"))), stripped(site(sae.get("site")))
        lines.append(f"{stripped(analysis.model)} through {name} ({where}): {wording.usual(sae)}.")
    if analysis.topical:
        lines += [wording.scale(analysis), f"First what a text is about, then its words. {wording.order(analysis)}"]
    if any(hit.sensitive for text in analysis.texts for hit in (*about(text), *text.words)):
        lines.append(f"Sensitive: {NOTE[0].lower()}{NOTE[1:]}")
    limits = [limit for limit in analysis.limits if limit != analysis.naming]
    grid = Table.grid()
    grid.add_column(width=2, no_wrap=True)
    grid.add_column(overflow="fold")
    for line in [*lines, *map(marked, limits)]:
        grid.add_row(Text("·"), Text(line))
    console.print(Text("What this rests on, and what it cannot say", style="bold"))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False), width=min(READABLE, console.width))
    if analysis.topical and (first := next((hit for text in analysis.texts for hit in about(text)), None)):
        console.print(Text(f"`hooke feature {wording.short_address(first, analysis)}` shows where a feature fires."))
