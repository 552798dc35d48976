"""A training run as one HTML page: how far it is, its curves, its warnings, its SAEs and its settings, from the run's folder alone."""

import math
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hooke.report.charts import LARGE, SMALL, Line, Scale, chart, sample
from hooke.report.document import document, masthead
from hooke.report.styles import Styles
from hooke.text.figures import count, duration, figure, share, span, value_text, when
from hooke.text.marks import stripped
from hooke.text.markup import Child, Markup, join, tag
from hooke.train.run_log import History, number

MAX_EVENTS = 200
"""Warnings and events that are shown, of each the newest; past it the page says how many there are."""
IN_SIGHT = 8
"""Of those, how many stand in sight; the others unfold."""

_MILLION = 1e6


class _Metric(NamedTuple):
    key: str
    name: str
    unit: str
    log: bool
    least: float | None
    write: Callable[[float | int], str]


def page(folder: Path) -> str:
    """The run in `folder` as a whole HTML page without script or outside address; the same folder gives the same page.

    Raises `Missing` or `BadFile` where there is no run; what is damaged, missing or half written in its logs is left out and counted.
    """
    history = History.read(Path(folder))
    styles = Styles.of(history.saes)
    n = len(history.saes)
    model = stripped(str(history.run.get("model") or "a model"))
    return document(
        f"{count(n, 'SAE')} on {model} · Hooke",
        files("hooke.report").joinpath("training.css").read_text("utf-8"),
        tag("a", "Skip to the curves", class_="skip", href="#curves"),
        tag(
            "header",
            masthead([f"Training {count(n, 'SAE')} on ", tag("bdi", model)], _state(history)),
            _progress(history),
            _facts(history),
        ),
        tag(
            "main",
            _warnings(history),
            _curves(history, styles),
            _pareto(history, styles),
            _saes(history, styles),
            _figures(history, styles),
            _speed(history),
            _events(history),
            _settings(history, styles),
        ),
    )


def _state(history: History) -> str:
    heard = f" Last heard of {when(history.events[-1]['time'])}." if history.events else ""
    lag = f" {count(history.damaged, 'damaged row')} of metrics left out." if history.damaged else ""
    rare = f" The metrics are long; every {history.every}th row is shown." if history.every > 1 else ""
    said = {
        "finished": "The run is finished.",
        "stopped": "The run was stopped; it can be resumed.",
        "running": "The run is going on, or was cut off without a word.",
        "not started": "The run has not started.",
    }
    return said[history.state] + heard + lag + rare


def _progress(history: History) -> Markup | None:
    if not (len(history.tokens) and history.planned > 0):
        return None
    done = min(1.0, float(history.tokens[-1]) / history.planned)
    return tag(
        "svg",
        tag("rect", width=f"{100 * done:.1f}%", height="100%"),
        class_="bar",
        role="img",
        aria_label=f"{100 * done:.0f} % of the run",
    )


def _facts(history: History) -> Markup:
    done = float(history.tokens[-1]) if len(history.tokens) else 0.0
    of = f" of {figure(history.planned / _MILLION)}" if history.planned > 0 else ""
    facts = [("Tokens", f"{figure(done / _MILLION)}{of} million")]
    if history.planned > 0:
        facts[0] = (facts[0][0], f"{facts[0][1]} ({100 * min(1.0, done / history.planned):.0f} %)")
    facts.append(("Step", figure(float(history.step[-1]) if len(history.step) else 0)))
    facts.append(("Speed", f"{figure(history.speed)} tokens/s" if history.speed > 0 else "not measured"))
    if history.state == "running":
        facts.append(("Time left", duration(history.left_s)))
    for metric in (_METRICS[0], _METRICS[1], _METRICS[2]):
        values = [value for name in history.saes if math.isfinite(value := history.last(name, metric.key))]
        facts.append((metric.name, span(values, metric.write)))
    facts.append(("Warnings", figure(sum(event.get("kind") == "warning" for event in history.events))))
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts")


def _warnings(history: History) -> Markup:
    told = [event for event in history.events if event.get("kind") == "warning"]
    if not told:
        said = "Nothing looks wrong so far." if len(history.step) else "Nothing has been measured yet."
        return tag("section", tag("h2", "Warnings"), tag("p", said, class_="soft"))
    return tag("section", tag("h2", "Warnings"), _log(told, class_="warnings"))


def _log(events: Sequence[dict[str, Any]], class_: str) -> Markup:
    """Events with their times, newest first; the first few in sight, the rest folded away."""
    newest = [_entry(event) for event in reversed(events[-MAX_EVENTS:])]
    left = len(events) - MAX_EVENTS

    def table(entries: list[Markup]) -> Markup:
        head = tag("tr", [tag("th", name, scope="col") for name in ("Time", "Step", "What")])
        return tag("table", tag("thead", head), tag("tbody", entries), class_=f"log {class_}")

    return join(
        table(newest[:IN_SIGHT]),
        tag("details", tag("summary", f"{count(len(newest) - IN_SIGHT, 'earlier one')}"), table(newest[IN_SIGHT:]))
        if newest[IN_SIGHT:]
        else None,
        tag("p", f"{count(left, 'older one')} in events.jsonl.", class_="soft") if left > 0 else None,
    )


def _entry(event: dict[str, Any]) -> Markup:
    step = number(event.get("step"))
    kind, text = stripped(str(event.get("kind") or "")), stripped(str(event.get("text") or ""))
    said = text if kind == "warning" else f"{kind}: {text}" if text else kind
    return tag("tr", tag("td", when(event["time"])), tag("td", figure(step)), tag("td", tag("bdi", said[:2000])))


def _curves(history: History, styles: Styles) -> Markup:
    """All curves: large charts with every SAE in them, or for many SAEs a row of small ones for each group."""
    if not len(history.tokens):
        return tag("section", tag("h2", "Curves", id="curves"), tag("p", "No metrics yet.", class_="soft"))
    shown = [metric for metric in _METRICS if any(not np.isnan(history.column(name, metric.key)).all() for name in history.saes)]
    # Small charts side by side are compared, so a metric has one axis in all of them.
    scales = {metric: _scale(history, metric) for metric in shown}
    drawn = []
    for title, names in styles.groups:
        charts = [_curve(history, styles, metric, names, scales[metric]) for metric in shown if not styles.many or metric.key != "lr"]
        drawn.append(tag("section", tag("h3", title) if title else None, tag("div", charts, class_="small" if styles.many else "large")))
    rate = next((metric for metric in shown if metric.key == "lr"), None)
    if styles.many and rate is not None:
        drawn.append(
            tag("section", tag("h3", "All"), tag("div", _curve(history, styles, rate, list(history.saes), scales[rate]), class_="small"))
        )
    said = "By million tokens. Error and loss are on logarithmic axes; a cross marks a value that was not finite."
    if styles.many:
        said += " " + " ".join(f"{metric.name}: {metric.unit}." for metric in shown if metric.unit)
    return tag("section", tag("h2", "Curves", id="curves"), tag("p", said, class_="soft"), _legend(styles), drawn)


def _scale(history: History, metric: _Metric) -> Scale:
    columns = [history.column(name, metric.key) for name in history.saes]
    values = np.concatenate(columns) if columns else np.array([])
    if metric.key == "l0":
        targets = [number(sae.get("l0")) for sae in history.saes.values()]
        values = np.concatenate([values, [target for target in targets if math.isfinite(target)]])
        fine = values[np.isfinite(values) & (values > 0)]
        return Scale.over(values, log=bool(len(fine)) and float(fine.max()) > 8 * float(fine.min()))
    return Scale.over(values, log=metric.log, least=metric.least)


def _curve(history: History, styles: Styles, metric: _Metric, names: Sequence[str], y: Scale) -> Markup:
    x = history.tokens / _MILLION
    lines, drawn = [], {}
    for name in names:
        column = history.column(name, metric.key)
        if metric.key == "lr" and column.tobytes() in drawn:  # a schedule that all share is drawn once
            continue
        drawn[column.tobytes()] = name
        lines.append(Line(styles.short(name), x, column, styles.look(name), "" if styles.many or metric.key == "lr" else styles.mark(name)))
    targets = {target for name in names if math.isfinite(target := number(history.saes[name].get("l0")))} if metric.key == "l0" else set()
    ends = [value for name in names if math.isfinite(value := history.last(name, metric.key))]
    title = f"{metric.name} by million tokens, {count(len(names), 'SAE')}. Now {span(ends, metric.write)}."
    if targets:
        title += f" Target {span(sorted(targets), metric.write)}."
    caption = tag("figcaption", tag("b", metric.name), f" {metric.unit}" if metric.unit and not styles.many else None)
    scale = Scale.over(x[-1:])
    frame = SMALL if styles.many else LARGE
    return tag("figure", caption, chart(lines, scale, y, title=title, label=metric.write, frame=frame, targets=sorted(targets)))


def _legend(styles: Styles) -> Markup:
    keys = [tag("li", _swatch(look), tag("bdi", text)) for look, text in styles.legend]
    return tag("ul", keys, class_="legend")


def _swatch(look: str) -> Markup:
    line = tag("g", tag("path", d="M1 6H27"), class_=f"line {look}")
    return tag("svg", line, viewBox="0 0 28 12", class_="swatch", aria_hidden="true")


def _pareto(history: History, styles: Styles) -> Markup:
    """Error against L0 of the finished SAEs; what lies further down and left is better."""
    points = {name: (number(held.get("l0")), number(held.get("fvu"))) for name, held in history.held_out.items() if name in history.saes}
    points = {name: (l0, fvu) for name, (l0, fvu) in points.items() if 0 < l0 < math.inf and 0 < fvu < math.inf}
    if not points:
        return tag(
            "section",
            tag("h2", "Error against L0"),
            tag("p", "Drawn once an SAE is finished and measured on held-out text.", class_="soft"),
        )
    x, y = (Scale.over([point[i] for point in points.values()], log=True) for i in (0, 1))
    figures = []
    for title, names in styles.groups:
        there = [name for name in names if name in points]
        beside = {name: [points[other] for other in there if styles.site(other) == styles.site(name)] for name in there}
        best = {name for name in there if not any(_dominates(other, points[name]) for other in beside[name])}
        lines = []
        for name in sorted(there, key=lambda name: points[name]):
            l0, fvu = points[name]
            text = f"{styles.short(name)}: L0 {figure(l0)}, error {figure(fvu)}" + ("" if name in best else ", bettered")
            look = styles.look(name) + ("" if name in best else " bettered")
            lines.append(Line(text, np.array([l0]), np.array([fvu]), look, "" if styles.many else styles.mark(name), dots=True))
        if lines:
            alternative = f"Error against L0 on held-out text{f', {title}' if title else ''}, {count(len(there), 'SAE')}. " + ". ".join(
                line.name for line in lines
            )
            drawn = chart(lines, x, y, title=alternative, frame=SMALL if styles.many else LARGE)
            figures.append(tag("figure", tag("figcaption", tag("b", title or "Error"), " by L0"), drawn))
    said = (
        "On held-out text; both axes are logarithmic, and further down and left is better. A point is hollow where another SAE of its site"
        " betters it both ways. Errors at different sites are not alike."
    )
    grid = tag("div", figures, class_="small" if styles.many else "large")
    return tag("section", tag("h2", "Error against L0"), tag("p", said, class_="soft"), grid)


def _dominates(one: tuple[float | int, float | int], other: tuple[float | int, float | int]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def _saes(history: History, styles: Styles) -> Markup:
    """Every SAE with its newest figures, and those on held-out text where it is finished."""
    shown = [metric for metric in _METRICS if metric.key in ("fvu", "l0", "dead_share", "dense_share")]
    held = bool(history.held_out)
    names = ["SAE", "Architecture", "Features", "L0 wanted", *(metric.name for metric in shown)]
    names += ["Held-out error", "Held-out L0", "Never fired there"] if held else []
    rows = []
    for name, sae in history.saes.items():
        cells: list[Child] = [
            stripped(str(sae.get("architecture") or "not stated")),
            figure(number(sae.get("d_sae"))),
            figure(number(sae.get("l0"))),
        ]
        cells += [metric.write(value) if math.isfinite(value := history.last(name, metric.key)) else "–" for metric in shown]
        if held:
            found = history.held_out.get(name, {})
            cells += [figure(number(found.get("fvu"))), figure(number(found.get("l0"))), share(number(found.get("dead")))]
        head = tag(
            "th",
            None if styles.many else tag("b", styles.mark(name), " "),
            _swatch(styles.look(name)),
            tag("bdi", styles.short(name)),
            scope="row",
        )
        rows.append([head, *cells])
    return tag("section", tag("h2", "SAEs"), _table(names, rows, text=2))


def _figures(history: History, styles: Styles) -> Markup | None:
    """The curves as tables."""
    if not len(history.tokens):
        return None
    rows = sample(history.tokens, 8)
    tables = []
    for metric in _METRICS:
        columns = {name: history.column(name, metric.key)[rows] for name in history.saes}
        if all(np.isnan(column).all() for column in columns.values()):
            continue
        names = ["SAE", *(f"{figure(float(history.tokens[row]) / _MILLION)} M" for row in rows)]
        cells = [
            [tag("th", tag("bdi", styles.short(name)), scope="row"), *(_cell(v, metric) for v in column)]
            for name, column in columns.items()
        ]
        tables.append(tag("details", tag("summary", f"{metric.name} by tokens"), _table(names, cells, text=1)))
    return tag("section", tag("h2", "The curves as figures"), tables)


def _cell(value: float | int, metric: _Metric) -> str:
    return "–" if math.isnan(value) else "not finite" if math.isinf(value) else metric.write(value)


def _table(names: Sequence[str], rows: Iterable[Sequence[Child]], text: int) -> Markup:
    """A table, its first `text` columns text and the rest figures; it scrolls where it is too wide."""
    head = tag("tr", [tag("th", name, scope="col", class_="n" if i >= text else None) for i, name in enumerate(names)])
    body = []
    for row in rows:
        cells = [
            cell if i == 0 and isinstance(cell, Markup) else tag("td", cell, class_="n" if i >= text else None)
            for i, cell in enumerate(row)
        ]
        body.append(tag("tr", cells))
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", body)),
        class_="wide",
        tabindex=0,
        role="region",
        aria_label=f"Table by {names[0]}",
    )


def _speed(history: History) -> Markup | None:
    """Tokens per second by the hour; a gap where the run stood still."""
    stretches: list[list[tuple[float | int, float | int]]] = [[]]
    for event in history.events:
        if event.get("kind") in ("started", "resumed", "stopped"):
            stretches.append([])
        value = number(event.get("tokens_per_s"))
        if 0 < value < math.inf:
            stretches[-1].append(((event["time"] - history.events[0]["time"]) / 3600, value))
    lines = [Line("tokens per second", *np.array(stretch).T) for stretch in stretches if stretch]
    if not lines:
        return None
    x, y = (np.concatenate(parts) for parts in ([line.x for line in lines], [line.y for line in lines]))
    title = f"Tokens per second by hours since the start. {span(y.tolist(), figure)}, now {figure(float(y[-1]))}."
    drawn = chart(lines, Scale.over(x), Scale.over(y), title=title, label=figure)
    caption = tag("figcaption", tag("b", "Tokens per second"), " by hours since the start")
    return tag("section", tag("h2", "Speed"), tag("div", tag("figure", caption, drawn), class_="large"))


def _events(history: History) -> Markup | None:
    told: list[dict[str, Any]] = []
    for event in history.events:
        if event.get("kind") in ("speed", "warning"):
            continue
        if told and told[-1].get("kind") == event.get("kind") == "checkpoint":  # of checkpoints in a row the last one matters
            told.pop()
        told.append(event)
    return tag("section", tag("h2", "Events"), _log(told, class_="events")) if told else None


def _settings(history: History, styles: Styles) -> Markup:
    """What the run was given: what all SAEs share, and what they differ in."""
    rows = [*history.run.items(), *styles.shared.items()]
    shared = tag(
        "dl", [tag("div", tag("dt", stripped(key)), tag("dd", tag("bdi", value_text(value)))) for key, value in rows], class_="settings"
    )
    table = None
    if styles.varied and len(history.saes) > 1:
        cells = [
            [tag("th", tag("bdi", styles.short(name)), scope="row"), *(value_text(sae.get(key)) for key in styles.varied)]
            for name, sae in history.saes.items()
        ]
        table = tag("details", tag("summary", "What the SAEs differ in"), _table(["SAE", *styles.varied], cells, text=1))
    return tag("section", tag("h2", "Settings"), shared, table)


_METRICS = (
    _Metric("fvu", "Error", "share of variance unexplained", True, None, figure),
    _Metric("l0", "L0", "active features per token; the line is the target", False, None, figure),
    _Metric("dead_share", "Dead", "share of features that have not fired for long", False, 0.01, share),
    _Metric("dense_share", "Dense", "share of features that fire on over 10\u202f% of tokens", False, 0.01, share),
    _Metric("loss", "Loss", "", True, None, figure),
    _Metric("contrast", "Contrast", "nats, of telling a token's partner from the others' by the group about", False, None, figure),
    _Metric("lr", "Learning rate", "", False, None, figure),
)
