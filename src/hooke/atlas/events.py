"""Events: where and how strongly every feature fired, grouped by feature."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

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
