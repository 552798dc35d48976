"""Summary: each text's topics, and what all texts have in common."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from hooke.analysis.reader import Reader
from hooke.analysis.result import Analysis, TextResult, TopicResult
from hooke.atlas import NO_MEANING, TOO_RARE
from hooke.atlas.naming import HALF, truth

_CARRIERS = 5
"""Features named for a topic of several texts."""


def conclude(reader: Reader, texts: Sequence[TextResult]) -> Analysis:
    """The whole analysis: the texts' results, the topics over all of them, and what limits them."""
    groups: dict[str, list[int]] = defaultdict(list)
    for n, text in enumerate(texts):
        if text.topic is not None:
            groups[text.topic].append(n)
    topics = [TopicResult(topic, members, _carriers(reader, topic, [texts[n] for n in members])) for topic, members in groups.items()]
    topics.sort(key=lambda topic: (-len(topic.texts), topic.topic))
    saes = [{**labelled.describe(), "explained": share} for labelled, share in zip(reader.labelled_saes, reader.explained, strict=True)]
    limits = [*reader.naming, *_limits(reader, texts)]
    return Analysis(reader.model.name, saes, list(texts), topics, limits, next(iter(reader.naming), ""))


def _carriers(reader: Reader, topic: str, texts: Sequence[TextResult]) -> list[dict[str, object]]:
    """The features that most texts of a topic were assigned by, each name of an SAE once; without those that nobody could name
    and, but for what texts show, those that were tried and mostly not true.

    Those that texts show of what they are about, with how likely their names are right there on average; where there are none, any.
    """
    by_name = {labelled.sae.name: labelled for labelled in reader.labelled_saes}
    spoke = [{name for score in text.topics if score.topic == topic for name in score.features} for text in texts]
    shown: dict[str, list[float]] = defaultdict(list)
    for text, own in zip(texts, spoke, strict=True):
        for hit in text.about:
            if hit.feature in own:
                shown[hit.feature].append(np.nan if hit.likely is None else hit.likely)
    votes = Counter({name: len(likely) for name, likely in shown.items()} or (name for own in spoke for name in sorted(own)))
    out: dict[tuple[str, str], dict[str, object]] = {}
    for name, count in votes.most_common():
        sae, _, index = name.rpartition("/")
        known = by_name[sae].named(int(index))
        title = by_name[sae].title(int(index))
        true = truth(known["name_right"], known["name_tried"])
        if title not in ("", NO_MEANING, TOO_RARE) and (name in shown or true is None or true >= HALF):
            likely = float(np.mean(shown.get(name) or [np.nan]))
            row: dict[str, object] = {**known, "texts": count}
            out.setdefault((sae, title), row if np.isnan(likely) else row | {"likely": likely})
    return list(out.values())[:_CARRIERS]


def _limits(reader: Reader, texts: Sequence[TextResult]) -> list[str]:
    limits = [
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
