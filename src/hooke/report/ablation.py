"""What a text needs features for, in a terminal and as one HTML page: each token tinted by how much worse it is predicted without them."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from hooke.ablate import Ablation, Silenced
from hooke.report.document import document, masthead
from hooke.text.marks import marked, stripped
from hooke.text.markup import Markup, join, tag

_TITLE, _SHORT, _MOST, _STEPS = 120, 40, 5, 5
# Nats more of a token's loss that take the full colour, and that are worth a word.
_FULL, _WORTH = 1.0, 0.01
_LEGEND = "tinted: predicted worse without, the full colour at 1 nat or more; underlined: where the feature is active"
# Of what two features cost alone, how much more or less both must cost to be told.
_APART = 0.1
_TINTS = ("", "black on #fbecd8", "black on #f7dab0", "black on #f2c787", "black on #ecb359", "black on #e69f00")


def print_ablations(results: Sequence[Ablation], titles: Mapping[str, str | None], console: Console) -> None:
    """Every text under each feature: tinted by what it loses, then the figures and the tokens that lose most."""
    for result in results:
        for arm in result.silenced:
            console.print(Text(_called(arm, titles), style="bold"))
            line = Text()
            for piece, rise in zip(result.tokens, arm.rise(result.loss), strict=True):
                line.append(marked(piece), style=_TINTS[_step(rise)])
            console.print(Padding(line, (0, 0, 0, 2), expand=False))
            for said in _figures(result, arm):
                console.print(Padding(Text(said, style="dim"), (0, 0, 0, 2), expand=False))
            console.print()
        for said in _pairs(result, titles):
            console.print(Padding(Text(said), (0, 0, 0, 2), expand=False))
        if result.pairs:
            console.print()
    if results:
        console.print(Text(results[0].note, style="italic"))


def page(results: Sequence[Ablation], titles: Mapping[str, str | None]) -> str:
    """A whole HTML page: no script, no outside address."""
    return document(
        "Without features · Hooke",
        files("hooke.report").joinpath("ablation.css").read_text("utf-8"),
        tag("header", masthead("What these texts need features for", _LEGEND)),
        tag("main", [_section(result, titles) for result in results], tag("p", results[0].note, class_="note") if results else None),
    )


def _section(result: Ablation, titles: Mapping[str, str | None]) -> Markup:
    arms = [
        tag(
            "div",
            tag("h2", tag("bdi", _called(arm, titles))),
            tag("p", _tinted(result, arm), class_="text", dir="auto"),
            [tag("p", tag("bdi", said), class_="soft small") for said in _figures(result, arm)],
        )
        for arm in result.silenced
    ]
    paired = tag("div", tag("h2", "two at a time"), [tag("p", tag("bdi", said), class_="small") for said in _pairs(result, titles)])
    return tag("section", arms, paired if result.pairs else None)


def _pairs(result: Ablation, titles: Mapping[str, str | None]) -> Iterator[str]:
    """Two features without which the text is predicted otherwise than by each alone, those that differ most first."""
    title = lambda name: f"{name.rpartition('/')[2]} {stripped(titles.get(name) or '')[:_SHORT]}".strip()  # noqa: E731
    far = lambda pair: abs(pair.interaction) >= max(_WORTH, _APART * sum(map(abs, pair.alone)))  # noqa: E731
    telling = sorted(filter(far, result.pairs), key=lambda pair: -abs(pair.interaction))
    for pair in telling:
        one, other = map(title, pair.features)
        why = "they stand in for each other" if pair.interaction > 0 else "they work on the same"
        yield (
            f"{one} · {other}: loss {pair.joint:+.3f} nats without both; {pair.alone[0]:+.3f} and {pair.alone[1]:+.3f} without each alone, "
            f"the sum is {sum(pair.alone):+.3f}: {why}"
        )
    if rest := len(result.pairs) - len(telling):
        few = "pair" if rest == 1 else "pairs"
        yield f"{rest} {'other ' if telling else ''}{few}: without both the loss rises by the sum of what it does without each, or nearly"


def _tinted(result: Ablation, arm: Silenced) -> Markup:
    parts = []
    for piece, rise, active in zip(result.tokens, arm.rise(result.loss), arm.acts, strict=True):
        kinds = [f"s{step}"] if (step := _step(rise)) else []
        kinds += ["active"] if active > 0 else []
        said = f"{rise:+.2f} nats" + (f"; the feature is at {active:.3g}" if active > 0 else "")
        bare = piece.lstrip(" ")
        shown = tag("span", stripped(bare), class_=" ".join(kinds), title=said) if kinds else join(stripped(bare))
        parts += [join(piece[: len(piece) - len(bare)]), shown]
    return join(parts)


def _step(rise: float) -> int:
    return min(_STEPS, int(_STEPS * rise / _FULL) + 1) if rise >= _WORTH else 0


def _called(arm: Silenced, titles: Mapping[str, str | None]) -> str:
    if len(arm.features) > 1:
        return "without both" if len(arm.features) == 2 else f"without all {len(arm.features)} of them"
    title = titles.get(arm.features[0])
    return f"without {arm.features[0]}" + (f"  {stripped(title)[:_TITLE]}" if title else "")


def _figures(result: Ablation, arm: Silenced) -> Iterator[str]:
    """What it costs, in words, beside the control."""
    where = [i for i, value in enumerate(arm.acts) if value > 0]
    if not where:
        yield "active on no token: nothing changes"
        return
    rises, control = arm.rise(result.loss), arm.rise(result.loss, control=True)
    yield (
        f"active on {len(where)} of {len(result.tokens)} tokens; without, the loss of the whole text changes by {sum(rises):+.3f} nats; "
        f"control, as much taken away at random: {sum(control):+.3f}"
    )
    worst = sorted(range(len(rises)), key=lambda i: -rises[i])[:_MOST]
    if told := [f"“{stripped(result.tokens[i])}” {rises[i]:+.2f} ({control[i]:+.2f})" for i in worst if rises[i] >= _WORTH]:
        yield f"predicted worse: {', '.join(told)}; in brackets the control"
