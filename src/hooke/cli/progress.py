"""Progress: how far a command's work is, how fast, and how long still; a bar on a terminal, elsewhere a line now and then."""

import time
from typing import TYPE_CHECKING

from hooke.cli.output import console_for, print_text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.text import Text

# Between two lines where there is no terminal to draw a bar on: seconds, and later a share of the time gone by.
_EVERY_S, _EVERY_SHARE = 10.0, 0.01


class ProgressBar:
    """Work that is shown while the context lasts, one stage of it after another."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        told = TextColumn("{task.percentage:.0f} %  {task.fields[told]} ", markup=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), told, TimeRemainingColumn())
        self._console = console_for(stderr=True)
        self._bars = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self.stage = ""
        self.rate = 0.0
        """How much is done a second, since the stage's first report: what that says was there before."""
        self.new = 0
        """How much was done since then."""

    def __enter__(self) -> "ProgressBar":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None") -> None:
        self._bars.stop()

    def begin(self, total: int, unit: str, told: str = "", *, stage: str = "") -> "ProgressBar":
        """A stage that is over after `total` of a `unit`."""
        self._total, self._unit, self.stage = total, unit, stage
        self._task = self._bars.add_task(stage, total=total, told=told)
        self._began, self._first, self._said, self.rate = 0.0, 0, 0.0, 0.0
        if stage:
            self.note(stage)
        return self

    def at(self, stage: str, unit: str, done: int, total: int) -> None:
        """So much is done of a stage, which begins where it is another than before."""
        if stage != self.stage:
            self.begin(total, unit, stage=stage)
        self.move(done)

    def move(self, done: int, told: str | None = None) -> None:
        """So much of the stage is done; `told` stands beside it, or how much is done a second."""
        now = time.monotonic()
        if not self._began:
            self._began, self._first, self._said = now, done, now
        self.new = done - self._first
        self.rate = self.new / (now - self._began) if self.new > 0 and now > self._began else 0.0
        said = told if told is not None else f"{self.rate:,.0f} {self._unit}/s" if self.rate else ""
        self._bars.update(self._task, completed=min(done, self._total), told=said)
        last = done >= self._total
        if last or now - self._said >= max(_EVERY_S, _EVERY_SHARE * (now - self._began)):
            self._said = now
            many = f"{done:,} of {self._total:,} {self._unit}"
            self.note("  ".join(part for part in (self.stage, many, said, "" if last else self._left(done)) if part))

    def note(self, text: str) -> None:
        """A line where there is no bar."""
        if not self._console.is_terminal:
            self.say(text)

    def say(self, text: "str | Text") -> None:
        """A line, above the bar."""
        print_text(text, self._console)

    def _left(self, done: int) -> str:
        from hooke.text.figures import duration

        return f"about {duration((self._total - done) / self.rate)} left" if self.rate else ""
