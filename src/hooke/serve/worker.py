"""Worker: one thread that owns the model and does one job at a time; jobs wait in line, and stop as soon as nobody wants them."""

import asyncio
import contextlib
import sys
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from weakref import WeakSet

from hooke.errors import Busy, HookeError, LimitReached, Missing, ran_out_of_memory
from hooke.serve.microscope import Cancelled, Microscope
from hooke.serve.problems import Problem, problem_of, unexpected

MAX_WAITING = 16
"""Jobs that may wait in line."""
_KEEP_ALIVE = 15.0

Event = tuple[str, Any]
Work = Callable[[Microscope], Iterator[Event]]
Load = Callable[[Callable[[str], None]], Microscope]


def _why(error: Exception) -> str:
    """That memory ran out, if that is what `error` says; else nothing, and the terminal shows it."""
    if ran_out_of_memory(error):
        return "out of memory: this machine, or the limit that the server was given, has too little for this."
    traceback.print_exception(error, file=sys.stderr)
    return ""


class Job:
    """Work that a request waits for. Events come out as they are made; leaving off reading them cancels it."""

    def __init__(self, work: Work, *, long: bool = False) -> None:
        self.work = work
        self.long = long
        """Whether others may be done while it goes on."""
        self.cancelled = threading.Event()
        """Set as soon as nobody wants the result any more."""
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event | None) -> None:
        """Hand on an event, from any thread; None ends them."""
        with contextlib.suppress(RuntimeError):  # the server is shutting down, and nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event]:
        """The events until the last; ``("", None)`` now and then where there is none, to keep the connection."""
        try:
            while True:
                try:
                    event = await asyncio.wait_for(self._events.get(), _KEEP_ALIVE)
                except TimeoutError:
                    event = ("", None)
                if event is None:
                    return
                yield event
        finally:
            self.cancelled.set()


class Worker:
    """The thread. It loads the model first, so that the page is there while the model warms."""

    def __init__(self, model: str | None, load: Load) -> None:
        """`load` gives the model called `model`, telling what it is doing; without a name there is none, and jobs are refused."""
        self.model = model
        self.state = "none" if model is None else "loading"
        """``none``, ``loading``, ``ready`` or ``failed``."""
        self.detail = "started without a model" if model is None else "starting"
        """What it is doing, or why it failed."""
        self.saes: list[str] = []
        """The SAEs that a text can be read with, once it is ready."""
        self.default: list[str] = []
        """Those it is read with unless others are asked for."""
        self._load = load
        self._waiting: deque[Job] = deque()
        self._unfinished: WeakSet[Job] = WeakSet()
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begin to load."""
        if self.model is not None:
            threading.Thread(target=self._run, name="model", daemon=True).start()

    def submit(self, work: Work, *, long: bool = False) -> Job:
        """Put work in line; while `long` work goes on, what is not long is done in between.

        Raises `Missing` where there is no model, `Busy` where too much waits.
        """
        if self.state == "none":
            raise Missing("this server was started without a model: `hooke serve --model gemma-3-270m` reads texts as well.")
        if self.state == "failed":
            raise Missing(f"the model {self.model} could not be loaded: {self.detail}")
        job = Job(work, long=long)
        with self._changed:
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.cancelled.is_set())
            if len(self._waiting) >= MAX_WAITING:
                raise Busy(f"{MAX_WAITING} texts are waiting to be read already; the same request works in a moment.")
            self._waiting.append(job)
            self._unfinished.add(job)
            self._changed.notify()
        return job

    def stop(self) -> None:
        """End every job, saying why to whoever waits for it, so that the server can end; also from a signal's handler."""
        with self._changed:
            for job in self._unfinished:
                job.cancelled.set()
                job.put(("error", problem_of(Busy("the server is shutting down; start it again: hooke serve."))))
                job.put(None)
            self._unfinished.clear()
            self._waiting.clear()

    def _say(self, text: str) -> None:
        self.detail = text

    def _run(self) -> None:
        try:
            microscope = self._load(self._say)
        except HookeError as error:
            self._fail(str(error))
            return
        except Exception as error:
            self._fail(_why(error) or "an error of Hooke's own; the terminal says what happened.")
            return
        self.saes, self.default = microscope.saes, microscope.default
        self.state, self.detail = "ready", ""
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                job = self._waiting.popleft()
            if not job.cancelled.is_set():
                self._do(microscope, job)

    def _do(self, microscope: Microscope, job: Job) -> None:
        def meanwhile(name: str, value: Any) -> None:
            job.put((name, value))
            while (other := self._short()) is not None:
                self._do(microscope, other)

        try:
            with microscope.stopping(job.cancelled.is_set, meanwhile):
                for event in job.work(microscope):
                    job.put(event)
        except Cancelled:
            pass
        except HookeError as error:
            job.put(("error", problem_of(error)))
        except Exception as error:
            why = _why(error)
            job.put(("error", problem_of(LimitReached(f"{why} Give shorter texts, or fewer.")) if why else unexpected()))
        job.put(None)

    def _short(self) -> Job | None:
        """The next job in line that is not long, taken out of it."""
        with self._changed:
            job = next((job for job in self._waiting if not job.long and not job.cancelled.is_set()), None)
            if job is not None:
                self._waiting.remove(job)
        return job

    def _fail(self, why: str) -> None:
        with self._changed:
            self.state, self.detail = "failed", why
            for job in self._waiting:
                job.put(("error", Problem("urn:hooke:problem:missing", "Missing", 404, why)))
                job.put(None)
            self._unfinished.clear()
            self._waiting.clear()
