"""Run log: what a run folder says of its run so far, read with distrust: settings, metrics as columns, events."""

import math
from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hooke.errors import BadFile, Missing
from hooke.files import parse_json

__all__ = ["METRICS", "History"]

METRICS = ("fvu", "l0", "dead", "dense", "loss", "contrast", "lr")
"""What ``metrics.jsonl`` may say of an SAE."""

_MAX_PARSED = 128 << 20  # bytes of metrics that are parsed; of a longer file every so many rows
_MAX_LINE = 8 << 20
_MAX_EVENTS = 20_000
_MAX_SETTINGS = 16 << 20


@dataclass(frozen=True)
class History:
    """A run as its folder tells it."""

    run: dict[str, Any]
    """``run.json``, less its SAEs."""
    saes: dict[str, dict[str, Any]]
    """Settings by SAE, in the order of ``run.json``."""
    held_out: dict[str, dict[str, Any]]
    """Metrics on held-out activations, of the SAEs that are finished."""
    step: np.ndarray
    """Steps done at each row."""
    tokens: np.ndarray
    """Tokens seen at each row."""
    values: dict[str, dict[str, np.ndarray]]
    """By SAE and metric, one number per row: not a number where the row has none, infinite where it was not finite."""
    events: list[dict[str, Any]]
    """What happened, oldest first; each has a finite ``time``."""
    damaged: int
    """Rows that could not be read; the last one, half written, is not counted."""
    every: int
    """1, or n where the file is so long that only every n-th row was read."""

    @classmethod
    def read(cls, folder: Path) -> "History":
        """The run in `folder`. Raises `Missing` or `BadFile` where ``run.json`` is not there or no settings."""
        run = _settings(folder / "run.json")
        saes = {str(name): dict(sae) if isinstance(sae, dict) else {} for name, sae in _table(run, "saes").items()}
        held_out = {str(name): dict(sae) for name, sae in _table(run, "held_out").items() if isinstance(sae, dict)}
        columns, lines = _Columns(), _Lines(folder / "metrics.jsonl")
        every = max(1, -(-lines.bytes // _MAX_PARSED))
        for row in lines.rows(every):
            columns.add(row)
        events = deque(_Lines(folder / "events.jsonl").rows(), maxlen=_MAX_EVENTS)
        return cls(
            {key: value for key, value in run.items() if key not in ("saes", "held_out")},
            saes | {name: {} for name in columns.values if name not in saes},
            held_out,
            np.array(columns.step),
            np.array(columns.tokens),
            columns.finished(),
            [event for event in events if math.isfinite(number(event.get("time")))],
            lines.damaged,
            every,
        )

    def column(self, sae: str, metric: str) -> np.ndarray:
        """One SAE's numbers of one metric, a row each; ``dead_share`` and ``dense_share`` are shares of its features."""
        name = metric.removesuffix("_share")
        column = self.values.get(sae, {}).get(name, np.full(len(self.step), np.nan))
        return column / (number(self.saes.get(sae, {}).get("d_sae")) or math.nan) if metric != name else column

    def last(self, sae: str, metric: str) -> float | int:
        """The newest number of it; not a number if there is none."""
        column = self.column(sae, metric)
        told = column[~np.isnan(column)]
        return float(told[-1]) if len(told) else math.nan

    @property
    def planned(self) -> float | int:
        """Tokens the run is to see: of the longest SAE, else of the whole; not a number if that is not said."""
        batch = number(self.run.get("batch"))
        steps = [number(sae.get("steps")) for sae in self.saes.values()]
        longest = max((n * batch for n in steps if math.isfinite(n * batch)), default=math.nan)
        return longest if math.isfinite(longest) else number(self.run.get("tokens"))

    @property
    def state(self) -> str:
        """``finished``, ``stopped``, ``running``, or ``not started``: what was last said, which a killed run could not change."""
        for event in reversed(self.events):
            if event.get("kind") in ("finished", "stopped"):
                return str(event["kind"])
            if event.get("kind") in ("started", "resumed"):
                break
        return "running" if self.events or len(self.step) else "not started"

    @property
    def speed(self) -> float | int:
        """Tokens per second when last measured; not a number if never."""
        return next((n for event in reversed(self.events) if (n := number(event.get("tokens_per_s"))) > 0), math.nan)

    @property
    def left_s(self) -> float | int:
        """Seconds left at that speed; not a number if unknown."""
        done = float(self.tokens[-1]) if len(self.tokens) else 0.0
        return max(0.0, self.planned - done) / self.speed


def number(value: Any) -> float | int:
    """A JSON value as a number; not a number if it is none."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.inf


class _Columns:
    """Rows turned into columns as they come, so that a long file never stands in memory as rows."""

    def __init__(self) -> None:
        self.step, self.tokens = array("d"), array("d")
        self.values: dict[str, dict[str, array[float]]] = {}

    def add(self, row: dict[str, Any]) -> None:
        step, tokens = number(row.get("step")), number(row.get("tokens"))
        if not (math.isfinite(step) and math.isfinite(tokens)):
            return
        at = len(self.step)
        self.step.append(step)
        self.tokens.append(tokens)
        for name, told in _table(row, "saes").items():
            for metric in METRICS:
                if isinstance(told, dict) and isinstance(told.get(metric), int | float):
                    column = self.values.setdefault(name, {}).setdefault(metric, array("d"))
                    column.extend([math.nan] * (at - len(column)))
                    value = number(told[metric])
                    column.append(value if math.isfinite(value) else math.inf)

    def finished(self) -> dict[str, dict[str, np.ndarray]]:
        n = len(self.step)
        return {
            name: {metric: np.concatenate([np.array(column), np.full(n - len(column), np.nan)]) for metric, column in columns.items()}
            for name, columns in self.values.items()
        }


class _Lines:
    """A JSON Lines file of objects; there may be none, and its last line may be half written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bytes = path.stat().st_size if path.is_file() else 0
        self.damaged = 0

    def rows(self, every: int = 1) -> Iterator[dict[str, Any]]:
        """Every n-th object, and the last few in any case."""
        if not self.bytes:
            return
        with self._path.open("rb") as file:
            for n, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b"")):
                if n % every and self.bytes - file.tell() > 4 * len(line):
                    continue
                row = _object(line)
                if row is not None:
                    yield row
                elif line.endswith(b"\n"):
                    self.damaged += 1


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _table(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise Missing(f"no run at {path.parent}: it has no {path.name}. Name the folder that `hooke train` wrote.")
    if path.stat().st_size > _MAX_SETTINGS:
        raise BadFile(f"{path} is larger than {_MAX_SETTINGS >> 20} MiB, which settings never are.")
    row = _object(path.read_bytes())
    if row is None:
        raise BadFile(f"{path} does not hold a run's settings: it is no JSON object.")
    return row
