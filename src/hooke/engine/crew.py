"""Crew: the workers of one piece of work, what each of them has to do, and what becomes of it when one is lost."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hooke.engine.worker import versions
from hooke.errors import BadConfig, HookeError, LimitReached, Missing

Item = TypeVar("Item")

_AT_ONCE = 2
"""Units that a worker has at a time: the one it is at, and the next."""
_AHEAD = 4
"""Units for each worker that may be under way or ready before the first of them is taken."""
_TRIES = 4
"""Workers that may be lost with one and the same unit."""
_PATIENCE_S = 60.0
"""How long a cluster may give no worker at all."""


@dataclass(frozen=True)
class Unit(Generic[Item]):
    """Something to be worked on, and what it is called: the same name however often the work is begun anew."""

    name: str
    item: Item


@dataclass
class _Task:
    number: int
    unit: Unit[Any]
    lost: int = 0
    """Workers that were lost with it."""


@dataclass
class _Member:
    actor: Any
    where: str = "a worker"
    tasks: dict[Any, _Task] = field(default_factory=dict)
    """What it has to do, by what Ray gives for it."""

    def load(self) -> int:
        """How much it has to do."""
        return _AT_ONCE if any(task.lost for task in self.tasks.values()) else len(self.tasks)


class Crew:
    """So many workers, each with what `opened` opens. One that is lost is replaced, and its units go to others."""

    def __init__(self, ray: Any, make: Callable[[], Any], size: int, opened: Any, known: list[Any]) -> None:
        """`make` asks the cluster for one more worker; `opened` and later `work` are what Ray gives for objects that it holds."""
        self._ray, self._make, self._size, self._opened = ray, make, size, opened
        self._members: list[_Member] = []
        self._greeted: dict[Any, _Member] = {}
        self._opening: dict[Any, _Member] = {}
        self._again: deque[_Task] = deque()
        self._begun = self._stillborn = 0
        for actor in known[:size]:
            self._greet(actor)

    def run(self, work: Any, units: Iterator[Unit[Any]]) -> Iterator[Any]:
        """What comes of each unit, in order."""
        tasks = (_Task(number, unit) for number, unit in enumerate(units))
        ready, taken = dict[int, Any](), 0
        while True:
            while len(self._members) + len(self._greeted) + len(self._opening) < self._size:
                self._greet(self._make())
            self._hand_out(work, tasks, taken + _AHEAD * self._size)
            if taken in ready:
                yield ready.pop(taken)
                taken += 1
            elif taken == self._begun and self._members:  # somebody was free, and there was nothing to begin
                return
            else:
                ready |= self._next()

    def actors(self) -> list[Any]:
        """The workers, which can be asked again; what some of them are at goes unheard."""
        return [member.actor for member in [*self._members, *self._opening.values(), *self._greeted.values()]]

    def _greet(self, actor: Any) -> None:
        self._greeted[actor.hello.remote()] = _Member(actor)

    def _hand_out(self, work: Any, tasks: Iterator[_Task], until: int) -> None:
        """Give tasks to whoever has few, none beyond number `until`. One that was lost before has a worker to itself."""
        while self._members and (member := min(self._members, key=_Member.load)).load() < (1 if self._again else _AT_ONCE):
            if self._again:
                task = self._again.popleft()
            elif self._begun < until and (new := next(tasks, None)):
                task, self._begun = new, self._begun + 1
            else:
                return
            member.tasks[member.actor.work.options(name=task.unit.name).remote(work, task.unit.item)] = task

    def _next(self) -> dict[int, Any]:
        """Wait for anything to happen; the result that came of it, by number."""
        owners = {ref: member for member in self._members for ref in member.tasks} | self._greeted | self._opening
        idle = not self._members and not self._opening
        found, _ = self._ray.wait(list(owners), num_returns=1, timeout=_PATIENCE_S if idle else None)
        if not found:
            has = {name: self._ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")}
            raise LimitReached(
                f"no worker came within {_PATIENCE_S:.0f} s. The cluster has {has['CPU']:g} CPUs and {has['GPU']:g} GPUs, all in use or "
                "not of the kind asked for. Try again when some are free, or add machines."
            )
        ref = found[0]
        member = owners[ref]
        try:
            done, result = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._lost(ref, member, error)
            return {}
        if not done:
            raise _placed(result, member.where, member.tasks.get(ref))
        if ref in self._greeted:
            del self._greeted[ref]
            member.where, there = result
            _check_versions(there, member.where)
            self._opening[member.actor.open.remote(self._opened)] = member
        elif self._opening.pop(ref, None):
            self._members.append(member)
            self._stillborn = 0  # of a long run many may be lost, as long as others begin
        else:
            return {member.tasks.pop(ref).number: result}
        return {}

    def _lost(self, ref: Any, member: _Member, error: Exception) -> None:
        """`member` is gone; its units go to others."""
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "No module named" in str(error):
            name = str(error).rpartition("No module named")[2].split()[0].strip("'\".")
            raise Missing(f"a worker cannot import {name!r}. Every machine needs Hooke, of the same version and with the same extras.")
        if member not in self._members:
            self._greeted.pop(ref, None)
            self._opening.pop(ref, None)
            self._stillborn += 1
            if self._stillborn == _TRIES:
                raise LimitReached(f"workers end before they begin, last {member.where} ({said}) There may be too little memory.")
            return
        self._members.remove(member)
        self._ray.kill(member.actor)
        for task in reversed(member.tasks.values()):
            task.lost += 1
            self._again.appendleft(task)
            if task.lost == _TRIES:
                raise LimitReached(
                    f"{task.unit.name} was lost with its worker {_TRIES} times, last at {member.where} ({said}) Most likely there is too "
                    "little memory: use fewer workers or smaller batches. What is written is kept; the same command goes on."
                )


def _check_versions(there: dict[str, str], where: str) -> None:
    here = versions()
    differ = [f"{name} {there.get(name)} (here {here[name]})" for name in here if there.get(name) != here[name]]
    if differ:
        raise BadConfig(f"{where} has other versions, which may give other results: {', '.join(differ)}. Install the same everywhere.")


def _placed(error: Exception, where: str, task: _Task | None) -> Exception:
    """`error` with where it happened, and at which unit."""
    place = f"{where}, {task.unit.name}" if task else where
    if isinstance(error, HookeError):
        return type(error)(f"at {place}: {error}")
    error.add_note(f"at {place}")
    return error
