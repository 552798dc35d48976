"""Beyond words: whether a difference says more than plain words do, their part being guessed for each text from all others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import linalg, sparse, special

from hooke.differences.statistics import LEVEL, q_values
from hooke.differences.words import count_words

_MOST = 2500
"""Texts that this is tried on at most."""
_LEFT = 0.5
_PENALTIES = np.geomspace(1e-2, 1e3, 11)
_COLUMNS = 512  # held dense at once


class BeyondWords:
    """Tests what plain words leave of a difference.

    For each text its words guess two things, by ridge regressions on all other texts: whether it has the item, and whether it is of the
    group. Both guesses are taken off both (by least squares, as ridge guesses too little); what is left of the item has to go with what is
    left of the group: the item's part in a joint linear model of words and item (Robinson 1988), tested as the generalised covariance
    measure (Shah and Peters 2020), ``T = Σ r / √Σ r²``, with ``r`` the product of both remainders, summed over what belongs together. As
    words are never learnt to the end from a few hundred texts, at least half of the difference has to be left as well.
    """

    def __init__(self, texts: Sequence[str], rows: Bool[np.ndarray, " text"], seed: int) -> None:
        """`rows` are the texts that are compared."""
        self._rows = np.flatnonzero(rows)
        if len(self._rows) > _MOST:
            self._rows = np.sort(np.random.default_rng(seed).choice(self._rows, _MOST, replace=False))
        self._ridge = _Ridge(_weighted(count_words([texts[i] for i in self._rows.tolist()], 2)[0]))

    def says_more(
        self,
        items: Any,
        in_a: Bool[np.ndarray, " text"],
        more_in_a: Bool[np.ndarray, " column"],
        unit: Int[np.ndarray, " text"],
        columns: Int[np.ndarray, " column"] | None = None,
    ) -> Bool[np.ndarray, " column"]:
        """Whether each item says more, with q below the level among them; `unit` says which texts belong together.

        `items` is ``[text, column]``, scipy's compressed columns, of 0 and 1; with `columns` only these of them.
        """
        columns = np.arange(items.shape[1]) if columns is None else columns
        _, at = np.unique(unit[self._rows], return_inverse=True)
        gather = sparse.csr_matrix((np.ones(len(at)), (at, np.arange(len(at)))))
        member = in_a[self._rows].astype(float)
        of_group = self._ridge.guess(member[:, None])[:, 0]
        t, enough = np.zeros(len(columns)), np.zeros(len(columns), bool)
        for start in range(0, len(columns), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            own = items[:, columns[part]][self._rows].toarray().astype(float)
            summed = gather @ _remainders(own, member, self._ridge.guess(own), of_group)
            spread = np.sqrt((summed**2).sum(0))
            t[part] = np.where(spread > 0, summed.sum(0) / np.maximum(spread, 1e-12), 0.0)
            whole = ((own - own.mean(0)) * (member - member.mean())[:, None]).sum(0)
            enough[part] = np.abs(summed.sum(0)) >= _LEFT * np.abs(whole)
        return enough & (q_values(special.ndtr(np.where(more_in_a, -t, t))) < LEVEL)


def _remainders(
    items: Float[np.ndarray, "row column"],
    in_a: Float[np.ndarray, " row"],
    of_items: Float[np.ndarray, "row column"],
    of_group: Float[np.ndarray, " row"],
) -> Float[np.ndarray, "row column"]:
    """Of each item and the group what neither guess tells, multiplied."""
    group = (of_group - of_group.mean())[:, None]
    own, member, guess = (_without(part - part.mean(0), group) for part in (items, in_a[:, None], of_items))
    return _without(own, guess) * _without(member, guess)


def _without(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """What is left of columns when their part along others is taken off; both have mean 0."""
    size = (by**2).sum(0)
    return values - by * ((by * values).sum(0) / np.maximum(size, 1e-12))


class _Ridge:
    """Ridge regressions of anything on the words of texts, each with the penalty of the least generalised cross-validation error."""

    def __init__(self, words: Any) -> None:
        alike = (words @ words.T).toarray()
        alike += 1.0  # every text has the constant, too
        self._values, self._vectors = linalg.eigh(alike, overwrite_a=True)
        self._values = np.maximum(self._values, 0)

    def guess(self, targets: Float[np.ndarray, "text column"]) -> Float[np.ndarray, "text column"]:
        """What the words of each text let expect of each target, learnt from all other texts."""
        truth = targets - targets.mean(0)
        turned = self._vectors.T @ truth
        errors = []
        for penalty in _PENALTIES:
            kept = penalty / (self._values + penalty)
            errors.append(((kept[:, None] * turned) ** 2).sum(0) / max(1e-12, kept.mean()) ** 2)
        shrunk = 1 / (self._values[:, None] + _PENALTIES[np.argmin(errors, axis=0)])
        # Left out itself, a text misses its target by [(K + λ)⁻¹ y]ᵢ / [(K + λ)⁻¹]ᵢᵢ.
        missed = (self._vectors @ (turned * shrunk)) / (self._vectors**2 @ shrunk)
        return targets - missed


def _weighted(counts: Any) -> Any:
    """Words a text has, the rarer the heavier (ln of inverse document frequency), each text scaled to length 1."""
    present = (counts > 0).astype(float)
    rarity = np.log(max(1, counts.shape[0]) / np.maximum(1, np.asarray(present.sum(0)).ravel()))
    weighted = present @ sparse.diags_array(np.maximum(rarity, 1e-3))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    return (sparse.diags_array(1 / np.maximum(length, 1e-12)) @ weighted).tocsr()
