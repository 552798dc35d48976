"""Charts as SVG elements: curves and points on linear or logarithmic axes, coloured and dashed by the page's style sheet."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hooke.text.markup import Markup, tag

__all__ = ["LARGE", "SMALL", "Line", "Scale", "chart", "sample", "thinned"]

_CROSSES = 20  # places shown where a curve is not finite


@dataclass(frozen=True)
class Frame:
    """Size of a chart in SVG units, and how many points a curve there can show."""

    width: int
    height: int
    left: int
    right: int
    points: int


LARGE, SMALL = Frame(560, 250, 52, 26, 500), Frame(270, 150, 42, 8, 160)
_TOP, _BOTTOM = 8, 22


@dataclass(frozen=True)
class Line:
    """A curve, or with `dots` only its points."""

    name: str
    """What is shown when it is pointed at."""
    x: np.ndarray
    """Where its points lie."""
    y: np.ndarray
    """Their values: none is drawn where this is not a number, a cross where it is infinite."""
    look: str = "c0"
    """Classes of the style sheet that colour and dash it."""
    mark: str = ""
    """Short text at its end."""
    dots: bool = False
    """Draw points and no line."""


@dataclass(frozen=True)
class Scale:
    """An axis: from `low` to `high`, linear or logarithmic."""

    low: float | int
    high: float | int
    log: bool = False

    @classmethod
    def over(cls, values: Iterable[float | int], *, log: bool = False, least: float | None = None) -> "Scale":
        """The axis that holds `values` with some room. Linear ones begin at 0 and reach at least `least`; without values it is from 0 to 1.

        A logarithmic axis is linear where not all that is finite is above 0.
        """
        found = np.asarray(list(values), float)
        found = found[np.abs(found) < 1e200]  # neither what is not finite nor what no axis could span
        if log and len(found) and found.max() > 1e-200:
            found = found[found > 1e-200]
            low, high = float(found.min()) / 1.08, float(found.max()) * 1.08
            if high < 1.6 * low:  # a nearly flat curve is shown as one
                low, high = low / 1.3, high * 1.3
            return cls(low, high, True)
        high = max([float(found.max()) * 1.05] if len(found) else [], default=0.0)
        high = max(high, least or 0.0)
        low = min(0.0, float(found.min())) if len(found) else 0.0
        return cls(low, high if high - low > 1e-200 else 1.0)

    def place(self, values: np.ndarray | float | int) -> np.ndarray:
        """Where values lie, 0 being the low end and 1 the high end; clipped to the axis."""
        values = np.asarray(values, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.log:
                at = (np.log(np.maximum(values, 1e-300)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
            else:
                at = (values - self.low) / (self.high - self.low)
        return np.asarray(np.clip(at, 0, 1))

    def ticks(self, most: int = 6) -> list[float | int]:
        """Round values on the axis, at most about `most`."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) <= most:
                    return found or [self.low]
            return found[:: -(-len(found) // most)]
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def sample(y: np.ndarray, count: int) -> np.ndarray:
    """Rows of `y` to show in a table: about `count`, evenly spread, the first and last among them."""
    return np.unique(np.linspace(0, len(y) - 1, min(count, len(y))).round().astype(int)) if len(y) else np.array([], int)


def thinned(x: np.ndarray, y: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `points` of a curve's points: of each stretch its lowest and highest, so that no spike is lost, and the ends."""
    told = ~np.isnan(y)
    x, y = x[told], y[told]
    if len(y) <= points:
        return x, y
    edges = np.linspace(1, len(y) - 1, max(2, (points - 2) // 2 + 1)).astype(int)
    kept = {0, len(y) - 1}
    for start, end in itertools.pairwise(edges):
        if end > start:
            kept |= {start + int(y[start:end].argmin()), start + int(y[start:end].argmax())}
    rows = np.array(sorted(kept))
    return x[rows], y[rows]


def chart(
    lines: Sequence[Line],
    x: Scale,
    y: Scale,
    *,
    title: str,
    label: Callable[[float | int], str] = "{:g}".format,
    frame: Frame = LARGE,
    targets: Iterable[float | int] = (),
) -> Markup:
    """A chart with `title` as its text alternative.

    `label` writes the ticks of y; `targets` are values of y that are aimed at.
    """
    area = _Area(frame, x, y)
    drawn = [area.grid(label)]
    drawn += [tag("path", d=area.path(np.array([x.low, x.high]), np.array([t, t])), class_="target") for t in targets]
    drawn += [area.line(line) for line in lines]
    drawn += area.marks([line for line in lines if line.mark])
    return tag("svg", *drawn, viewBox=f"0 0 {frame.width} {frame.height}", role="img", aria_label=title, class_="chart")


class _Area:
    """Where values lie in a chart."""

    def __init__(self, frame: Frame, x: Scale, y: Scale) -> None:
        self.frame, self.x, self.y = frame, x, y
        self.inner = (frame.width - frame.left - frame.right, frame.height - _TOP - _BOTTOM)

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values in SVG units."""
        return self.frame.left + self.inner[0] * self.x.place(x), _TOP + self.inner[1] * (1 - self.y.place(y))

    def grid(self, label: Callable[[float | int], str]) -> list[Markup]:
        """Lines across at round values of y, and the figures of both axes."""
        frame, drawn = self.frame, []
        small = frame is SMALL
        right, bottom = frame.width - frame.right, frame.height - _BOTTOM
        for value in self.y.ticks(4 if small else 6):
            v = float(self.at(np.zeros(1), np.array([value]))[1][0])
            drawn.append(tag("path", d=f"M{frame.left} {v:.1f}H{right}", class_="grid"))
            drawn.append(tag("text", label(value), x=frame.left - 5, y=f"{v + 4:.1f}", class_="y"))
        for value in self.x.ticks(3 if small else 6):
            h = float(self.at(np.array([value]), np.zeros(1))[0][0])
            drawn.append(tag("path", d=f"M{h:.1f} {bottom}v4", class_="grid"))
            drawn.append(tag("text", f"{value:g}", x=f"{h:.1f}", y=bottom + 16, class_="x"))
        return drawn

    def path(self, x: np.ndarray, y: np.ndarray) -> str:
        """Path data through the finite points, broken where one is not finite."""
        h, v = self.at(x, y)
        pieces, joined = [], False
        for a, b, fine in zip(h, v, np.isfinite(y), strict=True):
            if fine:
                pieces.append(f"{'L' if joined else 'M'}{a:.1f} {b:.1f}")
            joined = bool(fine)
        return "".join(pieces)

    def line(self, line: Line) -> Markup:
        """A curve or its points, under its name."""
        x, y = thinned(line.x, line.y, self.frame.points) if not line.dots else (line.x, line.y)
        h, v = self.at(x, y)
        fine = np.isfinite(y)
        drawn = [tag("title", line.name)]
        if line.dots:
            drawn += [tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=4) for a, b in zip(h[fine], v[fine], strict=True)]
        elif fine.sum() == 1:  # a path of one point draws nothing
            drawn += [tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=2.5) for a, b in zip(h[fine], v[fine], strict=True)]
        else:
            drawn.append(tag("path", d=self.path(x, y)))
        broken = np.flatnonzero(np.isinf(y))
        for row in broken[sample(broken, _CROSSES)]:
            drawn.append(tag("path", d=f"M{h[row] - 4:.1f} {_TOP}l8 8m0 -8l-8 8", class_="broken"))
        return tag("g", *drawn, class_=f"line {line.look}" + (" dots" if line.dots else ""))

    def marks(self, lines: list[Line]) -> list[Markup]:
        """Each line's mark at its end, pushed apart where they would touch."""
        ends = []
        for line in lines:
            fine = np.flatnonzero(np.isfinite(line.y))
            if len(fine):
                h, v = self.at(line.x[fine[-1:]], line.y[fine[-1:]])
                ends.append([float(v[0]), float(h[0]), line])
        ends.sort(key=lambda end: end[0])
        for before, end in itertools.pairwise(ends):
            end[0] = max(end[0], before[0] + 12)
        lowest = float(self.frame.height - _BOTTOM)
        for end in reversed(ends):
            end[0] = min(end[0], lowest)
            lowest = end[0] - 12
        return [tag("text", line.mark, x=f"{h + 5:.1f}", y=f"{v + 4:.1f}", class_=f"mark {line.look}") for v, h, line in ends]
