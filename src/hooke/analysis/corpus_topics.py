"""Topics of a corpus: groups of the features that its texts are about, with their words, beside LDA and NMF on the same texts.

After SAE-TM (arXiv 2511.16309), in a short form: features are topic atoms; each has a distribution over the words of the texts it is
active in; atoms alike in their words are merged by k-means weighted with how much they are active, into any number of topics.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from hooke.analysis.result import Hit, TextResult
from hooke.errors import BadConfig, Missing

try:
    from sklearn.cluster import KMeans
    from sklearn.decomposition import NMF, LatentDirichletAllocation, TruncatedSVD
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer
    from sklearn.metrics import adjusted_rand_score
except ImportError as error:
    raise Missing("topics need scikit-learn, which is not installed: pip install 'hooke[eval]'") from error

SCHEMA_VERSION = 1
_WORDS, _FEATURES, _NAMES = 10, 8, 2
"""Words and features kept of a topic, and features that name it."""
_LEAST = 0.1
"""Share of a topic that the features which name it bring at least: what they tell less of is no topic but what is left over."""
_RARE, _WIDE = 2, 50
"""Texts that a word must be in; dimensions that the atoms' words are brought down to."""
_VOCABULARY, _WORD = 5000, r"(?u)\b[^\W\d_]{3,}\b"
"""The commonest so many words count, and what a word is."""
_SEEDS = 3
"""Runs with other seeds that stability is taken over."""


@dataclass(frozen=True)
class CorpusTopic:
    """One topic of a corpus."""

    name: str
    """The names of its strongest features; where these bring little of it, *various, such as* stands in front: it is what is left over."""
    share: float
    """Share of the texts that are most of all on it."""
    words: list[str]
    """The words that tell it from the other topics, most telling first."""
    features: list[dict[str, Any]]
    """Its features, strongest first: ``feature``, ``name``, and the ``share`` of the topic that each brings."""
    texts: list[int]
    """The texts that are most of all on it, those most on it first."""


@dataclass(frozen=True)
class CorpusTopics:
    """The topics of some texts, and how good they are."""

    topics: list[CorpusTopic]
    """Largest first."""
    coherence: float | None
    """Mean NPMI of the topics' words: how much oftener than by chance they stand in the same of these texts, −1 to 1."""
    diversity: float
    """Share of the topics' words that are in no other topic."""
    stability: float | None
    """Mean adjusted Rand index between the texts' topics with other seeds: 1 is the same, 0 is chance."""
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """``coherence``, ``diversity`` and ``stability`` of LDA and NMF with as many topics of the same texts."""

    def to_json(self) -> dict[str, Any]:
        """The document of ``hooke topics --json``."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def corpus_topics(texts: Sequence[TextResult], topics: int = 20, *, seed: int = 0) -> CorpusTopics:
    """Group what `texts` are about into `topics` topics, fewer where the features' words cannot be told apart so often.

    Raises `BadConfig` where they have too few features or words for so many, `Missing` without scikit-learn.
    """
    counts, vocabulary = _count(texts)
    atoms, activity = _atoms(texts)
    most = min(len(atoms), len(texts), len(vocabulary))
    if not 2 <= topics <= most:
        raise BadConfig(
            f"{topics} topics cannot be made of {len(texts)} texts with {len(atoms)} features of what they are about and {len(vocabulary)} "
            f"words that two of them share: {f'ask for at least 2, at most {most}, or ' if most >= 2 else ''}give more texts."
        )
    vectors = _vectors(activity, counts)
    topics = max(2, min(topics, len(np.unique(vectors.round(6), axis=0))))
    groups = [_merged(vectors, activity, topics, one) for one in range(seed, seed + _SEEDS)]
    shares = activity @ np.eye(topics)[groups[0]]
    of_text = np.where(shares.any(1), shares.argmax(1), -1)
    words = _telling(np.stack([counts[of_text == t].sum(0) for t in range(topics)]))
    said = [[vocabulary[i] for i in own] for own in words]
    found = []
    for t in range(topics):
        name, features = _described(np.flatnonzero(groups[0] == t), atoms, activity)
        own = np.flatnonzero(of_text == t)
        own = own[np.argsort(-shares[own, t], kind="stable")]
        found.append(CorpusTopic(name, len(own) / len(texts), said[t], features, own.tolist()))
    assigned = [(activity @ np.eye(topics)[own]).argmax(1) for own in groups]
    parts: dict[str, Any] = {"n_components": topics}  # scikit-learn's own hint takes it for a word
    return CorpusTopics(
        sorted(found, key=lambda topic: (-topic.share, topic.name)),
        coherence(words, counts),
        diversity(words),
        _stability(assigned),
        {
            "lda": _baseline(lambda one: LatentDirichletAllocation(topics, learning_method="batch", random_state=one), counts, seed),
            "nmf": _baseline(lambda one: NMF(**parts, init="nndsvdar", max_iter=400, random_state=one), counts * _rarity(counts), seed),
        },
    )


def _count(texts: Sequence[TextResult]) -> tuple[np.ndarray, list[str]]:
    """``[text, word]``: how often each word is in each text, and the words; without words of grammar and those of one text alone."""
    stop = [word for word in ENGLISH_STOP_WORDS if re.fullmatch(r"\w\w+", word)]
    counter = CountVectorizer(stop_words=stop, min_df=_RARE, max_features=_VOCABULARY, token_pattern=_WORD)
    try:
        counts: Any = counter.fit_transform([text.text for text in texts])
    except ValueError as error:
        raise BadConfig(f"these {len(texts)} texts have no word that two of them share; topics need more texts, or longer ones.") from error
    return counts.toarray().astype(np.float64), counter.get_feature_names_out().tolist()


def _atoms(texts: Sequence[TextResult]) -> tuple[list[Hit], np.ndarray]:
    """The features that any text is about, and ``[text, atom]``: how much each is about each."""
    place: dict[str, int] = {}
    atoms: list[Hit] = []
    entries = []
    for n, text in enumerate(texts):
        for hit in text.about:
            if hit.feature not in place:
                place[hit.feature] = len(atoms)
                atoms.append(hit)
            share = len(hit.activations) / max(1, len(text.tokens))
            entries.append((n, place[hit.feature], np.sqrt(max(hit.relative, 0)) * share * max(hit.specificity, 0)))
    activity = np.zeros((len(texts), len(atoms)))
    for n, atom, weight in entries:
        activity[n, atom] = weight
    kept = np.flatnonzero(activity.any(0))
    return [atoms[int(atom)] for atom in kept], activity[:, kept]


def _vectors(activity: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``[atom, dimension]``: the words of the texts that each atom is active in, by rarity, as directions of length 1."""
    words = activity.T @ (counts * _rarity(counts))
    words /= np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-12)
    size = min(_WIDE, min(words.shape) - 1)
    if size >= 2:
        words = TruncatedSVD(size, random_state=0).fit_transform(words)
    return words / np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-12)


def _rarity(counts: np.ndarray) -> np.ndarray:
    """``[word]``: ln of how many texts there are to one that has the word."""
    return np.log(len(counts) / (counts > 0).sum(0))


def _merged(vectors: np.ndarray, activity: np.ndarray, topics: int, seed: int) -> np.ndarray:
    """``[atom]``: the topic that each atom falls to."""
    options: dict[str, Any] = {"n_init": 10}  # scikit-learn's own hint leaves numbers out
    return KMeans(topics, random_state=seed, **options).fit_predict(vectors, sample_weight=activity.sum(0))


def _described(own: np.ndarray, atoms: Sequence[Hit], activity: np.ndarray) -> tuple[str, list[dict[str, Any]]]:
    """A topic's name and its features."""
    weight = activity[:, own].sum(0)
    order = np.argsort(-weight, kind="stable")
    strongest = [(atoms[int(own[i])], float(weight[i] / weight.sum())) for i in order[:_FEATURES]]
    features = [{"feature": atom.feature, "name": atom.title, "share": share} for atom, share in strongest]
    named = [str(feature["name"] or feature["feature"]).removeprefix("about ").partition(" · ")[0] for feature in features]
    name = "; ".join(list(dict.fromkeys(named))[:_NAMES])
    rest = sum(share for _, share in strongest[:_NAMES]) < _LEAST
    return f"various, such as {name}" if rest else name, features


def _telling(totals: np.ndarray) -> np.ndarray:
    """``[topic, _WORDS]``: the words of each topic by class-based tf-idf, most telling first; `totals` is ``[topic, word]``."""
    frequency = totals / np.maximum(totals.sum(1, keepdims=True), 1)
    weight = frequency * np.log(1 + totals.sum() / len(totals) / np.maximum(totals.sum(0), 1))
    return np.argsort(-weight, axis=1, kind="stable")[:, :_WORDS]


def coherence(words: np.ndarray, counts: np.ndarray) -> float | None:
    """Mean over topics and pairs of their words of ``ln(p_ij / p_i p_j) / −ln p_ij`` (NPMI), by texts; −1 for words that never meet.

    `words` is ``[topic, word]``, as columns of `counts`, ``[text, word]``.
    """
    present = counts > 0
    alone, values = present.mean(0), []
    for own in words:
        for i, j in combinations(own.tolist(), 2):
            both = float((present[:, i] & present[:, j]).mean())
            values.append(-1.0 if both == 0 else 1.0 if both == 1 else float(np.log(both / (alone[i] * alone[j])) / -np.log(both)))
    return float(np.mean(values)) if values else None


def diversity(words: np.ndarray) -> float:
    """Share of all topics' words that are different."""
    return len(np.unique(words)) / words.size


def _stability(assigned: Sequence[np.ndarray]) -> float | None:
    pairs = [adjusted_rand_score(a, b) for a, b in combinations(assigned, 2)]
    return float(np.mean(pairs)) if pairs else None


def _baseline(make: Callable[[int], Any], counts: np.ndarray, seed: int) -> dict[str, float | None]:
    """LDA or NMF, made for a seed: its own strongest words, and the texts' topics over seeds."""
    models = [make(one) for one in range(seed, seed + _SEEDS)]
    assigned = [model.fit_transform(counts).argmax(1) for model in models]
    words = np.argsort(-models[0].components_, axis=1, kind="stable")[:, :_WORDS]
    return {"coherence": coherence(words, counts), "diversity": diversity(words), "stability": _stability(assigned)}
