"""What every command does to talk: JSON lines to standard output, tables and progress to a terminal."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig

if TYPE_CHECKING:
    from rich.console import Console


# Columns of a table that goes to a file or a pipe: a line a row, for whatever reads it.
_PIPED = 10_000


def print_line(value: dict[str, Any]) -> None:
    """One JSON document on a line of its own, at once; UTF-8, whatever the terminal's encoding is."""
    line = json.dumps(value, ensure_ascii=False) + "\n"
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:
        sys.stdout.write(line)
    else:
        sys.stdout.flush()
        raw.write(line.encode())
    sys.stdout.flush()


def console_for(*, stderr: bool = False) -> "Console":
    """A console that dies of a closed pipe as a command should, and breaks no line for want of a terminal's width."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; `main` says what a reader who has enough means

    piped = not stderr and not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Piped(stderr=stderr, width=_PIPED if piped else None)


def check_places(*paths: Path | None) -> None:
    """Raise `BadConfig` unless a file can be written under each of `paths` (None: none is wanted); asked before the work, not after it."""
    for path in filter(None, paths):
        if path.is_dir():
            raise BadConfig(f"cannot write {path}: it is a folder.")
        if not path.parent.is_dir():
            raise BadConfig(f"cannot write {path}: there is no folder {path.parent}.")
        if not os.access(path.parent, os.W_OK):
            raise BadConfig(f"cannot write {path}: you may not write in {path.parent}.")


def talk(text: str) -> None:
    """Say `text` on standard error, as a line of its own."""
    console_for(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def say(console: "Console", status: Any, text: str) -> None:
    """Show `text` in the running status line; a warning, and anything where there is no terminal, as a line of its own."""
    from rich.markup import escape

    status.update(escape(text))
    if not console.is_terminal or text.startswith("Warning: "):
        console.print(text, highlight=False, markup=False, soft_wrap=True)
