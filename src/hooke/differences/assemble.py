"""Assembling: everything that was found of two or more groups of texts, out of what was read of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from hooke.analysis.reader import MAX_TOKENS, Reader
from hooke.card import card, identified, of_groups
from hooke.differences.baselines import baselines
from hooke.differences.beyond import BeyondWords
from hooke.differences.called import Naming, likelihoods
from hooke.differences.confounders import Check, checks
from hooke.differences.excerpts import excerpts, strongest
from hooke.differences.grouping import Comparison, Grouped
from hooke.differences.items import Items, items_of
from hooke.differences.reading import Pile
from hooke.differences.result import Confounder, Differences, Finding, Needed
from hooke.differences.statistics import LEVEL, area, separation, smallest_detectable, texts_needed
from hooke.differences.testing import Listed, Tested, compare_items, halves, interval, listed, replicate, units
from hooke.differences.words import count_words, word_odds, word_scores
from hooke.text.figures import count

_RARE_SHARE = 0.05
_LARGER = (0.2, 0.5)
"""Shares beside the rare one of which it is said how many texts would show them."""
_ALIKE = 0.5
_SHOWN = 40
"""Findings of each kind and comparison that bring excerpts."""
_NEAREST, _TRIED = 8, 60
"""What comes nearest to a difference where there is none, and of how many those in much the same texts are left out."""
_TEXTS = 20
_AT_ONCE = 512
"""Findings that are held against confounders together; of all at once the tables would be large."""


def assemble(
    reader: Reader,
    pile: Pile,
    grouped: Grouped,
    *,
    source: str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Differences:
    """Test every item, then say of each finding what is known of it; see `hooke.differences.diff`."""
    most = pile.value.shape[1] * len(grouped.comparisons)
    progress("Testing features, topics and words")
    # The largest on the way, and so before the tables.
    beyond = BeyondWords(grouped.texts, np.logical_or(grouped.comparisons[0].in_a, grouped.comparisons[0].in_b), seed)
    smallest = min(min(int(one.in_a.sum()), int(one.in_b.sum())) for one in grouped.comparisons)
    counts, vocabulary = count_words(grouped.texts, 5)
    items = items_of(pile, counts, vocabulary, smallest, likely := likelihoods(pile, reader.labelled_saes))
    tested = compare_items(items.present, grouped, np.ones(len(grouped.texts), bool), seed=seed)
    found = listed(tested)
    judged = [_once(items, own) for own in found]
    naming = Naming(items, pile, likely, grouped.texts, reader)
    first = halves(grouped, seed)
    replication, held = replicate(items.present, grouped, first, seed=seed)
    progress("Holding other differences fixed")
    checked = checks(items, pile, grouped, source)
    told = _Told(items, pile, grouped, naming, counts, checked, beyond)
    findings = [
        replace(finding, replicated=held.get((c, column)))
        for c, own in enumerate(judged)
        for column, finding in told.findings(c, own, np.flatnonzero(own.listed))
    ]
    findings = told.marked(sorted(findings, key=lambda one: (-_clear(one), one.q, one.kind, one.feature)))
    near = [] if findings else _nearest(told, tested, judged)
    confounders = [_confounder(check, grouped, findings) for check in checked]
    del items, likely, naming, checked, beyond, told  # most of the memory, and what follows needs its own
    progress("Telling the groups apart in other ways")
    scores = np.stack([word_scores(counts, one.in_a, one.in_b, first) for one in grouped.comparisons])
    figures, missing = baselines(grouped, pile, scores, first, seed)
    return Differences(
        by=grouped.by,
        groups=[{"name": name, "texts": int((grouped.group == i).sum())} for i, name in enumerate(grouped.names)],
        tested=sum(len(one.p) for one in tested),
        smallest_detectable=detectable(grouped, sum(len(one.p) for one in tested)),
        findings=findings,
        unlisted=sum(int(own.clear.sum() - own.listed.sum()) for own in found),
        replication=replication,
        confounders=confounders,
        baselines=figures,
        limits=limits(grouped),
        notes=[*grouped.notes, *too_long(pile), *missing],
        made=card(
            [identified(reader.model)],
            [one.sae for one in reader.labelled_saes],
            of_groups(zip(grouped.group.tolist(), grouped.texts, strict=True)),
            seed,
        ),
        level=LEVEL,
        needed=[Needed(_RARE_SHARE, high, texts_needed(_RARE_SHARE, high, most)) for high in _LARGER],
        nearest=near,
    )


def too_long(pile: Pile) -> list[str]:
    """What is to be said of texts of which only the beginning was read."""
    cut = int((pile.tokens >= MAX_TOKENS).sum())
    return (
        [f"{count(cut, 'text')} {'is' if cut == 1 else 'are'} longer than the {MAX_TOKENS:,} tokens that are read of each."] if cut else []
    )


def detectable(grouped: Grouped, tests: int) -> float:
    """The smallest difference that the comparison with the fewest texts could show, beside a share of 5 %; families count as one text."""

    def size(rows: np.ndarray) -> int:
        return int(rows.sum()) if grouped.family is None else len(np.unique(grouped.family[rows]))

    return max(smallest_detectable(size(one.in_a), size(one.in_b), tests, _RARE_SHARE) for one in grouped.comparisons)


def _once(items: Items, judged: Listed) -> Listed:
    """The same, no feature listed for firing that is listed for what it is called."""
    said = items.feature[items.by_name & judged.listed]
    twice = np.isin(items.feature, said) & ~items.by_name & np.array([kind == "feature" for kind in items.kind])
    return replace(judged, again=np.where(twice, 0.0, judged.again))


def _clear(finding: Finding) -> float:
    """How far the interval keeps from no difference."""
    return finding.low if finding.effect > 0 else -finding.high


def _nearest(told: "_Told", tested: Sequence[Tested], judged: Sequence[Listed]) -> list[Finding]:
    """What chance lets lean least often, the larger difference first where that is equal."""
    p, size = (np.concatenate(own) for own in ([one.p for one in tested], [np.abs(one.effect) for one in tested]))
    order = [int(i) for i in np.lexsort((-size, p)) if p[i] < 1][:_TRIED]
    ends = np.cumsum([len(one.p) for one in tested])
    found: dict[int, Finding] = {}
    for c, own in enumerate(judged):
        start = int(ends[c] - len(tested[c].p))
        columns = np.array(sorted(i - start for i in order if start <= i < ends[c]), np.int64)
        # No finding: what it would say besides words, or with something held fixed, is not asked.
        found |= {start + column: replace(one, holds={}, beyond_words=None) for column, one in told.findings(c, own, columns)}
    named = [one for one in told.marked([found[i] for i in order]) if one.like is None and (one.kind != "feature" or one.known_as)]
    return named[:_NEAREST]


class _Told:
    """What can be said of each finding."""

    def __init__(
        self,
        items: Items,
        pile: Pile,
        grouped: Grouped,
        naming: Naming,
        counts: Any,
        checked: Sequence[Check],
        beyond: BeyondWords,
    ) -> None:
        self._items, self._pile, self._grouped, self._naming = items, pile, grouped, naming
        self._counts, self._checked, self._beyond = counts.tocsc(), checked, beyond
        self._columns: dict[tuple[str, str, str], tuple[Comparison, int]] = {}

    def findings(self, number: int, judged: Listed, columns: np.ndarray) -> list[tuple[int, Finding]]:
        """Some columns of one comparison as findings."""
        comparison, items = self._grouped.comparisons[number], self._items
        if not len(columns):
            return []
        effect = interval(items.present, self._grouped, comparison, columns)
        some = [columns[at : at + _AT_ONCE] for at in range(0, len(columns), _AT_ONCE)]
        held = {check.name: [kept for own in some for kept in check.holds(comparison, own)] for check in self._checked}
        beyond = self._says_more(comparison, columns, effect.value > 0)
        odds = word_odds(self._counts, comparison.in_a, comparison.in_b)[0]
        shares = [self._shares(column) for column in columns.tolist()]
        out = []
        for i, column in enumerate(columns.tolist()):
            kind = items.kind[column]
            more = comparison.in_a if effect.value[i] > 0 else comparison.in_b
            own = items.texts(column)
            called = self._naming.of(column, own[more[own]])
            figures = self._figures(column, comparison)
            self._columns[called.feature, kind, comparison.a] = (comparison, column)
            finding = Finding(
                kind=kind,
                **asdict(called),
                groups=shares[i],
                effect=float(effect.value[i]),
                low=float(effect.low[i]),
                high=float(effect.high[i]),
                q=float(judged.q[column]),
                again=float(judged.again[column]),
                replicated=None,
                texts=strongest(items, self._pile, column, more, _TEXTS),
                a=comparison.a,
                b=comparison.b,
                auc=figures[0],
                log_odds=float(odds[items.feature[column]]) if kind == "word" else None,
                separation=figures[1],
                usual=bool(items.usual[column]),
                by_name=bool(items.by_name[column]),
                beyond_words=beyond.get(column),
                holds={name: own_holds[i] for name, own_holds in held.items()},
            )
            out.append((column, finding))
        return out

    def _says_more(self, comparison: Comparison, columns: np.ndarray, more_in_a: np.ndarray) -> dict[int, bool]:
        """Of each finding that is no word whether it says more than plain words."""
        own = np.array([column for column in columns.tolist() if self._items.kind[column] != "word"], np.int64)
        if not len(own):
            return {}
        up = more_in_a[np.isin(columns, own)]
        told = self._beyond.says_more(self._items.present, comparison.in_a, up, units(self._grouped), own)
        return dict(zip(own.tolist(), told.tolist(), strict=True))

    def marked(self, findings: Sequence[Finding]) -> list[Finding]:
        """The same, those that stand in the texts of an earlier one of their kind saying so; the first of each kind with excerpts."""
        earlier: dict[tuple[str, str, bool], _Earlier] = {}
        shown: dict[tuple[str, str], int] = {}
        out = []
        for finding in findings:
            comparison, column = self._columns[finding.feature, finding.kind, finding.a]
            own = self._items.texts(column)
            kin = earlier.setdefault((finding.kind, finding.a, finding.effect > 0), _Earlier(len(self._grouped.texts)))
            if (like := kin.like(own)) is None:
                kin.add(finding.feature, own)
            at = (finding.kind, finding.a)
            shown[at] = shown.get(at, 0) + (like is None)
            pieces = []
            if like is None and shown[at] <= _SHOWN:
                pieces = excerpts(self._items, self._pile, self._grouped, comparison, column, self._naming.tokenizer, finding.effect > 0)
            out.append(replace(finding, like=like, excerpts=pieces))
        return out

    def _shares(self, column: int) -> dict[str, float]:
        own = np.bincount(self._grouped.group[self._items.texts(column)], minlength=len(self._grouped.names))
        sizes = np.bincount(self._grouped.group, minlength=len(self._grouped.names))
        return {name: float(n / size) for name, n, size in zip(self._grouped.names, own, sizes, strict=True)}

    def _figures(self, column: int, comparison: Comparison) -> tuple[float, float | None]:
        """AUC and separation of an item, by how much of it each text has."""
        items, at = self._items, int(self._items.feature[column])
        tables = {"topic": (items.present, column), "feature": (self._pile.by_feature, at), "word": (self._counts, at)}
        table, at = tables[items.kind[column]]
        own = slice(table.indptr[at], table.indptr[at + 1])
        texts, values = table.indices[own], table.data[own]
        compared = (values > 0) & (comparison.in_a[texts] | comparison.in_b[texts])
        values, member = values[compared], comparison.in_a[texts[compared]]
        none_a, none_b = int(comparison.in_a.sum() - member.sum()), int(comparison.in_b.sum() - (~member).sum())
        return area(values, member, none_a, none_b), separation(values, member, none_a, none_b)


class _Earlier:
    """The first findings of a list, by the texts that they stand in."""

    def __init__(self, texts: int) -> None:
        self._names: list[str] = []
        self._has = np.zeros((_SHOWN, texts), bool)
        self._sizes = np.zeros(_SHOWN, np.int64)

    def like(self, texts: np.ndarray) -> str | None:
        """The first that stands in much the same texts: at least half of those that either stands in."""
        shared = self._has[:, texts].sum(1)
        alike = np.flatnonzero(shared >= _ALIKE * np.maximum(1, self._sizes + len(texts) - shared))
        return self._names[alike[0]] if len(alike) else None

    def add(self, name: str, texts: np.ndarray) -> None:
        """Another one; those beyond the first are shown nowhere, so nothing has to be like them."""
        if (n := len(self._names)) < _SHOWN:
            self._names.append(name)
            self._has[n, texts], self._sizes[n] = True, len(texts)


def _confounder(check: Check, grouped: Grouped, findings: Sequence[Finding]) -> Confounder:
    told = [held for finding in findings if (held := finding.holds[check.name]) is not None]
    means = {name: float(check.measure[grouped.group == i].mean()) for i, name in enumerate(grouped.names)}
    return Confounder(check.name, check.said, means, check.unit, sum(told) if told else None, len(told))


def limits(grouped: Grouped) -> list[str]:
    """What must stand beside the result."""
    said = [
        "A feature describes patterns in text as one small model reads them. It says nothing of the people who wrote or are written about.",
        "A difference between groups of texts is no cause: groups differ in much at once, and only what is listed was held fixed.",
        "Names are guesses. Of how many texts each is likely right is said beside it; read the texts before you believe it.",
    ]
    if grouped.pairs and not grouped.in_families:
        said.append(
            "Pairs were counted one by one. Several of one sentence or one author are not independent, and make everything look surer than"
            " it is: name the field that says so as their family, too."
        )
    elif grouped.pairs:
        said.append("Pairs of a family were turned together, and intervals are by families.")
    elif grouped.family is None:
        said.append(
            "Texts were counted one by one. Several on one story or by one author are not independent, and make everything look surer than"
            " it is: name the field that says so as their family."
        )
    else:
        said.append("Texts of a family were dealt out together, and intervals are by families.")
    return said
