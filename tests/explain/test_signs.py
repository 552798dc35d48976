"""The signs that the kernels find at a token are those that a reader of the text would name."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from hooke.explain.passage import names_of, passage
from hooke.explain.reading import Reading
from hooke.explain.signs import MANY, NEAR, SLOTS, TEXT, Scratch, Signs
from hooke.explain.vocabulary import beginning, classes, classes_of, ending, language_of, languages

WORDS = [" bank", " in", " Paris", " loan", "\n", " the", " walking", " 1987", ".", ' "', "ster", " Monday", " said", " le"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=90), min_size=1, max_size=3)


def closed(texts: list[list[str]]) -> Reading:
    reading = Reading()
    for doc, pieces in enumerate(texts):
        reading.add(pieces, doc)
    reading.close()
    return reading


def by_hand(pieces: list[str], token: int) -> set[tuple[str, str]]:
    """All signs of a token, spelled out."""
    found, names = passage(pieces), list(classes())
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
@given(TEXTS)
def test_present_is_what_is_there(texts):
    signs = Signs(closed(texts))
    rows, scratch = np.arange(sum(map(len, texts))), Scratch(signs)
    present = np.column_stack([signs.present(rows, batch, scratch) for batch in np.array_split(np.arange(len(signs)), 8)])
    found = [{signs.name(int(sign)) for sign in np.flatnonzero(own)} for own in present]
    assert found == [by_hand(pieces, token) for pieces in texts for token in range(len(pieces))]


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30)
def test_tally_adds_weights_and_counts_documents(texts, seed):
    reading = closed(texts)
    signs, rng = Signs(reading), np.random.default_rng(seed)
    if len(reading) == 0:
        return
    rows = np.sort(rng.choice(len(reading), rng.integers(1, len(reading) + 1), replace=False))
    weights = rng.choice([1.0, -0.5, 0.25], len(rows)).astype(np.float32)
    scratch = Scratch(signs)
    for _ in range(2):  # the second time finds its working memory as the first one did
        found, gain, support = signs.tally(rows, weights, reading.doc[rows], scratch)
    present = signs.present(rows, found, scratch)
    np.testing.assert_allclose(gain, weights @ present, atol=1e-5)
    for column in range(len(found)):
        assert support[column] == len(np.unique(reading.doc[rows][present[:, column] & (weights > 0)]))
    assert "next" not in {SLOTS[slot] for slot in signs.slot(found)}


@given(TEXTS, st.integers(0, 1000))
@settings(max_examples=30)
def test_groups_are_present_where_one_of_their_signs_is(texts, seed):
    reading = closed(texts)
    signs, rng, rows = Signs(reading), np.random.default_rng(seed), np.arange(len(reading))
    scratch = Scratch(signs)
    groups = [rng.choice(len(signs), min(len(signs), 5), replace=False) for _ in range(4)] + [np.array([-1])]
    bits = signs.groups(rows, groups, scratch)
    for number, group in enumerate(groups):
        expected = signs.present(rows, group, scratch).any(1)
        assert (bits >> number & 1).astype(bool).tolist() == expected.tolist()


def test_names_and_numbers_agree():
    signs = Signs(closed([WORDS]))
    for sign in range(len(signs)):
        assert signs.find(*signs.name(sign)) == sign
    assert signs.find("word", "never seen") == -1
    assert signs.find("class", "no such class") == -1
