"""Background: what an SAE does on ordinary sentences, where no atlas knows it."""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from hooke.codes import Codes


class Background:
    """What an SAE does on ordinary sentences: the yardstick where no atlas knows it."""

    def __init__(self, codes: Codes, sentence: Int[Tensor, " token"], texts: int, mean: Float[Tensor, " d_out"]) -> None:
        """`codes` of the tokens of `texts` sentences, `sentence` telling which each belongs to; `mean` of what the SAE rebuilds there."""
        self.texts, self.mean = texts, mean
        owner, feature, value = sentence.numpy()[codes.row.numpy()], codes.feature.numpy(), codes.value.numpy()
        order = np.lexsort((value, owner, feature))
        last = np.flatnonzero(np.diff(feature[order] * np.int64(texts) + owner[order], append=-1))
        # The peak in every sentence that a feature fires in, by feature.
        self._feature, self._peak = feature[order][last], value[order][last]

    def reached(self, feature: np.ndarray, strength: np.ndarray) -> np.ndarray:
        """In how many sentences each `feature` is at least this strong."""
        start, stop = (np.searchsorted(self._feature, feature, side) for side in ("left", "right"))
        pairs = zip(start, stop, strength, strict=True)
        return np.array([(self._peak[a:b] >= least).sum() for a, b, least in pairs], np.float32)
