"""Labelled SAE: one SAE and what its atlas knows, finding in activations the features that stand out against neutral text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.analysis.background import Background
from hooke.analysis.firings import Firings
from hooke.analysis.likelihood import known
from hooke.analysis.ranking import Group, about_standing, diverse, groups_of, persists, standing, validity
from hooke.analysis.result import Hit
from hooke.analysis.standings import CANDIDATES, Standings, first
from hooke.atlas import BACKGROUND_STEPS, Atlas, FeatureTable, SaeEntry, relative_to
from hooke.atlas.notes import Notes
from hooke.atlas.sensitive import by_name, by_tokens
from hooke.atlas.wording import LIKELY
from hooke.explain.kinds import kind_of
from hooke.explain.rules.phrasing import reworded
from hooke.explain.rules.vocabulary import is_word
from hooke.names import Site, shortest
from hooke.sae import Sae
from hooke.sae.packs import atlas_file, installed_saes

# A feature that fires on so many tokens, or in so many background texts, says nothing about this text (methods: 6.2).
_MAX_DENSITY, _MAX_BACKGROUND = 0.10, 0.5
_COLUMNS = ("feature", "peak", "pooled", "count")
_PROMOTED = 2
"""Promoted tokens that tell features of one name apart."""


@dataclass(frozen=True)
class Ranked:
    """The features of one SAE that stand out in one text, each with its rank, highest first."""

    features: list[tuple[float, Hit]]
    """Of both groups."""
    about: list[tuple[float, Hit]]
    """Those that tell what the text is about."""
    words: list[tuple[float, Hit]]
    """Those of its words, grammar and form."""


class LabelledSae:
    """One SAE with its atlas, where it has one."""

    background: Background | None = None
    """What stands in for the atlas, where there is none."""

    def __init__(self, sae: Sae, notes: Notes | None = None, atlas: Path | None = None) -> None:
        """With `notes`, features bear the labels that were given to them there; the file `atlas` has to know the SAE."""
        self.sae = sae
        path = atlas or atlas_file(sae)
        self.atlas = Atlas(path) if path else None
        if atlas is None and self.atlas is not None and sae.name not in self.atlas.saes:
            self.atlas = None
        if self.atlas is not None:
            self.atlas.check(sae)
        self.table: FeatureTable | None = self.atlas.table(sae.name) if self.atlas else None
        self.entry: SaeEntry | None = self.atlas.saes[sae.name] if self.atlas else None
        written = notes.of(self.entry) if notes and self.entry else {}
        self.names = self.atlas.names(sae.name) if self.atlas else {}
        """What readers call its features, by feature."""
        self.own_labels = {index: own.label for index, own in written.items() if own.label}
        """Labels from the notes, by feature."""
        self.likelihood = known(self.entry) if self.entry else None
        """How likely names are right of a text; None where nobody knows."""

    @property
    def sites_around(self) -> tuple[Site, ...]:
        """Where activations are read that tell how likely names are right; empty where nobody knows."""
        return self.likelihood.sites if self.likelihood else ()

    @property
    def expected(self) -> float | None:
        """Share of variance explained on held-out text, from the SAE's card; None where it does not say."""
        fvu = self.sae.facts.metrics.get("fvu")
        return None if fvu is None else 1 - fvu

    def describe(self) -> dict[str, Any]:
        """The SAE's row in an analysis."""
        return {
            "name": self.sae.name,
            "short": self._short,
            "site": str(self.sae.site),
            "d_sae": self.sae.d_sae,
            "l0": self.sae.facts.metrics.get("l0"),
            "expected": self.expected,
            "expected_headlines": self.entry.facts.get("explained_headlines") if self.entry else None,
            "expected_short": self.entry.facts.get("explained_background") if self.entry else None,
            "labelled": self.table is not None,
        }

    @cached_property
    def _short(self) -> str:
        """Its name as short as commands take it; which SAEs are installed is looked up once."""
        return shortest(self.sae.name, [row.facts.name for row in installed_saes()]) if self.atlas else self.sae.name

    @cached_property
    def _mean(self) -> Float[Tensor, " d_out"]:
        if self.entry:
            return torch.from_numpy(self.entry.mean.copy())
        return self.background.mean if self.background else self.sae.b_dec

    def look(
        self,
        acts: Float[Tensor, "token d_in"],
        text: Int[Tensor, " token"],
        texts: int,
        pool: str,
        rebuilt: Float[Tensor, "token d_out"] | None = None,
        sink: Bool[Tensor, " token"] | None = None,
        around: Float[Tensor, "token d"] | None = None,
    ) -> list[Firings]:
        """What fires in each of `texts` texts; `text` gives every token's text, in ascending order.

        `rebuilt` is what a transcoder should give; for all others it is what they read. Nothing is said of tokens that are a `sink`.
        `around` is what is read at `sites_around`.
        """
        calm = torch.ones(len(acts)) if sink is None else (~sink).float()
        codes = self.sae.encode(acts).silenced(calm == 0)
        wanted = acts if rebuilt is None else rebuilt
        error = (wanted - self.sae.decode(codes, acts)).square().sum(1)
        variance = (wanted - self._mean).square().sum(1)
        sums = torch.zeros(2, texts).index_add_(1, text, torch.stack([error, variance]) * calm).double().numpy()
        read = torch.zeros(texts, acts.shape[1]).index_add_(0, text, acts).numpy()
        about = read if around is None else torch.zeros(texts, around.shape[1]).index_add_(0, text, around).numpy()
        start = np.searchsorted(text.numpy(), np.arange(texts + 1))
        row, feature, value = codes.row.numpy(), codes.feature.numpy(), codes.value.numpy()
        owner = text.numpy()[row]
        # Entries by text, feature, falling value, so that each group's first entry is its peak (the earliest, among equals).
        order = np.lexsort((row, -value, feature, owner))
        key = owner[order] * np.int64(self.sae.d_sae) + feature[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        total = np.add.reduceat(value[order], first) if len(first) else value
        count = np.diff(np.append(first, len(order)))
        bounds = np.searchsorted(owner[order[first]], np.arange(texts + 1))
        entries = np.searchsorted(owner, np.arange(texts + 1))
        fired = []
        for n in range(texts):
            best = order[first[bounds[n] : bounds[n + 1]]]
            summed = total[bounds[n] : bounds[n + 1]]
            pooled = {"max": value[best], "sum": summed, "mean": summed / max(1, start[n + 1] - start[n])}[pool]
            own = slice(entries[n], entries[n + 1])
            events = (feature[own], row[own] - start[n], value[own])
            times = count[bounds[n] : bounds[n + 1]]
            where, (lost, spread) = row[best] - start[n], sums[:, n]
            fired.append(Firings(feature[best], value[best], where, pooled, times, events, lost, spread, read[n], about[n]))
        return fired

    def _relative(self, feature: np.ndarray, strength: np.ndarray, text: np.ndarray) -> np.ndarray:
        """The `strength` of each feature over its maximum in the atlas' corpus, 0 where it never fired there; without an atlas over the
        strongest in its `text`."""
        if self.table is None:
            return _of_largest(strength, text, np.ones(len(strength), bool))
        return relative_to(strength, self.table.max[feature])

    def specificity(self, feature: np.ndarray, relative: np.ndarray) -> np.ndarray:
        """``ln((N + 1) / (n + 1))``, n of N background texts driving the feature at least this far; 0 where there are none."""
        if self.table is None or self.entry is None:
            return np.zeros(len(feature), np.float32)
        at = np.clip(relative, 0, 1) * BACKGROUND_STEPS
        low = np.minimum(at.astype(np.int64), BACKGROUND_STEPS - 1)
        part = at - low
        logs = self._log_background
        return np.log1p(self.entry.facts["background_texts"]) - (logs[feature, low] * (1 - part) + logs[feature, low + 1] * part)

    @cached_property
    def _log_background(self) -> np.ndarray:
        """``[d_sae, BACKGROUND_STEPS + 1]``: log counts at the steps kept, to lie between; at a new maximum the count is zero."""
        assert self.table is not None
        return np.log1p(np.pad(self.table.background, ((0, 0), (0, 1))))

    def _unusual(self, feature: np.ndarray, peak: np.ndarray, relative: np.ndarray) -> np.ndarray:
        """`specificity`, taken against ordinary sentences where no atlas knows the feature."""
        if self.table is None and self.background is not None:
            reached = self.background.reached(feature, peak)
            return np.log((self.background.texts + 1) / (reached + 1)).astype(np.float32)
        return self.specificity(feature, relative)

    def telling(self, feature: np.ndarray) -> np.ndarray:
        """Which features are rare enough to tell texts apart."""
        if self.table is None and self.background is not None:
            return self.background.reached(feature, np.zeros(len(feature))) <= _MAX_BACKGROUND * self.background.texts
        if self.table is None or self.entry is None:
            return np.ones(len(feature), bool)
        common = self.table.background[feature, 0] > _MAX_BACKGROUND * self.entry.facts["background_texts"]
        return ~common & (self.table.density[feature] <= _MAX_DENSITY)

    @cached_property
    def _label_score(self) -> np.ndarray:
        """``[d_sae]``: the score of each feature's label, 0 where it has none."""
        return np.array([score or 0.0 for score in self.table.score] if self.table else [0.0] * self.sae.d_sae, np.float32)

    @cached_property
    def _valid(self) -> np.ndarray:
        """``[d_sae]``: how often the name of each feature is true where it stands out."""
        return validity(self.names, self.sae.d_sae)

    @cached_property
    def _judged(self) -> np.ndarray:
        """``[d_sae]`` bool: features that are called as they were when readers said of which texts their names are right."""
        names = self.likelihood.name_of if self.likelihood else {}
        shown = np.zeros(self.sae.d_sae, bool)
        shown[[index for index, name in names.items() if index not in self.own_labels and self.named(index)["name"] == name]] = True
        return shown

    @cached_property
    def _trust(self) -> np.ndarray:
        """``[d_sae]``: the score of each feature's label, or of its name where that is better; 0 where neither is scored."""
        score = self._label_score.copy()
        for index, name in self.names.items():
            score[index] = max(score[index], name.score or 0.0)
        return score

    @cached_property
    def _about(self) -> np.ndarray | None:
        return groups_of(self.sae.facts, self.table, self.names)

    def tells_about(self, index: int) -> bool:
        """Whether a feature tells what a text is about; False where nothing is known of any."""
        return self._about is not None and bool(self._about[index])

    def standings(self, fired: Sequence[Firings], lengths: Sequence[int]) -> Standings:
        """Where all features stand in texts of so many tokens; each text's part depends on it alone."""
        text = np.repeat(np.arange(len(fired)), [len(one.feature) for one in fired])
        feature, peaks, pools, count = (np.concatenate([getattr(one, name) for one in fired]) for name in _COLUMNS)
        peak, pooled = (self._relative(feature, strength, text) for strength in (peaks, pools))
        specificity = self._unusual(feature, peaks, peak)
        keep = self.telling(feature)
        if self.table is None and self.background is not None:
            # Of those that may be shown: what always fires would dwarf them.
            peak, pooled = (_of_largest(strength, text, keep) for strength in (peak, pooled))
        share = count / np.maximum(1, lengths)[text]
        about = persists(share) if self._about is None else self._about[feature]
        score, valid = self._trust[feature], self._valid[feature]
        if self.table is None and self.background is None:
            ranks = (pooled, pooled * share, peak)
        else:
            by_name = about_standing(specificity, pooled, share, score, valid)
            ranks = (standing(specificity, pooled, score), by_name, standing(specificity, peak, score))
        return Standings(text, feature, peak, pooled, specificity, share, valid, keep, about, ranks)

    def rank(self, fired: Sequence[Firings], tokens: Sequence[Sequence[str]], options: Any) -> "list[Ranked]":
        """For each text the features that stand out most, together and by group.

        All texts are worked out at once; each result depends on its own text alone.
        """
        seen = self.standings(fired, [len(own) for own in tokens])
        text, feature, keep, about = seen.text, seen.feature, seen.telling, seen.about
        if options.min_label_score > 0:
            keep = keep & (self._label_score[feature] >= options.min_label_score)
        ranks = [np.where(of, rank, -np.inf) for rank, of in zip(seen.ranks, (keep, keep & about, keep & ~about), strict=True)]
        likely = np.full(len(text), np.nan)
        if self.likelihood is not None:
            some = first(ranks[1], text, max(CANDIDATES, options.top))
            acts = np.stack([one.around for one in fired]) / np.maximum(1, [len(own) for own in tokens])[:, None]
            likely[some] = self.likelihood.of(feature[some], seen.evidence[some], text[some], acts)
            most = np.full(len(fired), -np.inf)
            np.fmax.at(most, text, likely)
            ranks[1] = np.where((likely >= LIKELY) | (likely == most[text]), likely, -np.inf)
            likely[~self._judged[feature]] = np.nan
        bounds = np.concatenate([[0], np.cumsum([len(one.feature) for one in fired])])
        return [
            self._chosen(one, own, options.top, *(column[a:b] for column in (*ranks, seen.peak, seen.specificity, about, likely)))
            for one, own, a, b in zip(fired, tokens, bounds, bounds[1:], strict=False)
        ]

    def _chosen(self, fired: Firings, tokens: Sequence[str], top: int, *columns: np.ndarray) -> "Ranked":
        """The hits of one text, by its part of `rank`'s columns."""
        *ranks, peak, specificity, about, likely = columns
        known: dict[int, Hit] = {}
        lists = []
        for rank, title in zip(ranks, (None, lambda i: self.title(int(fired.feature[i])), None), strict=True):
            order = np.argsort(-rank, kind="stable")[: 4 * top].tolist()
            pairs = [(float(rank[i]), int(fired.pos[i]), i) for i in order if rank[i] > -np.inf]
            order = diverse(pairs, top, title=title)
            for i in order:
                if i not in known:
                    right = None if np.isnan(likely[i]) else float(likely[i])
                    known[i] = self._hit(fired, i, float(peak[i]), float(specificity[i]), tokens, "about" if about[i] else "words", right)
            lists.append([(float(rank[i]), known[i]) for i in order])
        return Ranked(*lists)

    def _hit(
        self, fired: Firings, at: int, relative: float, specificity: float, tokens: Sequence[str], group: Group, likely: float | None
    ) -> Hit:
        index, pos = int(fired.feature[at]), int(fired.pos[at])
        mine = fired.events[0] == index
        where = dict(zip(fired.events[1][mine].tolist(), np.round(fired.events[2][mine], 3).tolist(), strict=True))
        return Hit(
            activation=float(fired.peak[at]),
            relative=relative,
            specificity=specificity,
            token=tokens[pos],
            pos=pos,
            activations=where,
            group=group,
            likely=likely,
            **self.named(index),
        )

    @lru_cache(1 << 16)  # noqa: B019 (it lives as long as the program)
    def named(self, index: int) -> dict[str, Any]:
        """Who a feature is and what it is called, as the fields of a `Hit`."""
        table, read = self.table, self.names.get(index)
        label, rule = (table.label[index], table.rule[index]) if table else (None, None)
        named = read if read and read.stands_first else None
        name = named.name if named else None if label is None else reworded(label)
        return {
            "feature": f"{self.sae.name}/{index}",
            "sae": self.sae.name,
            "index": index,
            "label": label,
            "label_score": table.score[index] if table else None,
            "label_method": rule,
            "label_evidence": int(table.evidence[index]) if table else 0,
            "own_label": self.own_labels.get(index),
            "name": name,
            "sensitive": self._sensitive(index, self.own_labels.get(index) or name),
            "name_score": named.score if named else None,
            "name_evidence": named.n if named else 0,
            "name_low": named.low if named else None,
            "name_right": named.right if named else 0,
            "name_tried": named.tried if named else 0,
            "named_by": "reader" if named else None if label is None else "rule",
            "kind": kind_of(read, rule, label),
        }

    def title(self, index: int) -> str:
        """What stands for a feature: a person's own label, else its name; empty where it has none."""
        known = self.named(index)
        return known["own_label"] or known["name"] or ""

    def _sensitive(self, index: int, title: str | None) -> bool:
        tokens = self.atlas.tokens(f"{self.sae.name}/{index}") if self.atlas else []
        return by_name(title) or by_tokens((token.text, token.share) for token in tokens)

    @lru_cache(4096)  # noqa: B019 (it lives as long as the program)
    def promoted(self, index: int) -> str:
        """The first whole words that a feature makes likelier; empty where no atlas knows any. Pieces of words say nothing to a reader."""
        if self.atlas is None:
            return ""
        texts = [token.text for token in self.atlas.promoted(f"{self.sae.name}/{index}")]
        words = {text.casefold(): text.strip() for text in reversed(texts) if text.startswith(" ") and is_word(text.strip())}
        return ", ".join(list(reversed(words.values()))[:_PROMOTED])


def _of_largest(strength: np.ndarray, text: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Each `strength` over the largest of its `text`, of those that count (`of`)."""
    largest = np.full(text.max(initial=-1) + 1, 1e-12, strength.dtype)
    np.maximum.at(largest, text[of], strength[of])
    return strength / largest[text]
