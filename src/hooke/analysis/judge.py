"""Judge: how likely the names of an SAE's features are right of many texts, one feature after the other."""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from hooke.analysis.firings import Firings
from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.likelihood import evidence
from hooke.analysis.ranking import validity
from hooke.atlas import relative_to


class Judge:
    """Says of one SAE's names what `hooke analyze` says beside single texts (`LabelledSae.rank`)."""

    def __init__(self, labelled: LabelledSae) -> None:
        self._labelled, self._known = labelled, labelled.likelihood

    @property
    def directions(self) -> int:
        """In how many directions it is said where a text lies (`place`); none where nobody judged names."""
        return 0 if self._known is None else self._known.directions.shape[1]

    @cached_property
    def features(self) -> Int[np.ndarray, " feature"]:
        """Those that tell what a text is about, and are called as they were when readers said of which texts that is right."""
        own, names = self._labelled, {} if self._known is None else self._known.name_of
        kept = [i for i, name in names.items() if i not in own.own_labels and own.named(i)["name"] == name and own.tells_about(i)]
        return np.array(kept, np.int64)

    def place(self, fired: Firings, tokens: int) -> Float[np.ndarray, " direction"]:
        """Where a text of so many tokens lies among others, as `likely` wants it."""
        if self._known is None:
            return np.zeros(0, np.float32)
        return self._known.place_alone(fired.around / max(1, tokens)).astype(np.float32)

    def likely(
        self, index: int, peaks: np.ndarray, pools: np.ndarray, share: np.ndarray, place: Float[np.ndarray, "text direction"]
    ) -> Float[np.ndarray, " text"]:
        """How likely the name of one of `features` is right of texts, by its strongest activation, its mean, and its share of the tokens
        in each."""
        own = self._labelled
        assert self._known is not None
        assert own.table is not None
        feature = np.full(len(peaks), index)
        peak, pooled = (relative_to(strength, own.table.max[feature]) for strength in (peaks, pools))
        seen = evidence(own.specificity(feature, peak), pooled, share, self._valid[feature])
        return self._known.at(feature, seen, np.arange(len(peaks)), place)

    @cached_property
    def _valid(self) -> np.ndarray:
        return validity(self._labelled.names, self._labelled.sae.d_sae)
