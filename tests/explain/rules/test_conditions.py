"""The signs that the kernels find at a token are those that a reader of the text would name."""

import itertools
from collections import Counter

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from hooke.explain.rules.conditions import MANY, NEAR, NEXT, TEXT, Conditions, Scratch
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.index import Postings
from hooke.explain.rules.token_marks import names_of, token_marks
from hooke.explain.rules.vocabulary import beginning, classes, classes_of, ending, language_of, languages

WORDS = [" bank", " in", " Paris", " loan", "\n", " the", " walking", " 1987", ".", ' "', "ster", " Monday", " said", " le"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=90), min_size=1, max_size=3)


def closed(texts: list[list[str]]) -> TokenIndex:
    reading = TokenIndex()
    for doc, pieces in enumerate(texts):
        reading.add(pieces, doc)
    reading.close()
    return reading


def by_hand(pieces: list[str], token: int) -> set[tuple[str, str]]:
    """All signs of a token, spelled out."""
    found, names = token_marks(pieces), list(classes())
    at, words = found.index[token], found.words
    kinds = [{names[n] for n in classes_of(word)} for word in words]
    out = {("token", pieces[token]), ("word", words[at])} | {("mark", mark) for mark in names_of(found.marks[token])}
    out |= {("class", name) for name in kinds[at]}
    for part, slot in ((ending(words[at], 3), "ending"), (ending(words[at], 2), "ending"), (beginning(words[at]), "beginning")):
        out |= {(slot, part)} if part else set()
    if language_of(words) >= 0:
        out.add(("language", languages()[language_of(words)]))
    for other, slot in ((at - 1, "before"), (at + 1, "after")):
        if 0 <= other < len(words):
            out |= {(slot, words[other])} | {(f"class {slot}", name) for name in kinds[other]}
    near, text = range(max(0, at - NEAR), at), range(max(0, at - TEXT), at)
    out |= {("near", words[n]) for n in near} | {("near class", name) for n in near for name in kinds[n]}
    out |= {("text", words[n]) for n in text}
    counts = Counter(name for n in text for name in kinds[n])
    out |= {("text class", name) for name, count in counts.items() if count >= MANY}
    if token + 1 < len(pieces):
        out.add(("next", pieces[token + 1]))
    return out


@settings(max_examples=40)
@given(TEXTS, st.integers(0, 1000))
def test_sightings_are_what_is_there(texts, seed):
    signs, rng = Conditions(closed(texts)), np.random.default_rng(seed)
    rows, scratch = np.arange(sum(map(len, texts))), Scratch(signs)
    known = signs.seen(np.sort(rng.choice(rows, len(rows) // 2, replace=False)) if len(rows) else rows, scratch)
    expected = [by_hand(pieces, token) for pieces in texts for token in range(len(pieces))]
    expected = [{(slot, value) for slot, value in own if slot != "next"} for own in expected]
    for seen in (signs.seen(rows, scratch), signs.seen(rows, scratch, known)):
        found = [signs.names(seen.signs[seen.column[low:high]]) for low, high in itertools.pairwise(seen.start)]
        assert [set(own) for own in found] == expected
        assert all(len(set(own)) == len(own) for own in found)
        present = seen.present(np.arange(len(seen.signs)))
        assert [set(signs.names(seen.signs[own])) for own in present.T] == expected


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30)
def test_tally_adds_weights_and_counts_documents(texts, seed):
    reading = closed(texts)
    signs, rng = Conditions(reading), np.random.default_rng(seed)
    if len(reading) == 0:
        return
    rows = np.arange(len(reading))
    seen = signs.seen(rows, Scratch(signs))
    places = np.sort(rng.choice(len(reading), rng.integers(1, len(reading) + 1), replace=False))
    weights = rng.choice([1.0, -0.5, 0.25], len(places)).astype(np.float32)
    gain, support = seen.tally(places, weights, reading.doc[places])
    present = seen.present(np.arange(len(seen.signs)))[:, places]
    np.testing.assert_allclose(gain, present @ weights, atol=1e-5)
    for column in range(len(seen.signs)):
        assert support[column] == len(np.unique(reading.doc[places][present[column] & (weights > 0)]))


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=60)
def test_groups_are_present_where_one_of_their_signs_is(texts, seed):
    reading = closed(texts)
    signs, rng, rows = Conditions(reading), np.random.default_rng(seed), np.arange(len(reading))
    if rng.integers(2):
        rows = rng.permutation(rows)  # the words before a token are kept from one token to the next only where those follow each other
    groups = [rng.choice(len(signs), min(len(signs), 5), replace=False) for _ in range(6)] + [np.array([-1])]
    bits = signs.groups(rows, groups, Scratch(signs))
    there = [by_hand(pieces, token) for pieces in texts for token in range(len(pieces))]
    named = [set(signs.names(group[group >= 0])) for group in groups]
    assert [[bool(own >> number & 1) for number in range(len(groups))] for own in bits] == [
        [bool(group & there[row]) for group in named] for row in rows
    ]


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30)
def test_sets_are_present_where_one_of_their_signs_is(texts, seed):
    signs, rng, rows = Conditions(closed(texts)), np.random.default_rng(seed), np.arange(sum(map(len, texts)))
    seen = signs.seen(rows, Scratch(signs))
    mixed = rng.permutation(len(seen.signs))
    columns, sets = mixed[:7], np.array_split(mixed[3:], 4)
    alone = seen.present(np.arange(len(seen.signs)))
    found = seen.present(columns, sets)
    np.testing.assert_array_equal(found[: len(columns)], alone[columns])
    np.testing.assert_array_equal(found[len(columns) :], [alone[own].any(0) for own in sets])


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30)
def test_postings_find_what_the_reading_has(texts, seed):
    signs, rng, rows = Conditions(closed(texts)), np.random.default_rng(seed), np.arange(sum(map(len, texts)))
    some = np.sort(rng.choice(rows, len(rows) // 2, replace=False)) if len(rows) else rows
    groups = [rng.choice(signs.offset[NEXT], 5) for _ in range(6)] if len(rows) else []
    found = Postings(signs.seen(some, Scratch(signs)), len(signs)).groups(groups)
    np.testing.assert_array_equal(found, signs.groups(some, groups, Scratch(signs)))


def test_names_and_numbers_agree():
    signs = Conditions(closed([WORDS]))
    for sign in range(len(signs)):
        assert signs.find(*signs.names(np.array([sign]))[0]) == sign
    assert signs.find("word", "never seen") == -1
    assert signs.find("class", "no such class") == -1
