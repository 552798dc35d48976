"""Runs: jobs that other processes are at, read from their folders and from nothing else."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooke.errors import HookeError, UnknownName

if TYPE_CHECKING:
    from hooke.train.run_log import History

MAX_RUNS, MAX_FOLDERS, MAX_POINTS, MAX_EVENTS = 200, 5000, 200, 50
"""The most runs listed, folders looked into, points of a curve and events shown."""
SILENT = 900.0
"""Seconds without a sign of life after which a run that never said it ended is not called running."""
_MARKS = ("run.json", "manifest.json", "spool.json")
_MAX_MANIFEST = 64 << 20


@dataclass(frozen=True)
class RunRow:
    """A job, as its folder tells it."""

    path: str
    """The folder."""
    kind: str
    """``train``, ``harvest``, ``atlas`` or ``unreadable``."""
    state: str
    """``running``, ``silent`` (no sign of life for long), ``finished``, ``stopped``, ``not started``, ``partial`` or what is wrong."""
    model: str
    """The model it reads."""
    done: float | None
    """Tokens done."""
    planned: float | None
    """Tokens planned."""
    rate: float | None
    """Tokens a second, as last measured."""
    left_s: float | None
    """Seconds left at that rate."""
    changed: float
    """When anything in it last changed, in seconds since 1970."""
    detail: str
    """A sentence about it."""


@dataclass(frozen=True)
class Curve:
    """One SAE's training."""

    name: str
    """The SAE."""
    tokens: list[float] = field(default_factory=list)
    """Tokens seen at each point."""
    fvu: list[float | None] = field(default_factory=list)
    """Share of variance not explained."""
    l0: list[float | None] = field(default_factory=list)
    """Features active on a token."""
    dead: list[float | None] = field(default_factory=list)
    """Share of features that are dead."""


@dataclass(frozen=True)
class RunDetail:
    """A training run with its curves."""

    run: RunRow
    """The row of the list."""
    curves: list[Curve]
    """One for each SAE, at most 200 points each."""
    events: list[dict[str, Any]]
    """What happened last: ``time``, ``kind``, ``text``."""


@dataclass(frozen=True)
class Runs:
    """Jobs found."""

    folders: list[str]
    """Where was looked."""
    runs: list[RunRow]
    """What was found, the latest first."""


def read_runs(folders: Sequence[Path]) -> list[RunRow]:
    """The jobs in and under `folders`, the latest first."""
    rows = [_row(path) for path in dict.fromkeys(_found(folders))]
    return sorted(rows, key=lambda row: -row.changed)[:MAX_RUNS]


def read_run(folders: Sequence[Path], path: str) -> RunDetail:
    """One training run. Raises `UnknownName` for a folder that is not among those listed."""
    folder = next((folder for folder in _found(folders) if str(folder) == path and (folder / "run.json").is_file()), None)
    if folder is None:
        raise UnknownName(f"no training run is in {path!r}; the list of runs says where there are some.")
    from hooke.train.run_log import History

    history = History.read(folder)
    step = max(1, -(-len(history.tokens) // MAX_POINTS))
    tokens = history.tokens[::step].tolist()
    names = ("fvu", "l0", "dead_share")
    curves = [Curve(name, tokens, *(_numbers(history.column(name, metric)[::step]) for metric in names)) for name in history.saes]
    events = [{key: event.get(key) for key in ("time", "kind", "text")} for event in history.events[-MAX_EVENTS:]]
    return RunDetail(_train_row(folder, history), curves, events[::-1])


def _numbers(column: Any) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in column]


def _found(folders: Sequence[Path]) -> Iterator[Path]:
    """Folders with a job in them: the given ones and those up to two floors below."""
    floor, seen = [folder for folder in folders if folder.is_dir()], 0
    for _ in range(3):
        below: list[Path] = []
        for folder in floor:
            seen += 1
            if seen > MAX_FOLDERS:
                return
            if any((folder / mark).is_file() for mark in _MARKS):
                yield folder
            else:
                below += sorted(child for child in folder.iterdir() if child.is_dir() and not child.is_symlink())
        floor = below


def _row(folder: Path) -> RunRow:
    try:
        if (folder / "run.json").is_file():
            from hooke.train.run_log import History

            return _train_row(folder, History.read(folder))
        return _atlas_row(folder) if (folder / "spool.json").is_file() else _harvest_row(folder)
    except (HookeError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return RunRow(str(folder), "unreadable", "cannot be read", "", None, None, None, None, _changed(folder), str(error)[:300])


def _train_row(folder: Path, history: "History") -> RunRow:
    done = float(history.tokens[-1]) if len(history.tokens) else 0.0
    warnings = sum(event.get("kind") == "warning" for event in history.events)
    detail = f"{len(history.saes)} SAEs" + (f", {warnings} warnings" if warnings else "")
    changed, state = _changed(folder), history.state
    if state == "running" and time.time() - changed > SILENT:
        state = "silent"
    values = (history.planned, history.speed, history.left_s if state == "running" else math.nan)
    planned, rate, left = (float(value) if math.isfinite(value) else None for value in values)
    return RunRow(str(folder), "train", state, str(history.run.get("model", "")), done, planned, rate, left, changed, detail)


def _manifest(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_MANIFEST:
        raise ValueError("its manifest is too large to be one")
    return json.loads(path.read_bytes())


def _atlas_row(folder: Path) -> RunRow:
    """An atlas that is being built, from what it keeps until it is there."""
    told = _manifest(folder / "spool.json")
    asked, saes = told["settings"]["settings"], list(told["settings"]["widths"])
    done, changed = float(sum(int(chunk["tokens"]) for chunk in told["chunks"])), _changed(folder)
    state = "running" if time.time() - changed <= SILENT else "silent"
    doing = "all is read, features are being described" if told["complete"] is True else "reading"
    detail = f"{doing}, {len(saes)} SAE{'s' * (len(saes) != 1)}; stopped, the same command goes on from here"
    return RunRow(str(folder), "atlas", state, str(asked["model"]), done, float(asked["tokens"]), None, None, changed, detail)


def _harvest_row(folder: Path) -> RunRow:
    told = _manifest(folder / "manifest.json")
    facts = told["facts"]
    done = float(sum(int(shard["tokens"]) for shard in told["shards"]))
    state = "finished" if told.get("complete") is True else "partial"
    sites = ", ".join(list(facts["sites"])[:8])
    size = sum(int(shard["bytes"]) for shard in told["shards"]) / 1e9
    detail = f"{len(told['shards'])} shard{'s' * (len(told['shards']) != 1)}, {size:.2f} GB, {sites}"
    return RunRow(
        str(folder), "harvest", state, str(facts["model"]), done, float(facts["tokens"]), None, None, _changed(folder), detail[:300]
    )


def _changed(folder: Path) -> float:
    times = [entry.stat().st_mtime for entry in folder.iterdir() if entry.is_file()]
    return max(times, default=folder.stat().st_mtime)
