"""Work shared out to threads and processes: in order, never far ahead of whoever takes it, not gone on with once nobody does."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hooke import engine as parallel
from hooke.engine import in_order, in_processes
from hooke.errors import HookeError

splits = pytest.mark.skipif(sys.platform != "linux", reason="processes are split off on Linux only")


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_results_come_in_order(workers, count):
    assert list(in_order(lambda factor, number: factor * number * number, 1, range(count), workers)) == [
        number * number for number in range(count)
    ]


def test_no_more_is_worked_out_than_a_few_ahead():
    begun = []
    results = in_order(lambda _, number: begun.append(number) or number, None, range(1000), 2)
    for taken in range(1, 21):
        next(results)
        assert max(begun) < taken + 2 * parallel._AHEAD
    results.close()
    assert max(begun) < 20 + 2 * parallel._AHEAD


def test_several_threads_work_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    assert len(list(in_order(lambda both, _: both.wait(), both, range(4), 2))) == 4


def test_what_goes_wrong_is_raised_where_it_is_taken():
    def work(_, number):
        if number == 5:
            raise ValueError("five")
        return number

    results = in_order(work, None, range(1000), 3)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 3, parallel._WORTH_IT - 1, parallel._WORTH_IT, 300])
def test_results_of_processes_come_in_order(workers, count):
    given = np.arange(count) * 3
    found = list(in_processes(lambda shared, number: {"at": number, "row": shared[: number + 1]}, given, range(count), workers))
    assert [own["at"] for own in found] == list(range(count))
    assert all(np.array_equal(own["row"], given[: number + 1]) for number, own in enumerate(found))
    assert multiprocessing.active_children() == []


@splits
def test_many_features_are_worked_out_elsewhere_and_the_first_few_here():
    places = list(in_processes(lambda *_: os.getpid(), None, range(300), 2))
    assert set(places[: parallel._HERE]) == {os.getpid()}
    assert len(set(places[parallel._HERE :]) - {os.getpid()}) == 2


@splits
def test_what_goes_wrong_in_a_process_is_raised_where_it_is_taken_and_says_where_it_came_from():
    def work(_, number):
        if number == 150:
            raise HookeError("one hundred and fifty")
        return number

    results = in_processes(work, None, range(1000), 3)
    assert list(itertools.islice(results, 150)) == list(range(150))
    with pytest.raises(HookeError, match="one hundred and fifty") as raised:
        next(results)
    assert "in work" in raised.value.__notes__[0]
    assert multiprocessing.active_children() == []


@splits
def test_an_error_that_cannot_be_sent_is_told_in_words():
    class OnlyHere(Exception):
        pass

    def work(_, number):
        if number > 100:
            raise OnlyHere("no other process knows this class")
        return number

    with pytest.raises(HookeError, match="OnlyHere: no other process knows this class"):
        list(in_processes(work, None, range(300), 2))


@splits
def test_a_process_that_is_killed_is_an_error_that_says_so():
    def work(_, number):
        if number == 200:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    results = in_processes(work, None, range(1000), 2)
    assert list(itertools.islice(results, 200)) == list(range(200))
    with pytest.raises(HookeError, match="memory"):
        next(results)
    assert multiprocessing.active_children() == []


@splits
def test_processes_end_when_nobody_takes_what_they_send():
    results = in_processes(lambda _, number: (number, bytes(100_000)), None, range(10_000), 2)
    next(itertools.islice(results, 20, None))
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []


@splits
def test_processes_end_when_their_listener_is_killed():
    script = """
import multiprocessing, time
from hooke.engine import in_processes
for number in in_processes(lambda _, number: time.sleep(0.01) or number, None, range(100_000), 2):
    if number == 20:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""
    listener = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    children = [int(pid) for pid in listener.stdout.readline().split()]
    listener.kill()
    listener.wait()
    listener.stdout.close()
    assert len(children) == 2
    until = time.monotonic() + 30
    while any(_runs(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in children)


def _runs(pid: int) -> bool:
    """Whether there is such a process, one that has ended and is not yet buried left out."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
