"""Asking: every request put to a reader until its answer is valid, within a budget; what was answered before is not asked again."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from hooke.engine.cluster import Cluster, Unit
from hooke.errors import HookeError, LimitReached
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

    def __init__(self, requests: Iterable[Request], ledger: Ledger, parse: Callable[[Request, str], T]) -> None:
        """`parse` gives what an answer to a request says, and raises `Invalid`."""
        self.requests = {request.id: request for request in requests}
        self.ledger, self._parse = ledger, parse

    def said(self, request: Request) -> T | None:
        """What the first valid answer says; None where there is none."""
        return self._read(request)[0]

    def given_up(self, request: Request) -> bool:
        """Whether it was answered `ASKED` times, never validly."""
        return len(self.ledger.answers.get(request.id, ())) >= ASKED and self.said(request) is None

    def open(self) -> list[Request]:
        """Those to be asked, still or again."""
        return [request for request in self.requests.values() if self.said(request) is None and not self.given_up(request)]

    def invalid(self) -> dict[str, str]:
        """What is wrong with the last answer to each request that was answered, but never validly, by its id."""
        read = {name: self._read(request) for name, request in self.requests.items()}
        return {name: complaint for name, (said, complaint) in read.items() if said is None and complaint}

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

    def ask_spread(
        self, cluster: Cluster, opened: Callable[[], Endpoint], budget: Budget, halt: threading.Event, progress: Callable[[int, int], None]
    ) -> None:
        """`ask` by the workers of `cluster`, each with an `Endpoint` of its own that `opened` opens there. This process keeps ledger and
        budget; what was not answered validly goes round again."""
        total, failed = len(self.open()), list[HookeError]()
        for _ in range(ASKED):
            aside: deque[float] = deque()
            for answer in cluster.in_order(_ask, opened, self._units(budget, aside, halt, failed)):
                if isinstance(answer, Answer):
                    self.ledger.add(answer)
                    budget.settle(aside.popleft(), budget.cost(answer.tokens_in, answer.tokens_out))
                else:
                    budget.settle(aside.popleft(), 0.0)
                    failed.append(answer)
                    halt.set()
                progress(total - len(self.open()), total)
        if failed:
            raise failed[0]

    def _units(
        self, budget: Budget, aside: deque[float], halt: threading.Event, failed: list[HookeError]
    ) -> Iterator[Unit[tuple[Request, str]]]:
        for request in self.open():
            if halt.is_set():
                return
            try:
                aside.append(budget.set_aside(request))
            except LimitReached as error:  # what was asked is waited for
                failed.append(error)
                halt.set()
                return
            yield Unit(f"request {request.id}", (request, self._read(request)[1]))

    def _settle(self, request: Request, endpoint: Endpoint, budget: Budget, halt: threading.Event) -> None:
        while not halt.is_set():
            said, complaint = self._read(request)
            if said is not None or len(self.ledger.answers.get(request.id, ())) >= ASKED:
                return
            aside, used = budget.set_aside(request), 0.0
            try:
                answer = endpoint.ask(request, complaint)
                self.ledger.add(answer)
                used = budget.cost(answer.tokens_in, answer.tokens_out)
            finally:
                budget.settle(aside, used)

    def _read(self, request: Request) -> tuple[T | None, str]:
        complaint = ""
        for answer in self.ledger.answers.get(request.id, ()):
            try:
                return self._parse(request, answer.text), ""
            except Invalid as error:
                complaint = str(error)
        return None, complaint


def _ask(endpoint: Endpoint, asked: tuple[Request, str]) -> Answer | HookeError:
    """An answer, or why there is none: answers to others that are on their way are to be heard all the same."""
    try:
        return endpoint.ask(*asked)
    except HookeError as error:
        return error
