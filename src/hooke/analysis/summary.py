"""Summary: each text's topics, and what all texts have in common."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hooke.analysis.labelled_sae import Firings, LabelledSae
from hooke.analysis.result import Analysis, TextResult, TopicResult, TopicScore
from hooke.atlas import relative_to

if TYPE_CHECKING:
    from hooke.analysis.reader import Reader

# A text is given a topic when it is likelier than not to be in some topic and this likely to be in that one.
_ASSIGN, _MENTION = 0.4, 0.05
_FEATURES = 5


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
        said = [(e[i, t], f"{labelled.sae.name}/{f.feature[i]}") for labelled, f, e in evidence for i in np.argsort(-e[:, t])[:_FEATURES]]
        strongest = sorted((pair for pair in said if pair[0] > 0), reverse=True)[:_FEATURES]
        scores.append(TopicScore(names[t], float(share[t]), [name for _, name in strongest]))
    assigned = scores[0].topic if scores and scores[0].score >= _ASSIGN and int(np.argmax(share)) < len(names) - 1 else None
    return assigned, scores, share[:-1]


def conclude(reader: "Reader", texts: Sequence[TextResult]) -> Analysis:
    """The whole analysis: the texts' results, the topics over all of them, and what limits them."""
    groups: dict[str, list[int]] = defaultdict(list)
    for n, text in enumerate(texts):
        if text.topic is not None:
            groups[text.topic].append(n)
    topics = [TopicResult(topic, members, _carriers(reader, topic, [texts[n] for n in members])) for topic, members in groups.items()]
    topics.sort(key=lambda topic: (-len(topic.texts), topic.topic))
    saes = [{**labelled.describe(), "explained": share} for labelled, share in zip(reader.labelled_saes, reader.explained, strict=True)]
    return Analysis(reader.model.name, saes, list(texts), topics, _limits(reader, texts))


def _carriers(reader: "Reader", topic: str, texts: Sequence[TextResult]) -> list[dict[str, object]]:
    """The features that most texts of a topic were assigned by."""
    votes = Counter(name for text in texts for score in text.topics if score.topic == topic for name in score.features)
    by_name = {labelled.sae.name: labelled for labelled in reader.labelled_saes}
    out: list[dict[str, object]] = []
    for name, count in votes.most_common(_FEATURES):
        sae, _, index = name.rpartition("/")
        table = by_name[sae].table
        assert table is not None  # topics come from an atlas
        at = int(index)
        known = {
            "label": table.label[at],
            "label_score": table.score[at],
            "label_method": table.rule[at],
            "label_evidence": int(table.evidence[at]),
            "own_label": by_name[sae].own_labels.get(at),
        }
        out.append({"feature": name, **known, "texts": count})
    return out


def _limits(reader: "Reader", texts: Sequence[TextResult]) -> list[str]:
    guess = (
        "A label is a guess by rule; its score says how well that rule predicts the feature on text it was not made from (0.5 is chance)."
    )
    limits = [
        *([guess] if any(labelled.table is not None for labelled in reader.labelled_saes) else []),
        "A feature describes patterns in text as this model reads them. It does not describe people, nor show what caused what.",
        "Another SAE, width or seed would cut the same activations into other features.",
    ]
    for labelled in reader.labelled_saes:
        if labelled.table is None:
            usual = f"; what is usual was judged on {labelled.background.texts} ordinary sentences" if labelled.background else ""
            limits.append(
                f"no atlas for this SAE: {labelled.sae.name}. Its features have no labels and say nothing of topics; the bars compare the "
                f"features of one text{usual}."
            )
    if cut := sum(text.truncated > 0 for text in texts):
        limits.append(f"{cut} of the texts were longer than is read of one text; the rest of them was left out.")
    read = [text.explained for text in texts if text.explained is not None]
    expected = float(np.mean([labelled.expected or 0.0 for labelled in reader.labelled_saes]))
    if read and float(np.mean(read)) < expected - 0.1:
        limits.append(
            f"The SAEs explain {np.mean(read):.0%} of these texts' activations, less than the {expected:.0%} of their own held-out text: "
            "these texts are unlike what they were trained on, and much of what the model did here is not shown."
        )
    return limits
