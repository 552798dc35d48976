"""Steered texts side by side, in a terminal and as one HTML page: what was written, what it cost, and that it was altered."""

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from hooke.report.document import document, masthead
from hooke.report.tables import table
from hooke.steer import Arm, Steering
from hooke.text.marks import marked, stripped
from hooke.text.markup import Markup, tag

_KINDS = {
    "clean": "The model by itself",
    "steered": "With the feature turned",
    "random": "Control: another feature, turned as far",
    "prompted": "Asked for in words instead",
}
_TITLE, _WORDS = 120, 10
# From so many doses on their figures stand in a table too.
_CURVE = 3
_HEADINGS = ("dose", "moved, nats a token", "its control", "own words, times", "its control", "oddness, nats a token", "repeats")
# What a text looks like that is no longer one.
_ODD, _REPEATS = 6.0, 0.5


def print_steering(result: Steering, titles: Mapping[str, str | None], console: Console) -> None:
    """Every arm under a heading with its dose, then its text, then what it cost."""
    for said in _about(result, titles):
        console.print(Text(said))
    console.print(Text(marked(result.prompt), style="bold"), Text(f"  goes on, seed {result.seed}:", style="dim"))
    for arm in result.arms:
        console.print()
        console.print(Text(_heading(arm), style="bold" if arm.kind == "steered" else ""))
        console.print(Padding(Text(marked(arm.text.strip())), (0, 0, 0, 2), expand=False))
        console.print(Padding(Text(" · ".join(_figures(arm)), style="dim"), (0, 0, 0, 2), expand=False))
    console.print()
    if rows := _curve(result):
        curve = table(*_HEADINGS)
        for row in rows:
            curve.add_row(*row)
        console.print(curve)
        console.print()
    if result.turns is not None:
        console.print(Text(_turned(result.turns), style="bold"))
    console.print(Text(result.note, style="italic"))


def page(result: Steering, titles: Mapping[str, str | None]) -> str:
    """A whole HTML page: no script, no outside address."""
    return document(
        f"{stripped(result.prompt)[:60]} · steered · Hooke",
        files("hooke.report").joinpath("steering.css").read_text("utf-8"),
        tag(
            "header",
            masthead(tag("bdi", stripped(result.prompt)), tag("div", [tag("p", tag("bdi", said)) for said in _about(result, titles)])),
        ),
        tag("main", _beside(("clean", "prompted"), result), _curve_table(result), _doses(result), tag("p", result.note, class_="note")),
    )


def _about(result: Steering, titles: Mapping[str, str | None]) -> Iterator[str]:
    """What was turned, what its own words are, and what was turned in the control."""
    yield from (_called(name, titles) for name in result.features)
    if result.words:
        yield f"own words (those that its direction promotes): {' '.join(f'“{marked(word)}”' for word in result.words[:_WORDS])}"
    else:
        yield "no own words: none is known that it raises more than a random step does; hold its text against the control's"
    if result.controls:
        yield f"control: {', '.join(_called(name, titles) for name in result.controls)}"


def _beside(kinds: Sequence[str], result: Steering, dose: float | None = None) -> Markup:
    """The arms of these kinds next to each other; of one dose, if it is given."""
    return tag("div", [_arm(arm) for arm in result.arms if arm.kind in kinds and dose in (None, arm.dose)], class_="pair")


def _doses(result: Steering) -> list[Markup]:
    """A row for each dose: the feature, and the control beside it."""
    doses = dict.fromkeys(arm.dose for arm in result.arms if arm.kind == "steered")
    return [_beside(("steered", "random"), result, dose) for dose in doses]


def _curve_table(result: Steering) -> Markup | None:
    rows = _curve(result)
    if not rows:
        return None
    head = tag("thead", tag("tr", [tag("th", heading, scope="col") for heading in _HEADINGS]))
    body = tag("tbody", [tag("tr", [tag("td", cell) for cell in row]) for row in rows])
    turned = None if result.turns is None else tag("p", tag("b", _turned(result.turns)))
    return tag("section", tag("h2", "By dose"), tag("table", head, body), turned, class_="curve")


def _curve(result: Steering) -> list[list[str]]:
    """A row for each dose, the least first; none where there are few."""
    by_kind = {kind: sorted((arm for arm in result.arms if arm.kind == kind), key=lambda arm: arm.dose) for kind in ("steered", "random")}
    pairs = list(zip(by_kind["steered"], by_kind["random"], strict=True))
    return [_curve_row(arm, control) for arm, control in pairs] if len(pairs) >= _CURVE else []


def _curve_row(arm: Arm, control: Arm) -> list[str]:
    moved = [f"{sum(one.kl) / len(one.kl):.2f}" if one.kl else "" for one in (arm, control)]
    own = ["" if one.own_words is None else _times(one.own_words) for one in (arm, control)]
    odd = "" if arm.loss_clean_model is None else f"{arm.loss_clean_model:.2f}"
    return [f"{arm.dose:g}", *moved, *own, odd, f"{arm.repetition:.0%}"]


def _turned(dose: float) -> str:
    return f"The curve turns: past dose {dose:g} the features' own words become less likely again."


def _times(nats: float) -> str:
    ratio = math.exp(min(nats, 20))
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"


def _arm(arm: Arm) -> Markup:
    return tag(
        "section",
        tag("h2", _heading(arm)),
        tag("p", tag("bdi", stripped(arm.text.strip())), class_="text"),
        tag("p", " · ".join(_figures(arm)), class_="soft"),
        class_=f"arm {arm.kind}",
    )


def _called(name: str, titles: Mapping[str, str | None]) -> str:
    title = titles.get(name)
    return f"{name}  {stripped(title)[:_TITLE]}" if title else name


def _heading(arm: Arm) -> str:
    return _KINDS[arm.kind] + (f", dose {arm.dose:g}" if arm.kind in ("steered", "random") else "")


def _figures(arm: Arm) -> Iterator[str]:
    """What it cost, in words."""
    if arm.kl:
        yield f"expectations move by {sum(arm.kl) / len(arm.kl):.2f} nats a token" if any(arm.kl) else "nothing altered"
    if arm.loss_clean_model is not None:
        odd = ", hardly language" if arm.loss_clean_model > _ODD else ""
        yield f"how odd the unaltered model finds it: {arm.loss_clean_model:.2f} nats a token{odd}"
    if arm.own_words is not None and arm.kind != "clean":
        yield f"own words {_times(arm.own_words)} times as likely"
    if arm.repetition > _REPEATS:
        yield f"{arm.repetition:.0%} of its word pairs repeat"
