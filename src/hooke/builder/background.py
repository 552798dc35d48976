"""Short texts: neutral ones and the headlines written for the topics, how far they drive each feature, and what features say of topics."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke.atlas.records import Label, Score
from hooke.builder.cache import on_cpu
from hooke.codes import Codes
from hooke.explain.rules.labeller import MIN_EVIDENCE, MIN_SCORE, STRONG
from hooke.explain.rules.search import POSITIVE, RANDOM
from hooke.explain.score import balanced
from hooke.features.background import background_counts, columns, pooled, relative
from hooke.features.corpus_tokens import CorpusTokens
from hooke.harvest import harvest
from hooke.metrics import VarianceSum, concat_sites
from hooke.model import Model
from hooke.sae import Sae
from hooke.sae.facts import sites_of
from hooke.text.corpus import Corpus, Window, windows
from hooke.text.tokens import Tokenizer
from hooke.topics import NONE, TopicRule, fit, further_headlines, load_topics, topic_rules, topic_vectors

_SEED = 3
_SHORTEST, _LONGEST = 8, 24
_FEATURES = 4096
_DENSE = 1 << 27


@dataclass(frozen=True)
class Driven:
    """What an SAE made of some short texts."""

    texts: Codes
    """Each feature's largest activation, a row a text."""
    mean: Float[Tensor, " d_out"]
    """Mean activation at the site it writes."""
    explained: float
    """Share of the variance there that it rebuilds."""

    def beside(self, codes: Codes, text: np.ndarray) -> "Driven":
        """The same with more texts in front: `codes` of their tokens, and the text of each."""
        return replace(self, texts=Codes.cat([pooled(codes, text, int(text.max(initial=-1)) + 1), self.texts]))


@dataclass(frozen=True)
class Headlines:
    """The headlines written for each topic."""

    windows: list[Window]
    """The headlines, as token ids."""
    topic: Tensor
    """The number of each one's topic; the last number means none."""
    names: list[str]
    """The topics' names, "none" last."""
    typical: int
    """How many stand first that are typical of a topic."""

    @classmethod
    def encoded(cls, tokenizer: Tokenizer, further: int) -> "Headlines":
        """Those that are typical, those that are of none, and of others at most `further` of each topic."""
        topics, none = load_topics()
        texts = [(text, i) for i, topic in enumerate(topics) for text in topic.examples]
        typical = len(texts)
        texts += [(text, len(topics)) for text in none] + further_headlines(further)
        ids = tokenizer.encode([text for text, _ in texts])
        own = [Window("topics", i, row) for i, row in enumerate(ids)]
        return cls(own, torch.tensor([label for _, label in texts]), [*(topic.name for topic in topics), NONE], typical)


def neutral_texts(corpora: Sequence[Corpus], tokenizer: Tokenizer, count: int, context: int) -> list[Window]:
    """Pieces of text as long as headlines, at most `count`: of each window 8 to 24 tokens, from a place drawn by lot."""
    rng = np.random.default_rng(_SEED)
    out = []
    for own in itertools.islice(windows(corpora, tokenizer, length=context, seed=_SEED), count):
        length = int(rng.integers(_SHORTEST, _LONGEST + 1))
        head = 0 if tokenizer.bos is None else 1
        start = int(rng.integers(head, max(head + 1, len(own.ids) - length)))
        out.append(Window(own.corpus, own.doc, own.ids[:head] + own.ids[start : start + length]))
    return out


def heads(text: CorpusTokens, without: Collection[str], count: int) -> np.ndarray:
    """For each row of `text` the number of the neutral text that it is of, -1 for most.

    What a model makes of the first tokens of a window does not depend on those that follow: 8 to 24 of them are a text as long as a
    headline, which has been read already. At most `count` are taken, evenly from all windows but those of the corpora `without`.
    """
    other = [number for number, name in enumerate(text.corpora) if name in without]
    fit = np.flatnonzero(~np.isin(text.corpus, other))
    fit = fit if len(fit) else np.arange(text.windows)
    chosen = fit[np.arange(min(count, len(fit))) * len(fit) // max(1, min(count, len(fit)))]
    length = np.random.default_rng(_SEED).integers(_SHORTEST, _LONGEST + 1, len(chosen))
    number, most = np.full(text.windows, -1, np.int32), np.zeros(text.windows, np.int64)
    number[chosen], most[chosen] = np.arange(len(chosen)), length
    place = np.arange(len(text)) - text.start[text.window]
    return np.where(place < most[text.window], number[text.window], -1)


def driven_by(model: Model, saes: Sequence[Sae], texts: Sequence[Window], batch_tokens: int) -> dict[str, Driven]:
    """What each of `saes` makes of `texts`, which are read in one pass; by name."""
    place = {id(own): number for number, own in enumerate(texts)}
    found: dict[str, list[Codes]] = {sae.name: [] for sae in saes}
    sums = {sae.name: VarianceSum() for sae in saes}
    order: list[int] = []
    for part in harvest(model, texts, sites_of(sae.facts for sae in saes), batch_tokens=batch_tokens):
        order += [place[id(own)] for own in part.windows]
        for sae in saes:
            acts = concat_sites(part.acts, sae.facts.input_sites).float()
            codes = sae.encode(acts)
            found[sae.name].append(pooled(on_cpu(codes), part.window.numpy(), len(part.windows)))
            sums[sae.name].add(concat_sites(part.acts, sae.facts.output_sites).float(), sae.decode(codes, acts))
    back = torch.tensor(order).argsort()
    return {name: Driven(Codes.cat(codes).take(back), sums[name].mean.cpu(), 1 - sums[name].fvu) for name, codes in found.items()}


@dataclass(frozen=True)
class TopicEvidence:
    """What the features of one SAE say of topics."""

    background: np.ndarray
    """``[d_sae, BACKGROUND_STEPS]``: texts that drive a feature above each step of its maximum."""
    texts: int
    """Of how many."""
    weights: np.ndarray
    """``[d_sae, topic]``: evidence for each topic, in nats, when the feature is fully active."""
    rules: list[TopicRule]
    """For each feature the topic that best predicts it."""

    @classmethod
    def weigh(cls, headlines: Headlines, on_headlines: Driven, neutral: Driven, maximum: np.ndarray) -> "TopicEvidence":
        """Topics are fitted on the headlines written for them and the neutral texts.

        The background is the neutral texts and the typical headlines (of all subjects), these repeated so that they weigh as much: a
        feature that any headline would fire is not specific to one.
        """
        classes, n = len(headlines.names), len(neutral.texts)
        labels = torch.cat([headlines.topic, torch.full((n,), classes - 1)])
        both = relative(Codes.cat([on_headlines.texts, neutral.texts]), maximum)
        weights = fit(_vectors(both), labels, classes).numpy()
        own = headlines.typical
        subjects = on_headlines.texts.rows(0, own)
        counts = background_counts(neutral.texts, maximum) + np.round(background_counts(subjects, maximum) * (n / own))
        share, rules = relative(subjects, maximum), list[TopicRule]()
        for low in range(0, len(maximum), _FEATURES):
            part = columns(share, low, min(low + _FEATURES, len(maximum)))
            rules += topic_rules(part.dense(), headlines.topic[:own], classes - 1, strong=STRONG)
        return cls(counts, 2 * n, weights, rules)

    def label(self, feature: int, label: Label) -> Label:
        """`label`, or the topic's name where that predicts the feature clearly, and better than the rule behind `label` does."""
        rule = self.rules[feature]
        other = 0.0 if label.kind == "none" or label.token is None else label.token.value
        if rule.score < MIN_SCORE or rule.driven < MIN_EVIDENCE or not rule.silent or rule.score <= other:
            return label
        short = load_topics()[0][rule.topic].short
        return Label(f"texts on {short}", "topic", {"topic": short}, document=_score(rule), control=label.control)


def _score(rule: TopicRule) -> Score:
    """Score of a rule over texts, each of which is a document of its own."""
    driven, silent = np.arange(rule.driven), np.arange(rule.silent)
    holds = np.concatenate([driven < round(rule.hit * rule.driven), silent < round(rule.false * rule.silent)])
    return balanced(holds, np.repeat((POSITIVE, RANDOM), (rule.driven, rule.silent)), np.arange(len(holds)))


def _vectors(share: Codes) -> Tensor:
    """What the regression reads, ``[text, d_sae]``; sparse where it would not fit otherwise."""
    if len(share) * share.d_sae <= _DENSE:
        return topic_vectors(share.dense())
    step = max(1, _DENSE // 64 // share.d_sae)
    parts = [topic_vectors(share.rows(low, min(low + step, len(share))).dense()).to_sparse() for low in range(0, len(share), step)]
    return torch.cat(parts).coalesce()
