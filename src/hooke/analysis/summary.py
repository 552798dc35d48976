"""Summary: each text's topics, and what all texts have in common."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from hooke.analysis.reader import Reader
from hooke.analysis.result import Analysis, TextResult, TopicResult
from hooke.analysis.topics import MOST_FEATURES


def conclude(reader: Reader, texts: Sequence[TextResult]) -> Analysis:
    """The whole analysis: the texts' results, the topics over all of them, and what limits them."""
    groups: dict[str, list[int]] = defaultdict(list)
    for n, text in enumerate(texts):
        if text.topic is not None:
            groups[text.topic].append(n)
    topics = [TopicResult(topic, members, _carriers(reader, topic, [texts[n] for n in members])) for topic, members in groups.items()]
    topics.sort(key=lambda topic: (-len(topic.texts), topic.topic))
    saes = [{**labelled.describe(), "explained": share} for labelled, share in zip(reader.labelled_saes, reader.explained, strict=True)]
    return Analysis(reader.model.name, saes, list(texts), topics, _limits(reader, texts))


def _carriers(reader: Reader, topic: str, texts: Sequence[TextResult]) -> list[dict[str, object]]:
    """The features that most texts of a topic were assigned by."""
    votes = Counter(name for text in texts for score in text.topics if score.topic == topic for name in score.features)
    by_name = {labelled.sae.name: labelled for labelled in reader.labelled_saes}
    out: list[dict[str, object]] = []
    for name, count in votes.most_common(MOST_FEATURES):
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


def _limits(reader: Reader, texts: Sequence[TextResult]) -> list[str]:
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
