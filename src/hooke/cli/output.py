"""What every command does to talk: JSON lines to standard output, tables and progress to a terminal."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_line(value: dict[str, Any]) -> None:
    """One JSON document on a line of its own, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def console_for(*, stderr: bool = False) -> "Console":
    """A console that dies of a closed pipe as a command should."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; `main` says what a reader who has enough means

    return Piped(stderr=stderr)


def talk(text: str) -> None:
    """Say `text` on standard error, as a line of its own."""
    console_for(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def say(console: "Console", status: Any, text: str) -> None:
    """Show `text` in the running status line; where there is no terminal, as a line of its own."""
    status.update(text)
    if not console.is_terminal:
        console.print(text, highlight=False)
