"""How a run's figures, times and settings are put into words."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from hooke.text.marks import stripped


def value_text(value: Any) -> str:
    """A setting as one line, however it is nested.

    >>> value_text({"web": 0.7, "news": [1, None]})
    'web: 0.7, news: 1, –'
    """
    if isinstance(value, dict):
        return ", ".join(f"{stripped(str(key))}: {value_text(part)}" for key, part in list(value.items())[:50])
    if isinstance(value, list | tuple):
        return ", ".join(value_text(part) for part in value[:50]) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return figure(value) if isinstance(value, int | float) else stripped(str(value))[:400]


def figure(value: float | int) -> str:
    """Three significant digits, thousands apart."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3g}"


def share(value: float | int) -> str:
    """A share in per cent."""
    return f"{100 * value:.3g}\u202f%" if math.isfinite(value) else "–"


def span(values: Sequence[float | int], write: Callable[[float | int], str]) -> str:
    """A value, or the lowest and the highest of several."""
    if not values:
        return "not measured"
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def count(n: int, noun: str) -> str:
    """A number with its noun."""
    return f"{figure(n)} {noun if n == 1 else noun + 's'}"


def left_out(sinks: int, special: int) -> str:
    """Which positions no feature was looked for at.

    >>> left_out(1, 64)
    '1 attention sink and 64 special tokens left out'
    """
    return f"{count(sinks, 'attention sink')} and {count(special, 'special token')} left out"


def when(time: float | int) -> str:
    """A moment in UTC, from seconds since 1970.

    >>> when(0)
    '1970-01-01 00:00 UTC'
    """
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


def byte_size(count: int) -> str:
    """Megabytes or gigabytes.

    >>> byte_size(57_800_000), byte_size(2_000_000_000)
    ('57.8 MB', '2.00 GB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def duration(seconds: float | int) -> str:
    """Minutes, hours or days."""
    if not math.isfinite(seconds):
        return "not known"
    minutes, hours = round(seconds / 60), seconds / 3600
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"


def tenths(share: float) -> str:
    """A share in tenths, no more than it is.

    >>> tenths(0.46), tenths(0.98), tenths(0.04)
    ('4 in 10', '9 in 10', 'less than 1 in 10')
    """
    return f"{int(10 * share + 1e-6)} in 10" if share >= 0.1 else "less than 1 in 10"
