"""Permutation: p values where whole families of texts or pairs, or dates and numbers, are dealt out anew, many times over."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

PERMUTATIONS = 400
"""How often everything is dealt out anew."""
_COLUMNS = 1024  # held dense at once


@dataclass(frozen=True)
class Permuted:
    """How far each column goes with the target."""

    z: Float[np.ndarray, " column"]
    """The sum over units, divided by its spread under permutation: mean 0 and variance 1 by chance."""
    p: Float[np.ndarray, " column"]
    """How often chance goes as far, any column's chance counting: ``(1 + #{permuted |z| ≥ |z|}) / (1 + permutations · columns)``."""


def permutation_test(
    totals: Any, sizes: Int[np.ndarray, " unit"], target: Num[np.ndarray, " unit"], *, seed: int, permutations: int = PERMUTATIONS
) -> Permuted:
    """Whether units with more of a column have a larger `target`; units are exchangeable if they do not.

    `totals` is ``[unit, column]``, scipy's sparse or dense: in how many of a unit's texts each column is; `sizes` is a unit's texts.
    The null distribution is shared by all columns. So the chance that the first column of many is called a finding wrongly is bounded
    whatever their dependence: at a p of ``level / columns``, at most `level` permuted values of any column are expected beyond.
    """
    rng = np.random.default_rng(seed)
    target = target - target.mean()
    dealt = np.stack([target, *(rng.permutation(target) for _ in range(permutations))], 1)
    share = np.asarray(totals.sum(0)).ravel() / sizes.sum()
    # Σ over units of (total − share · size)²
    residual = _squares(totals) - 2 * share * (totals.T @ sizes) + share**2 * float((sizes**2).sum())
    spread = np.sqrt(np.maximum(residual, 0) * float((target**2).sum()) / (len(sizes) - 1))
    return _by_chance(totals, dealt, share, sizes @ dealt, spread)


def flip_test(totals: Any, *, seed: int, permutations: int = PERMUTATIONS) -> Permuted:
    """Whether units lean to one side in a column; each is as likely to lean as far to the other if they do not.

    `totals` is ``[unit, column]``, scipy's sparse or dense: how far each unit leans; all of a unit turns together. As in `permutation_test`
    the null distribution is shared by all columns.
    """
    units, columns = totals.shape
    turns = np.random.default_rng(seed).integers(0, 2, (units, permutations)) * 2.0 - 1
    dealt = np.column_stack([np.ones(units), turns])
    return _by_chance(totals, dealt, np.zeros(columns), np.zeros(1 + permutations), np.sqrt(_squares(totals)))


def _squares(totals: Any) -> Num[np.ndarray, " column"]:
    square = totals.multiply(totals) if hasattr(totals, "multiply") else totals**2
    return np.asarray(square.sum(0)).ravel()


def _by_chance(
    totals: Any,
    dealt: Float[np.ndarray, "unit deal"],
    share: Float[np.ndarray, " column"],
    sizes: Num[np.ndarray, " deal"],
    spread: Float[np.ndarray, " column"],
) -> Permuted:
    """How far the first deal goes and how often the others go as far: each the sum of totals over units, less `share` of `sizes`."""
    columns = totals.shape[1]
    z, null = np.zeros(columns), []
    turned = totals.T.tocsr() if hasattr(totals, "tocsr") else totals.T
    for start in range(0, columns, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        sums = np.asarray(turned[part] @ dealt) - share[part, None] * sizes
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.where(spread[part, None] > 1e-12, sums / spread[part, None], 0.0)
        z[part] = scaled[:, 0]
        null.append(np.abs(scaled[:, 1:]).astype(np.float32).ravel())
    chance = np.sort(np.concatenate(null)) if null else np.zeros(0, np.float32)
    beyond = len(chance) - np.searchsorted(chance, np.abs(z).astype(np.float32) * (1 - 1e-6), side="left")
    return Permuted(z, (1 + beyond) / (1 + len(chance)))
