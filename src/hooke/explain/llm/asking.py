"""Asking: every request put to a reader until its answer is valid, within a budget; what was answered before is not asked again."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from hooke.errors import HookeError
from hooke.explain.llm.answer import Invalid
from hooke.explain.llm.endpoint import Budget, Endpoint
from hooke.explain.llm.ledger import Answer, Ledger
from hooke.explain.llm.request import Request

ASKED = 3
"""How often a request is asked whose answers are not valid: once, and twice again."""
_TICK_S = 0.2
T = TypeVar("T")


class Asked(Generic[T]):
    """Requests, and what their answers in a ledger say so far."""

    def __init__(self, requests: Iterable[Request], ledger: Ledger, parse: Callable[[str], T]) -> None:
        """`parse` gives what an answer says, and raises `Invalid`."""
        self.requests = {request.id: request for request in requests}
        self.ledger, self._parse = ledger, parse

    def said(self, request: Request) -> T | None:
        """What the first valid answer says; None where there is none."""
        return self._read(self.ledger.answers.get(request.id, ()))[0]

    def given_up(self, request: Request) -> bool:
        """Whether it was answered `ASKED` times, never validly."""
        return len(self.ledger.answers.get(request.id, ())) >= ASKED and self.said(request) is None

    def open(self) -> list[Request]:
        """Those to be asked, still or again."""
        return [request for request in self.requests.values() if self.said(request) is None and not self.given_up(request)]

    def ask(
        self, endpoint: Endpoint, budget: Budget, *, parallel: int, halt: threading.Event, progress: Callable[[int, int], None]
    ) -> None:
        """Ask everything that is open, so many at a time, until `halt` is set. Every answer goes into the ledger before anything else.

        Raises `LimitReached` where the budget is spent, and what `Endpoint.ask` raises; what was answered until then is kept.
        """
        waiting = self.open()
        total, done, failed = len(waiting), 0, None
        with ThreadPoolExecutor(parallel) as pool:
            running: set[Future[None]] = set()
            while (waiting and not halt.is_set()) or running:
                while waiting and not halt.is_set() and len(running) < parallel:
                    running.add(pool.submit(self._settle, waiting.pop(0), endpoint, budget, halt))
                ended, running = wait(running, _TICK_S, FIRST_COMPLETED)
                for one in ended:
                    error = one.exception()
                    done += error is None
                    if error is not None:
                        failed = failed or error
                        halt.set()
                progress(done, total)
        if failed is not None:
            raise failed if isinstance(failed, HookeError) else failed.with_traceback(failed.__traceback__)

    def _settle(self, request: Request, endpoint: Endpoint, budget: Budget, halt: threading.Event) -> None:
        while not halt.is_set():
            answers = self.ledger.answers.get(request.id, [])
            said, complaint = self._read(answers)
            if said is not None or len(answers) >= ASKED:
                return
            aside, used = budget.set_aside(request), 0.0
            try:
                answer = endpoint.ask(request, complaint)
                self.ledger.add(answer)
                used = budget.cost(answer.tokens_in, answer.tokens_out)
            finally:
                budget.settle(aside, used)

    def _read(self, answers: Sequence[Answer]) -> tuple[T | None, str]:
        complaint = ""
        for answer in answers:
            try:
                return self._parse(answer.text), ""
            except Invalid as error:
                complaint = str(error)
        return None, complaint
