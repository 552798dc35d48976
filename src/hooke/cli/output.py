"""What every command does to talk: JSON lines to standard output, tables and progress to a terminal."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


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


def write_text(path: Path | None, text: Callable[..., str], *what: Any) -> None:
    """Write the `text` of `what`, whole or not at all, and say so; where `path` is None, it is not wanted."""
    if path is not None:
        from hooke.files import atomic_write

        with atomic_write(path) as file:
            file.write(text(*what).encode("utf-8", "replace"))
        talk(f"Wrote {path}")


def print_text(text: "str | Text", console: "Console | None" = None) -> None:
    """Say `text` as a line of its own, on standard output or another console."""
    (console or console_for()).print(text, highlight=False, markup=False, soft_wrap=True)


def talk(text: str) -> None:
    """Say `text` as a line of its own, on standard error."""
    print_text(text, console_for(stderr=True))


class Status:
    """What a command is at, while the context lasts: one line on a terminal's standard error, elsewhere a line each."""

    def __init__(self, first: str = "Loading") -> None:
        self._console = console_for(stderr=True)
        self._line = self._console.status(first)

    def __enter__(self) -> "Status":
        self._line.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.stop()

    def __call__(self, text: str) -> None:
        """Say what is done now; a warning stays."""
        self.count(text)
        if not self._console.is_terminal or text.startswith("Warning: "):
            self.note(text)

    def count(self, text: str) -> None:
        """Say how far it is, for a moment and on a terminal alone."""
        from rich.markup import escape

        self._line.update(escape(text))

    def note(self, text: str) -> None:
        """Say something that stays, above what is done now."""
        print_text(text, self._console)
