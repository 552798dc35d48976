"""Labels: for every feature the rule that best tells where it fires, worded, and scored on documents that the rule was not made from."""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import local

import numpy as np

from hooke.atlas.records import NO_MEANING, TOO_RARE, Label, Score
from hooke.engine import in_processes
from hooke.explain.rules.conditions import SLOTS, TOKEN, Conditions, Scratch
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.index import ConditionIndex, Postings
from hooke.explain.rules.phrasing import worded
from hooke.explain.rules.rule import Rule, Test
from hooke.explain.rules.search import NEAR_MISS, POSITIVE, RANDOM, Candidate, Places, find
from hooke.explain.score import balanced, near_only
from hooke.features.events import Events

STRONG = 0.25
"""Above this share of its maximum a feature counts as clearly active."""
STRONGEST = 0.5
"""Above this share it is in the stronger half of its range; how a label does there is a figure of its own."""
MIN_SCORE = 0.7
"""A label that scores less is none, and so is one whose interval reaches down to `CHANCE`."""
CHANCE = 0.55
MIN_EVIDENCE = 5
"""Fewer clearly active places in either half than this give no label, or no score."""
POSITIVES, _RANDOM = 600, 1000
"""At most so many clearly active places of each half, and random ones, are looked at."""
_TEXTS = 24
"""Texts of each kind that the document score is measured on."""
_ASKED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""How many tokens of a text a rule may ask for."""
_CONTROL_EVERY = 16
"""The shuffled search is made for one feature in so many."""


def label_features(
    reading: TokenIndex,
    events: Events,
    misses: Sequence[np.ndarray],
    *,
    outputs: Sequence[Sequence[str]] | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Label, Label | None]]:
    """For each feature of `events`, in order, its label and what it makes likelier.

    `misses` holds each feature's near misses (tokens of `reading`, of both halves), `outputs` the texts of the tokens that it promotes,
    most first. `workers` processes share the work (0: one a core; see `hooke.engine.in_processes`); what comes out is the same
    for any number, and depends for a feature on its own events and near misses alone. `progress` hears how many are done, of how many.
    """
    known = _Known(Labeller(reading), events, misses, outputs)
    for done, labels in enumerate(in_processes(_Known.label, known, range(len(events)), workers or os.cpu_count() or 1), 1):
        yield labels
        if progress is not None:
            progress(done, len(events))


@dataclass(frozen=True)
class _Known:
    """All that features are labelled by."""

    labeller: "Labeller"
    events: Events
    misses: Sequence[np.ndarray]
    outputs: Sequence[Sequence[str]] | None

    def label(self, feature: int) -> tuple[Label, Label | None]:
        rows, values = self.events[feature]
        return self.labeller.label(rows, values, self.misses[feature], () if self.outputs is None else self.outputs[feature])


@dataclass(frozen=True)
class _Seen:
    """Where one feature fired, in one half."""

    places: Places
    fired: np.ndarray
    """Windows in which it fired at all."""
    clear: np.ndarray
    """Windows in which it was clearly active."""


class Labeller:
    """Labels for features that fired on the tokens of one reading."""

    def __init__(self, reading: TokenIndex) -> None:
        """Numbers the signs of `reading` and draws the tokens that stand for any token."""
        self.reading, self.signs = reading, Conditions(reading)
        self._own = local()
        rng = np.random.default_rng(0)
        halves = [np.flatnonzero(reading.score_half == half) for half in (False, True)]
        self._random = [np.sort(rng.choice(half, min(_RANDOM, len(half)), replace=False)) for half in halves]
        self._known, scored = (self.signs.seen(rows, Scratch(self.signs)) for rows in self._random)
        self._scored = Postings(scored, len(self.signs))
        owned = reading.doc_of_window % 2 == 1
        self._windows = [rng.permutation(np.flatnonzero(owned == half)) for half in (False, True)]

    @property
    def _scratch(self) -> Scratch:
        if not hasattr(self._own, "scratch"):
            self._own.scratch = Scratch(self.signs)
        return self._own.scratch

    def label(self, rows: np.ndarray, values: np.ndarray, misses: np.ndarray, outputs: Sequence[str] = ()) -> tuple[Label, Label | None]:
        """The label of a feature that fired on the tokens `rows` with `values`, and, given `outputs`, that of its output side."""
        strong, strongest = (rows[values >= share * values.max(initial=0)] for share in (STRONG, STRONGEST))
        seen = [self._seen(rows, strong, misses, half) for half in (0, 1)]
        own = [int((half.places.kind == POSITIVE).sum()) for half in seen]
        output = self._output(outputs, seen[1].places) if outputs else None
        if own[0] < MIN_EVIDENCE:
            return Label(TOO_RARE, "none"), output
        sightings = self.signs.seen(seen[0].places.rows, self._scratch, self._known)
        best = find(self.signs, seen[0].places, sightings) if own[0] < len(seen[0].places) else None
        control = self._control([half.places for half in seen], rows, sightings)
        if best is None:
            return Label(NO_MEANING, "none", control=control), output
        test = best.on(sightings)
        texts = self._asked(test, seen[0])
        rule = Rule.of(test, self.signs, texts)
        text, kind = worded(rule, self._coverage(best.test, seen[0].places, sightings)), _kind(best)
        if own[1] < MIN_EVIDENCE or own[1] == len(seen[1].places):
            return Label(text, kind, rule.json(), control=control), output
        places = seen[1].places
        holds = self._holds(test, places)
        token, near = balanced(holds, places.kind, places.doc), near_only(holds, places.kind)
        document, upper = self._document(test, texts, seen[1]), self._upper(test, strongest, places, holds)
        if token.value < MIN_SCORE or token.low <= CHANCE:
            text, kind = NO_MEANING, "none"
        return Label(text, kind, rule.json(), token, document, near, control, upper), output

    def one_token(self, rows: np.ndarray, values: np.ndarray, misses: np.ndarray) -> Score | None:
        """What the obvious rival of `label` scores: the single token that tells best on the label half. None for lack of evidence."""
        strong = rows[values >= STRONG * values.max(initial=0)]
        made, scored = (self._seen(rows, strong, misses, half).places for half in (0, 1))
        if min((own.kind == POSITIVE).sum() for own in (made, scored)) < MIN_EVIDENCE or not (scored.kind != POSITIVE).any():
            return None
        seen = self.signs.seen(made.rows, self._scratch, self._known)
        gain, _ = seen.tally(np.arange(len(made)), made.weights(np.ones(len(made), bool)).astype(np.float32), made.doc)
        tokens = np.flatnonzero(self.signs.slot(seen.signs) == TOKEN)
        best = Test((seen.signs[tokens[[np.argmax(gain[tokens])]]],), (1,), 1)
        return balanced(best.matches(self.signs, scored.rows, self._scratch), scored.kind, scored.doc)

    def _seen(self, rows: np.ndarray, strong: np.ndarray, misses: np.ndarray, half: int) -> _Seen:
        reading = self.reading
        own = strong[reading.score_half[strong] == bool(half)]
        near = np.unique(misses[reading.score_half[misses] == bool(half)]) if len(misses) else misses.astype(np.int64)
        parts = [_thin(own, POSITIVES), _silent(near, rows), _silent(self._random[half], rows)]
        everywhere = np.concatenate(parts).astype(np.int64)
        kinds = np.repeat((POSITIVE, NEAR_MISS, RANDOM), [len(part) for part in parts])
        return _Seen(Places(everywhere, kinds, reading.doc[everywhere]), _runs(reading.window[rows]), _runs(reading.window[own]))

    def _holds(self, test: Test, places: Places) -> np.ndarray:
        """Whether the rule holds for each of the `places` of the score half, the random ones of which stand last."""
        own, random = np.split(places.rows, [np.count_nonzero(places.kind != RANDOM)])
        known = self._scored.groups(test.groups)[np.searchsorted(self._scored.rows, random)]
        return test.met(np.concatenate([self.signs.groups(own, test.groups, self._scratch), known]))

    def _upper(self, test: Test, strongest: np.ndarray, places: Places, holds: np.ndarray) -> float | None:
        """The score once the positives are those of the stronger half of the feature's range; the negatives stay."""
        rows = _thin(strongest[self.reading.score_half[strongest]], POSITIVES)
        if len(rows) < MIN_EVIDENCE:
            return None
        silent = places.kind != POSITIVE
        known, fires = places.rows[~silent], holds[~silent]  # ascending
        at = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        new = known[at] != rows
        own = fires[at]
        own[new] = test.matches(self.signs, rows[new], self._scratch)
        right = np.concatenate([own, holds[silent]])
        kind = np.concatenate([np.full(len(rows), POSITIVE), places.kind[silent]])
        return balanced(right, kind, np.concatenate([self.reading.doc[rows], places.doc[silent]])).value

    def _control(self, places: list[Places], rows: np.ndarray, sightings: ConditionIndex) -> float | None:
        """What the search finds once it is shuffled what each place is; measured for one feature in some, chosen by where it fired."""
        seed = zlib.crc32(rows.astype(np.int64).tobytes())
        if seed % _CONTROL_EVERY or min((own.kind == POSITIVE).sum() for own in places) < MIN_EVIDENCE:
            return None
        rng = np.random.default_rng(seed)
        made, scored = (Places(own.rows, rng.permutation(own.kind), own.doc) for own in places)
        if not (scored.kind != POSITIVE).any():
            return None
        best = find(self.signs, made, sightings)
        if best is None:
            return 0.5
        return balanced(best.on(sightings).matches(self.signs, scored.rows, self._scratch), scored.kind, scored.doc).value

    def _coverage(self, test: Test, places: Places, sightings: ConditionIndex) -> dict[tuple[str, str], float]:
        """Of each sign of a rule, in numbers of `sightings`, the share of active places with it less that of silent ones.

        At least a tenth of the first.
        """
        columns = np.unique(np.concatenate(test.groups))
        present, active = sightings.present(columns), places.kind == POSITIVE
        share = present[:, active].mean(1)
        share = np.maximum(share - present[:, ~active].mean(1), share / 10)
        return dict(zip(self.signs.names(sightings.signs[columns]), share.tolist(), strict=True))

    def _texts(self, seen: _Seen, half: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows to try a rule on, and whether the feature was clearly active in each: some of those, and some it was silent in.

        Half of the silent ones hold near misses, as far as there are such.
        """
        near = np.unique(self.reading.window[seen.places.rows[seen.places.kind == NEAR_MISS]])
        near = _thin(_silent(near, seen.fired), _TEXTS // 2)
        silent = _silent(_silent(self._windows[half][: 8 * _TEXTS], seen.fired), near)[: _TEXTS - len(near)]
        active = _thin(seen.clear, _TEXTS)
        return np.concatenate([active, near, silent]), np.repeat((True, False), (len(active), len(near) + len(silent)))

    def _matching(self, test: Test, windows: np.ndarray) -> np.ndarray:
        """How many tokens of each window match."""
        start = self.reading.token_start
        length = start[windows + 1] - start[windows]
        number = np.repeat(np.arange(len(windows)), length)
        rows = np.arange(len(number)) + (start[windows] - length.cumsum() + length)[number]
        return np.bincount(number, test.matches(self.signs, rows, self._scratch), minlength=len(windows))

    def _asked(self, test: Test, seen: _Seen) -> int:
        """How many tokens of a text had best be asked for, by the label half."""
        windows, active = self._texts(seen, 0)
        if active.all():
            return 1
        count = self._matching(test, windows)
        gains = [(count[active] >= asked).mean() - (count[~active] >= asked).mean() for asked in _ASKED]
        return _ASKED[int(np.argmax(gains))]

    def _document(self, test: Test, texts: int, seen: _Seen) -> Score | None:
        windows, active = self._texts(seen, 1)
        if active.all():
            return None
        holds = self._matching(test, windows) >= texts
        return balanced(holds, np.where(active, POSITIVE, RANDOM), self.reading.doc_of_window[windows])

    def _output(self, outputs: Sequence[str], places: Places) -> Label:
        """The output side: whether the next token is one of those promoted."""
        rule = Rule((tuple(("next", text) for text in dict.fromkeys(outputs)),), (1,), 1)
        text = "promotes " + worded(rule, {("next", text): 1 / (1 + rank) for rank, text in enumerate(outputs)}).removeprefix("before ")
        positives = (places.kind == POSITIVE).sum()
        if positives < MIN_EVIDENCE or positives == len(places):
            return Label(text, "output", rule.json())
        holds = rule.on(self.signs).matches(self.signs, places.rows, self._scratch)
        return Label(text, "output", rule.json(), balanced(holds, places.kind, places.doc), near=near_only(holds, places.kind))


def _thin(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of `rows`, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _runs(numbers: np.ndarray) -> np.ndarray:
    """The different values of the ascending `numbers`."""
    return numbers[np.flatnonzero(np.diff(numbers, prepend=-1))]


def _silent(rows: np.ndarray, fired: np.ndarray) -> np.ndarray:
    """Those of `rows` that are not among the ascending `fired`."""
    if len(fired) == 0:
        return rows
    at = np.minimum(np.searchsorted(fired, rows), len(fired) - 1)
    return rows[fired[at] != rows]


def _kind(best: Candidate) -> str:
    """The kind of rule, as labels show it."""
    return SLOTS[best.slots[0]] if best.family == "one" else best.family
