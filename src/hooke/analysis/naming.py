"""Naming: what is said of where features' names come from, and of how many were tested."""

from collections.abc import Sequence

from hooke.analysis.labelled_sae import LabelledSae
from hooke.atlas.naming import truth


def named_by(saes: Sequence[LabelledSae]) -> list[str]:
    """Who named the features and, where somebody judged it, how often names are wrong on texts like these; then how many were tested."""
    labelled = [one for one in saes if one.table is not None]
    if not labelled:
        return []
    read = [name for one in labelled for name in one.names.values() if name.stands_first]
    tested = sum(name.score is not None for name in read)
    tried = sum(truth(name.right, name.tried) is not None for name in read)
    readers = " and ".join(sorted({name.reader for name in read if name.reader})[:3]) or "somebody"
    judged = " ".join(dict.fromkeys(one.atlas.judged(one.sae.name) for one in labelled if one.atlas is not None))
    if not read:
        rule = "A name is a guess by rule; its score says how well that rule predicts the feature on text it was not made from"
        return [f"{rule} (0.5 is chance)."]
    features = sum(one.sae.d_sae for one in labelled)
    share = "most" if 2 * len(read) > features else "some"
    beside = f", {tried:,} beside short texts" if tried else ""
    return [
        " ".join(filter(None, [f"Names are guesses, {share} of them by {readers}.", judged])),
        f"{len(read):,} of {features:,} features were named by {readers} after reading where they fire, the others by a rule over words."
        f" {tested:,} of the names were tested on held-out passages{beside}; of the others the score is that of the feature's rule.",
    ]
