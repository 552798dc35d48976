"""Events: where and how strongly every feature fired, grouped by feature."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import njit

from hooke.codes import Codes


@dataclass(frozen=True)
class Events:
    """Codes grouped by feature: feature ``i`` fired on the tokens ``rows[start[i]:start[i+1]]``."""

    start: np.ndarray
    """``[d_sae + 1]``: where each feature's run begins."""
    rows: np.ndarray
    """Token of each event, ascending within a feature (int32)."""
    values: np.ndarray
    """Its activation (float32)."""

    @classmethod
    def of(cls, codes: Codes) -> "Events":
        """The events of `codes`."""
        feature = codes.feature.numpy().astype(np.int32)
        order = np.argsort(feature, kind="stable")
        start = np.zeros(codes.d_sae + 1, np.int64)
        np.cumsum(np.bincount(feature, minlength=codes.d_sae), out=start[1:])
        return cls(start, codes.row.numpy()[order].astype(np.int32), codes.value.numpy()[order])

    def __len__(self) -> int:
        """Number of features."""
        return len(self.start) - 1

    def __getitem__(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and values of one feature."""
        low, high = self.start[feature], self.start[feature + 1]
        return self.rows[low:high], self.values[low:high]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[feature] for feature in range(len(self)))

    def max(self) -> np.ndarray:
        """Largest activation of each feature; 0 where it never fired."""
        return np.array([values.max(initial=0) for _, values in self], np.float32)


@njit(cache=True, nogil=True)
@no_type_check
def drawn(a, b):
    """A number of 64 bits for the pair of whole numbers (a, b): SplitMix64's finish over a sum with odd factors."""
    z = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xD1B54A32D192ED03) + np.uint64(0x2545F4914F6CDD1D)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


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
