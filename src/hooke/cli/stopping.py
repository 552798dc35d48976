"""Stopping: a first Ctrl-C or SIGTERM asks a long command to come to a safe place, a second one ends it there and then."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The signal that asked."""

    @property
    def exit_code(self) -> int:
        """What a command that was stopped returns: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.signal or 0)

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stoppable(told: Callable[[], None]) -> Iterator[Stop]:
    """Inside, the first signal sets the `Stop` that this gives and calls `told`; the second ends the command."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        stop.signal = number
        told()

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
