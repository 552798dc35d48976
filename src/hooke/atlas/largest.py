"""Largest: the few largest of many values, kept one by one as they come."""

from typing import no_type_check

from numba import njit


@njit(inline="always")
@no_type_check
def placed(value, number, values, numbers, count):
    """Put `number` with its `value` among the `count` largest so far, if it belongs there; gives how many there are then.

    `values` and `numbers` hold them, largest first, the lower number first of equals; their length is how many are kept.
    """
    most = len(values)
    if count == most and (value < values[most - 1] or (value == values[most - 1] and number > numbers[most - 1])):
        return count
    place = min(count, most - 1)
    while place > 0 and (values[place - 1] < value or (values[place - 1] == value and numbers[place - 1] > number)):
        values[place], numbers[place] = values[place - 1], numbers[place - 1]
        place -= 1
    values[place], numbers[place] = value, number
    return min(count + 1, most)
