"""Monitors: a few features, and a probe beside them, that raise an alarm on texts of one kind at a rate of false alarms that was set."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hooke.analysis.reader import MAX_TOKENS, MeasuredText, Reader
from hooke.card import card, identified, of_groups
from hooke.differences.grouping import Grouped, group, know, label_of
from hooke.differences.reading import read_pile
from hooke.differences.statistics import auc, wilson
from hooke.differences.words import count_words, word_odds
from hooke.errors import BadConfig, BadFile, DigestMismatch, Missing, unknown
from hooke.evals.probes import fit_weights, most_different
from hooke.files import atomic_write, parse_json
from hooke.sae import digest
from hooke.text.intake import Record

__all__ = ["Drift", "Monitor", "Raised", "Scorer", "labelled", "make_monitor", "watch"]

FORMAT = "hooke-monitor-1"
MAX_BYTES = 1 << 22
_ALIKE = 0.05  # of the mean: what hardly varies is not off by many spreads at once
FEWEST = 20
"""Texts whose mean says something of drift."""
MIN_TEXTS = 40
"""Texts of either kind that a monitor is made from at least: a half to learn, a quarter for the threshold, a quarter to try it on."""
LIMITS = (
    "A monitor tells texts like those it was made from. On other texts its rate of false alarms is not known: look at the drift.",
    "An alarm is a reason to read the text, never a reason to decide about whoever wrote it.",
)


@dataclass(frozen=True)
class Scorer:
    """One way to judge a text: a weighted sum that raises an alarm above a threshold."""

    name: str
    """``features`` or ``probe``."""
    columns: list[int]
    """Features whose mean activation is weighed; empty for the probe, which weighs every coordinate of the mean activation."""
    weights: list[float]
    """One for each column or coordinate."""
    offset: float
    """What is added."""
    threshold: float
    """Above it is an alarm."""
    figures: dict[str, list[float]]
    """On texts that had no part in it: ``auc``, ``false_alarms`` and ``caught``, each with its 95 % interval."""

    def score(self, values: Float[np.ndarray, "text n"]) -> Float[np.ndarray, " text"]:
        """How far each text is of the kind, for its values of the columns."""
        return values @ self._weights + self.offset

    def pushes(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """What each column adds to a text's score."""
        return values * self._weights

    @cached_property
    def _weights(self) -> Float[np.ndarray, " n"]:
        return np.array(self.weights)


@dataclass(frozen=True)
class Monitor:
    """What is looked for, in which model, and how."""

    kind: str
    """The kind of text that it raises an alarm on."""
    model: str
    """Name of the model."""
    sae: str
    """The SAE whose features it reads."""
    sae_sha256: str
    """Digest of that SAE's weights."""
    rate: float
    """Share of other texts that may raise a false alarm."""
    scorers: list[Scorer]
    """Features and probe, side by side."""
    words_auc: list[float]
    """How well plain words tell the kinds apart, on the same texts, with its interval."""
    usual: dict[str, list[float]]
    """Mean and spread of ``tokens``, ``features`` and ``probe`` over the texts that set the threshold, which drift is judged by."""
    made: dict[str, Any]
    """With what it was made."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        with atomic_write(path) as file:
            file.write(json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode())

    @classmethod
    def load(cls, path: Path) -> "Monitor":
        """The monitor in a file; `BadFile` says what is wrong with one that is none."""
        try:
            if path.stat().st_size > MAX_BYTES:
                raise BadFile(f"{str(path)!r} is larger than a monitor can be.")
            found = parse_json(path.read_bytes())
            if found.pop("format", None) != FORMAT:
                raise BadFile(f"{str(path)!r} is no monitor: make one with `hooke monitor make`.")
            made = cls(scorers=[Scorer(**one) for one in found.pop("scorers")], **found)
            if fault := _fault(made):
                raise BadFile(f"{str(path)!r} is damaged: {fault}. Make it again with `hooke monitor make`.")
            return made
        except FileNotFoundError as error:
            raise Missing(f"there is no monitor {str(path)!r}; `hooke monitor make` makes one.") from error
        except OSError as error:
            raise BadFile(f"{str(path)!r} cannot be read: {error.strerror}.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadFile(f"{str(path)!r} is no monitor: {str(error)[:200]}.") from error

    def check(self, reader: Reader) -> None:
        """Raise `DigestMismatch` unless `reader` has the SAE that it was made with."""
        sae = reader.labelled_saes[0].sae
        if digest(sae) != self.sae_sha256:
            raise DigestMismatch(
                f"the monitor was made with {self.sae}, and the SAE at hand, {sae.name}, has other weights. Make it anew with these, or"
                " install the pack that it was made with."
            )
        for one in self.scorers:
            wide = max(one.columns, default=-1) < sae.d_sae and len(one.weights) == (len(one.columns) or sae.d_in)
            if not wide:
                raise BadFile(f"the monitor is damaged: its {one.name} do not fit {sae.name}. Make it again with `hooke monitor make`.")


def _fault(made: Monitor) -> str | None:
    """What is wrong with a monitor from a file, if anything is."""

    def numbers(values: Any) -> bool:
        return isinstance(values, list) and all(type(one) in (int, float) and np.isfinite(one) for one in values)

    names = [one.name for one in made.scorers]
    if not names or len(set(map(str, names))) < len(names):
        return "it has no scorers, or two of one name"
    for one in made.scorers:
        if not numbers(one.weights) or not numbers([one.offset, one.threshold]):
            return "a weight is no number"
        whole = isinstance(one.columns, list) and all(type(column) is int and column >= 0 for column in one.columns)
        if not whole or (one.columns and len(one.columns) != len(one.weights)):
            return "its features and their weights do not match"
    if not isinstance(made.usual, dict) or set(made.usual) != {"tokens", *names}:
        return "it does not say what texts are usual"
    if not all(numbers(pair) and len(pair) == 2 for pair in made.usual.values()) or not numbers([made.rate]):
        return "what is usual, or the rate of false alarms, is no number"
    if not all(isinstance(text, str) for text in (made.kind, made.model, made.sae, made.sae_sha256)):
        return "its kind, model or SAE is no text"
    return None


def labelled(texts: Sequence[str], by: str, kind: str) -> Grouped:
    """The texts whose field `by` is `kind`, and all others. Raises what `group` raises, and `UnknownName` where no text is of the kind."""
    records = [text if isinstance(text, Record) else Record.of(text, {}) for text in texts]
    know([by], [text.fields for text in records])
    labels = [label_of(text.fields.get(by)) for text in records]
    known = {label for label in labels if isinstance(label, str)}
    if known and kind not in known:
        raise unknown(f"kind of {by}", kind, known)
    said = [label if not isinstance(label, str) or label == kind else f"not {kind}" for label in labels]
    return group([Record.of(text, text.fields | {by: label}) for text, label in zip(records, said, strict=True)], by)


def make_monitor(
    reader: Reader,
    grouped: Grouped,
    kind: str,
    *,
    rate: float = 0.05,
    features: int = 8,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Monitor:
    """A monitor for the texts of the group `kind`, against all others of `grouped`.

    Half of the texts, by lot, teach it; the others of a quarter set the threshold, so that at most `rate` of them are above; the last
    quarter says how it does. Raises `BadConfig` where there are too few texts.
    """
    truth = grouped.group == grouped.names.index(kind)
    if min(truth.sum(), (~truth).sum()) < MIN_TEXTS:
        raise BadConfig(
            f"a monitor needs at least {MIN_TEXTS} texts of its kind and {MIN_TEXTS} others; there are {truth.sum()} and {(~truth).sum()}."
        )
    pile = read_pile(reader, grouped.texts, progress)
    learn, hold, fresh = _parts(truth, seed)
    if not (hold & ~truth).sum() * rate >= 1:
        raise BadConfig(f"{(hold & ~truth).sum()} texts cannot set a rate of {rate:g} false alarms: give more texts, or allow more.")
    width = reader.labelled_saes[0].sae.d_sae
    strength = pile.value[:, :width]
    columns = most_different(strength[learn], truth[learn], features, selection="effect").tolist()
    values = {"features": np.asarray(strength[:, columns].todense(), float), "probe": pile.acts.astype(float)}
    scorers, usual = [], {"tokens": _moments(pile.tokens[hold])}
    for name, own in values.items():
        weights, offset = fit_weights(own[learn], truth[learn])
        score = own @ weights + offset
        threshold = _threshold(score[hold & ~truth], rate)
        figures = _figures(score[fresh], truth[fresh], threshold)
        scorers.append(Scorer(name, columns if name == "features" else [], weights.tolist(), offset, threshold, figures))
        usual[name] = _moments(score[hold & ~truth])
    sae = reader.labelled_saes[0].sae
    made = card([identified(reader.model)], [sae], of_groups(zip(grouped.group.tolist(), grouped.texts, strict=True)), seed)
    made |= {"texts": len(truth), "of_its_kind": int(truth.sum())}
    words = _words(grouped.texts, truth, learn, fresh)
    return Monitor(kind, reader.model.name, sae.name, digest(sae), rate, scorers, words, usual, made)


@dataclass(frozen=True)
class Raised:
    """What a monitor says of one text."""

    alarm: dict[str, bool]
    """By scorer."""
    score: dict[str, float]
    """By scorer; its threshold taken off, so that above 0 is an alarm."""
    because: list[int]
    """The features that push most for an alarm, strongest first."""


class Drift:
    """Whether the texts that a monitor reads are like those that its threshold was set on."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._sums, self._counts = monitor, dict.fromkeys(monitor.usual, 0.0), dict.fromkeys(monitor.usual, 0)
        self._alarms: dict[str, int] = {}
        self.texts, self.cut = 0, 0

    def add(self, tokens: int, raised: Raised) -> None:
        """Count one text."""
        self.texts += 1
        self.cut += tokens >= MAX_TOKENS
        self._sums["tokens"] += tokens
        self._counts["tokens"] += 1
        for scorer in self._monitor.scorers:
            alarm = raised.alarm[scorer.name]
            self._alarms[scorer.name] = self._alarms.get(scorer.name, 0) + alarm
            if not alarm:
                self._sums[scorer.name] += raised.score[scorer.name] + scorer.threshold
                self._counts[scorer.name] += 1

    def report(self) -> dict[str, Any]:
        """Share of ``alarms`` by scorer, and by how many spreads (``shift``) the mean text is off the usual; empty without texts.

        Scores are those of texts that raise no alarm, whose usual is known: a stream is not unlike for having more of the kind in it. None
        where there are fewer than `FEWEST` such texts.
        """
        if not self.texts:
            return {"texts": 0}
        shift = {
            name: None
            if self._counts[name] < FEWEST
            else (self._sums[name] / self._counts[name] - mean) / max(spread, _ALIKE * abs(mean), 1e-9)
            for name, (mean, spread) in self._monitor.usual.items()
        }
        return {"texts": self.texts, "alarms": {name: n / self.texts for name, n in self._alarms.items()}, "shift": shift}


def watch(reader: Reader, monitor: Monitor, texts: Iterable[str], drift: Drift) -> Iterator[Raised]:
    """What a monitor says of each text, in order, one at a time; memory does not grow with them."""
    monitor.check(reader)
    columns = sorted({column for scorer in monitor.scorers for column in scorer.columns})
    places = [np.searchsorted(columns, scorer.columns) for scorer in monitor.scorers]
    for measured in reader.measure(texts, columns):
        raised = _raised(monitor, measured, places)
        drift.add(measured.tokens, raised)
        yield raised


def _raised(monitor: Monitor, measured: MeasuredText, places: Sequence[Int[np.ndarray, " n"]]) -> Raised:
    """`places`: for each scorer where its columns stand in what was measured."""
    alarm, score, because = {}, {}, []
    for scorer, at in zip(monitor.scorers, places, strict=True):
        values = measured.values[at] if scorer.columns else measured.acts.astype(float)
        own = float(scorer.score(values[None])[0] - scorer.threshold)
        alarm[scorer.name], score[scorer.name] = own > 0, round(own, 4)
        if scorer.columns:
            pushes = scorer.pushes(values)
            because = [scorer.columns[i] for i in np.argsort(-pushes, kind="stable")[:3] if pushes[i] > 0]
    return Raised(alarm, score, because)


def _parts(truth: Bool[np.ndarray, " text"], seed: int) -> list[np.ndarray]:
    """Half of the texts and two quarters, each with its share of either kind."""
    rng = np.random.default_rng(seed)
    part = np.zeros(len(truth), int)
    for kind in (truth, ~truth):
        own = rng.permutation(np.flatnonzero(kind))
        part[own] = np.searchsorted([len(own) / 2, len(own) * 3 / 4], np.arange(len(own)), side="right")
    return [part == n for n in range(3)]


def _threshold(others: np.ndarray, rate: float) -> float:
    """The least score that at most ``rate · (n + 1) − 1`` of n others exceed: a fresh one then does at most that often (conformal)."""
    allowed = max(0, int(np.floor(rate * (len(others) + 1))) - 1)
    return float(np.sort(others)[::-1][allowed])


def _figures(score: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, list[float]]:
    area = auc(score, truth)
    rows = {"auc": [area.value, area.low, area.high]}
    for name, own in (("false_alarms", ~truth), ("caught", truth)):
        found = wilson(np.array([(score[own] > threshold).sum()]), int(own.sum()))
        rows[name] = [float(found.value[0]), float(found.low[0]), float(found.high[0])]
    return rows


def _words(texts: Sequence[str], truth: np.ndarray, learn: np.ndarray, fresh: np.ndarray) -> list[float]:
    """How well log-odds of words, learnt on the same texts, tell the same fresh texts apart."""
    counts, _ = count_words(texts, 2)
    odds, _ = word_odds(counts, truth & learn, ~truth & learn)
    found = auc((counts @ odds / np.maximum(np.asarray(counts.sum(1)).ravel(), 1))[fresh], truth[fresh])
    return [found.value, found.low, found.high]


def _moments(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(values.std())]
