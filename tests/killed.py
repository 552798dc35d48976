"""Clusters to be killed: a driver in a process of its own, the workers it has, and a folder of what they read."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hooke import tiny

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'hooke[ray]'")
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


def write_texts(folder: Path) -> None:
    """The planted model and texts to read with it."""
    (folder / "tiny").mkdir()
    tiny.save(folder / "tiny")
    (folder / "news.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 120))


def driver(module: str, code: str, folder: Path, out: Path) -> subprocess.Popen:
    """A process that runs `code`, which sees the test `module` as ``t``, and `folder`, `out` and `cluster`."""
    begin = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        f"import pathlib, {module} as t\n"
        "from hooke.engine.cluster import cluster\n"
        "folder, out = map(pathlib.Path, sys.argv[2:4])\n"
    )
    arguments = [str(Path(__file__).parent), str(folder), str(out)]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", begin + code, *arguments], start_new_session=True)


def workers_of(pid: int, unit: str) -> list[int]:
    """The workers below process `pid`, idle or at a unit whose name begins with `unit`."""
    try:
        said = [(child.pid, "".join(child.cmdline())) for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
    return [child for child, line in said if "ray::UnitWorker" in line or f"ray::{unit}" in line]
