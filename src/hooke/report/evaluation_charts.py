"""Plots of an evaluation as SVG: SAEs and baselines in a plane, and how many features have which density."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hooke.text.markup import Markup, tag

_WIDTH, _HEIGHT = 480, 300
# About as wide as a character of a name is.
_CHARACTER = 6.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 12.0, 42.0


@dataclass(frozen=True)
class Point:
    """Something in the plane."""

    x: float
    """Where, to the right."""
    y: float
    """Where, upwards."""
    name: str
    """What it is."""
    low: float | None = None
    """Lower end of y's interval."""
    high: float | None = None
    """Upper end."""
    baseline: bool = False
    """Whether it is there to compare with: then it is hollow, and its name shows only when pointed at."""
    square: bool = False
    """Drawn as a square, not a circle."""


@dataclass(frozen=True)
class _Axis:
    """A scale: equal ratios take equal room if `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], start: float, stop: float, *, log: bool) -> "_Axis":
        low, high = min(values), max(values)
        if log:
            return cls(low / 1.25, high * 1.25, start, stop, log)
        room = 0.08 * (high - low) or 0.5
        return cls(min(low - room, 0.0) if low >= 0 else low - room, high + room, start, stop, log)

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(value) if self.log else value
        return self.start + (self.stop - self.start) * (at - low) / (high - low)

    def ticks(self) -> Iterator[float]:
        """Round numbers, about five of them."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            few = [10.0**power * step for power in powers for step in (1, 2, 5)]
            inside = [tick for tick in few if self.low <= tick <= self.high]
            yield from inside if len(inside) <= 8 else [tick for tick in inside if f"{tick:e}"[0] == "1"]
            return
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield i * step


def scatter(points: Sequence[Point], x_name: str, y_name: str) -> Markup:
    """`points` over a logarithmic x; y is logarithmic where all of it is positive. Points that lie on neither are left out."""
    shown = [point for point in points if point.x > 0 and math.isfinite(point.y)]
    if not shown:
        return tag("p", "Nothing to show.")
    log = all(point.y > 0 for point in shown)
    x = _Axis.over([point.x for point in shown], _LEFT, _WIDTH - _RIGHT, log=True)
    heights = [end for point in shown for end in (point.low, point.y, point.high) if end is not None and (end > 0 or not log)]
    y = _Axis.over(heights, _HEIGHT - _BOTTOM, _TOP, log=log)
    marks = []
    for point in shown:
        at, up = x(point.x), y(point.y)
        kind = "baseline" if point.baseline else "sae"
        if point.low is not None and point.high is not None and (not log or point.low > 0):
            marks.append(tag("path", d=f"M{at:.1f} {y(point.low):.1f}V{y(point.high):.1f}", class_=f"whisker {kind}"))
        told = tag("title", f"{point.name}: {x_name} {point.x:.4g}, {y_name} {point.y:.4g}")
        if point.square:
            marks.append(tag("rect", told, x=f"{at - 3.5:.1f}", y=f"{up - 3.5:.1f}", width=7, height=7, class_=kind))
        else:
            marks.append(tag("circle", told, cx=f"{at:.1f}", cy=f"{up:.1f}", r=4, class_=kind))
    return _framed([*marks, *_names([point for point in shown if not point.baseline], x, y)], x, y, (x_name, y_name))


def _names(points: Sequence[Point], x: _Axis, y: _Axis) -> Iterator[Markup]:
    """Each point's name beside it, moved down where another name would lie under it."""
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: y(point.y)):
        at, up = x(point.x), y(point.y) + 4
        while any(abs(at - other) < 130 and abs(up - height) < 12 for other, height in taken):
            up += 12
        taken.append((at, up))
        left = at + 8 + _CHARACTER * len(point.name) > _WIDTH - _RIGHT
        yield tag(
            "text", point.name, x=f"{at - 8 if left else at + 8:.1f}", y=f"{up:.1f}", text_anchor="end" if left else "start", class_="name"
        )


def histogram(counts: Sequence[int], low: float, high: float, x_name: str) -> Markup:
    """Columns of `counts` over equal steps from `low` to `high`, from the first that is not empty."""
    if not any(counts):
        return tag("p", "No feature fired.")
    step = (high - low) / len(counts)
    first = next(i for i, count in enumerate(counts) if count)
    x = _Axis(low + first * step, high, _LEFT, _WIDTH - _RIGHT, log=False)
    y = _Axis(0.0, max(counts) * 1.05, _HEIGHT - _BOTTOM, _TOP, log=False)
    bars = []
    for i, count in enumerate(counts):
        if count:
            left, right, top = x(low + i * step), x(low + (i + 1) * step), y(float(count))
            said = tag("title", f"{count:,} features")
            box = {"x": f"{left:.1f}", "y": f"{top:.1f}", "width": f"{right - left - 0.6:.1f}", "height": f"{y(0.0) - top:.1f}"}
            bars.append(tag("rect", said, **box, class_="column"))
    return _framed(bars, x, y, (x_name, "features"))


def _framed(marks: Sequence[Markup], x: _Axis, y: _Axis, names: tuple[str, str]) -> Markup:
    floor = _HEIGHT - _BOTTOM
    lines = [tag("path", d=f"M{_LEFT} {_TOP}V{floor}H{_WIDTH - _RIGHT}", class_="axis")]
    for tick in x.ticks():
        lines.append(tag("text", _written(tick), x=f"{x(tick):.1f}", y=floor + 16, text_anchor="middle"))
    for tick in y.ticks():
        lines.append(tag("path", d=f"M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}", class_="grid"))
        lines.append(tag("text", _written(tick), x=_LEFT - 6, y=f"{y(tick) + 4:.1f}", text_anchor="end"))
    lines.append(tag("text", names[0], x=(_LEFT + _WIDTH - _RIGHT) // 2, y=_HEIGHT - 6, text_anchor="middle"))
    middle = (_TOP + floor) // 2
    lines.append(tag("text", names[1], x=12, y=middle, text_anchor="middle", transform=f"rotate(-90 12 {middle})"))
    label = f"{names[1]} against {names[0]}"
    return tag("svg", lines, marks, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="plot", role="img", aria_label=label)


def _written(value: float) -> str:
    return f"{value:,.6g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.0e}"
