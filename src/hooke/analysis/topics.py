"""Topics: which of the atlas' topics each text is on, by what its features say of them."""

from collections.abc import Sequence

import numpy as np

from hooke.analysis.firings import Firings
from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.result import TopicScore
from hooke.atlas import relative_to

# A text is given a topic when it is likelier than not to be in some topic and this likely to be in that one.
_ASSIGN, _MENTION = 0.4, 0.05
MOST_FEATURES = 20
"""Features named for a topic of one text."""


def topic_evidence(labelled: LabelledSae, fired: Sequence[Firings]) -> list[np.ndarray] | None:
    """For each text ``[features that fired, topics]``: what each feature adds to the log-odds of each topic, "none" last.

    None without an atlas. The vectors are those of `hooke.topics.topic_vectors`.
    """
    if labelled.table is None or labelled.entry is None or labelled.atlas is None or not labelled.atlas.topics:
        return None
    sizes = [len(one.feature) for one in fired]
    text, feature = np.repeat(np.arange(len(fired)), sizes), np.concatenate([one.feature for one in fired])
    relative = relative_to(np.concatenate([one.peak for one in fired]), labelled.table.max[feature])
    weight = np.sqrt(np.clip(relative, 0, 1))
    weight /= np.maximum(np.sqrt(np.bincount(text, weight**2, len(fired))), 1e-12)[text]
    return np.split(weight[:, None].astype(np.float32) * labelled.table.topics[feature], np.cumsum(sizes)[:-1])


Topical = tuple[str | None, list[TopicScore], np.ndarray | None]
"""The topic of a text (None: it fits none), every topic worth a mention with the features that say so, and the share of each topic in the
order of the atlas' topics, "none" left out; None without an atlas."""


def weigh_topics(labelled_saes: Sequence[LabelledSae], fired: Sequence[Sequence[Firings]]) -> list[Topical]:
    """What each text is on; `fired` is what each SAE found in each text."""
    by_sae = [(labelled, topic_evidence(labelled, [own[k] for own in fired])) for k, labelled in enumerate(labelled_saes)]
    known = [(k, labelled, evidence) for k, (labelled, evidence) in enumerate(by_sae) if evidence is not None]
    if not known:
        return [(None, [], None)] * len(fired)
    assert known[0][1].atlas is not None
    names = known[0][1].atlas.topics
    return [_weighed(names, [(labelled, own[k], evidence[n]) for k, labelled, evidence in known]) for n, own in enumerate(fired)]


def _weighed(names: list[str], evidence: Sequence[tuple[LabelledSae, Firings, np.ndarray]]) -> Topical:
    """What one text is on, by what was found in it."""
    logits = np.mean([e.sum(0) for _, _, e in evidence], axis=0)
    share = np.exp(logits - logits.max())
    share /= share.sum()
    scores = []
    for t in np.argsort(-share, kind="stable"):
        if share[t] < _MENTION or t == len(names) - 1:  # the last class is "none"
            continue
        said = [
            (e[i, t], f"{labelled.sae.name}/{f.feature[i]}") for labelled, f, e in evidence for i in np.argsort(-e[:, t])[:MOST_FEATURES]
        ]
        strongest = sorted((pair for pair in said if pair[0] > 0), reverse=True)[:MOST_FEATURES]
        scores.append(TopicScore(names[t], float(share[t]), [name for _, name in strongest]))
    assigned = scores[0].topic if scores and scores[0].score >= _ASSIGN and int(np.argmax(share)) < len(names) - 1 else None
    return assigned, scores, share[:-1]
