"""Work shared out to threads: in order, never far ahead of whoever takes it, and not gone on with once nobody does."""

import itertools
import threading

import pytest

from hooke.atlas import parallel
from hooke.atlas.parallel import in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_results_come_in_order(workers, count):
    assert list(in_order(lambda number: number * number, count, workers)) == [number * number for number in range(count)]


def test_no_more_is_worked_out_than_a_few_ahead():
    begun = []
    results = in_order(lambda number: begun.append(number) or number, 1000, 2)
    for taken in range(1, 21):
        next(results)
        assert max(begun) < taken + 2 * parallel._AHEAD
    results.close()
    assert max(begun) < 20 + 2 * parallel._AHEAD


def test_several_threads_work_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    assert len(list(in_order(lambda _: both.wait(), 4, 2))) == 4


def test_what_goes_wrong_is_raised_where_it_is_taken():
    def work(number):
        if number == 5:
            raise ValueError("five")
        return number

    results = in_order(work, 1000, 3)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
