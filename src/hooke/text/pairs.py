"""Pairs: tokens of one text that stand close to each other, matched by lot; temporal SAEs learn from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class Pairs:
    """Ways to match rows two by two, so that no row is in two pairs, both rows of a pair are of one text, and at most `reach` apart.

    Each text is cut into stretches of ``reach + 1`` positions, from a place drawn by lot; within one, any two rows may meet.
    """

    stretch: Int[np.ndarray, " token"]
    """The stretch that each row belongs to, counted from 0, in order."""

    @classmethod
    def of(cls, text: Int[np.ndarray, " token"], pos: Int[np.ndarray, " token"], reach: int, seed: Seed) -> "Pairs":
        """Of rows in reading order: each one's `text` (any number that its neighbours of other texts have not) and position there."""
        number = _numbered(text)
        shift = np.random.default_rng(seed).integers(reach + 1, size=len(text) and number[-1] + 1)[number]
        return cls(_numbered(text, (pos + shift) // (reach + 1)))

    @property
    def count(self) -> int:
        """Pairs that each draw gives. A stretch of an odd number of rows leaves one over."""
        return int((np.bincount(self.stretch) // 2).sum())

    def draw(self, seed: Seed) -> Int[np.ndarray, "pair 2"]:
        """Pairs of row numbers in an order by lot, the earlier row first."""
        lot = np.random.default_rng(seed)
        size = np.bincount(self.stretch)
        mixed = np.lexsort((lot.random(len(self.stretch)), self.stretch))  # stretch by stretch, in any order within
        place = np.arange(len(mixed)) - np.repeat(size.cumsum() - size, size)
        matched = mixed[place < np.repeat(size // 2 * 2, size)].reshape(-1, 2)
        return lot.permutation(np.sort(matched, axis=1))

    def rows(self, batch: int, seed: Seed) -> Int[np.ndarray, " row"]:
        """A draw as row numbers of whole batches, one after the other: in each the earlier rows of its pairs, then the later ones in the
        same order. Pairs that fill no batch are left out."""
        drawn, half = self.draw(seed), batch // 2
        each = len(drawn) // half
        return drawn[: each * half].reshape(each, half, 2).transpose(0, 2, 1).reshape(-1)


def _numbered(*marks: Int[np.ndarray, " token"]) -> Int[np.ndarray, " token"]:
    """Runs of rows that agree in all `marks`, counted from 0."""
    differs = [mark[1:] != mark[:-1] for mark in marks]
    return np.concatenate([np.zeros(min(1, len(marks[0])), np.int64), np.logical_or.reduce(differs).cumsum()])
