"""Names by reading: kept apart from atlases, known by weights, found by words, refused where a file is damaged."""

import gzip
import json
from dataclasses import replace

import handmade
import pytest
import zstandard
from handmade import FIRST, SECOND
from hypothesis import given
from hypothesis import strategies as st

from hooke.atlas import Atlas, Name, naming
from hooke.atlas.export import export
from hooke.atlas.naming import judged, names_of, own_names, read_names, write_names
from hooke.atlas.notes import Notes
from hooke.atlas.wording import rate, reading
from hooke.errors import BadFile

ROCKETS = Name("spacecraft launches", "event", "Countdowns too.", 0.9, 0.95, 0.7, 0.99, 10, 0.88, "a reader", 10, 12, telling=True)
CHANCE = Name("old furniture", "topic", score=0.5, low=0.2, high=0.8, n=10, tried=5, telling=False)
UNCLEAR = Name("", "unclear", "Nothing in common.")


@pytest.fixture
def atlas(tmp_path, monkeypatch) -> Atlas:
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    return Atlas(handmade.write(tmp_path / "atlas"))


def put(atlas: Atlas, names: dict[int, Name]) -> Atlas:
    write_names(own_names(atlas.saes[FIRST]), atlas.saes[FIRST], names)
    return Atlas(atlas.path, atlas.notes)


def test_what_is_written_is_read_back(atlas, tmp_path):
    sae, names = atlas.saes[FIRST], {1: ROCKETS, 2: CHANCE, 7: UNCLEAR}
    for path in (tmp_path / "a.jsonl", tmp_path / "a.names.jsonl.zst"):
        assert read_names(write_names(path, sae, names), sae) == names


def test_names_reach_features_their_relatives_and_the_search(atlas):
    atlas = put(atlas, {1: ROCKETS, 2: CHANCE, 3: UNCLEAR})
    assert atlas.name(FIRST, 1) == ROCKETS == atlas.feature(f"{FIRST}/1").named
    assert atlas.name(FIRST, 5) is None
    assert atlas.name(SECOND, 1) is None  # its weights are not known
    assert [atlas.feature(f"{FIRST}/{i}").title for i in (1, 2)] == ["spacecraft launches", "no consistent meaning found"]
    assert {"spacecraft launches", "old furniture"}.isdisjoint(r.label for r in atlas.feature(f"{FIRST}/1").neighbours)
    assert [(hit.name, hit.title, hit.named) for hit in atlas.search("spacecraft", where=["label"])] == [
        (f"{FIRST}/1", "spacecraft launches", ROCKETS)
    ]
    assert json.loads(json.dumps(atlas.feature(f"{FIRST}/1").to_json()))["named"]["about"] == "event"


def test_what_is_called_by_an_unwanted_word_is_not_found_by_other_words_either(atlas):
    found = [hit.name for hit in atlas.search("rockets -spacecraft").hits]
    named = put(atlas, {1: ROCKETS})
    assert f"{FIRST}/1" in found
    assert [hit.name for hit in named.search("rockets -spacecraft").hits] == [name for name in found if name != f"{FIRST}/1"]
    assert f"{FIRST}/1" in [hit.name for hit in named.search("rockets -spacecraft", where=["context", "output"]).hits]


def test_names_that_hold_are_found_before_those_that_do_not(atlas):
    seldom, untried, mostly = (Name("court rooms", "topic", right=r, tried=t) for r, t in ((2, 12), (0, 0), (11, 12)))
    scored = Name("court cases", "topic", score=0.8, low=0.6, high=0.9, n=10)
    atlas = put(atlas, {1: seldom, 2: untried, 3: scored, 4: mostly})
    assert [hit.name for hit in atlas.search("court", where=["label"])] == [f"{FIRST}/{i}" for i in (4, 3, 2, 1)]


def test_names_go_along_in_an_export(atlas, tmp_path):
    atlas = put(atlas, {1: ROCKETS, 3: UNCLEAR})
    export(atlas, "neuronpedia", tmp_path / "np", saes=[FIRST])
    (file,) = (tmp_path / "np").rglob("explanations/batch-0.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    read = [row for row in rows if row["typeName"] == "hooke_reading"]
    assert [(row["index"], row["description"], row["explanationModelName"]) for row in read] == [("1", "spacecraft launches", "a reader")]
    assert "0.950, blind reader, 10 held-out" in read[0]["notes"]
    export(atlas, "jsonl", tmp_path / "a.jsonl", saes=[FIRST])
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (lines[1]["title"], lines[1]["named"]["score"], lines[2]["named"]) == ("spacecraft launches", 0.95, None)


def test_a_page_says_who_read_and_how_well_the_name_holds(atlas):
    atlas = put(atlas, {1: ROCKETS, 2: CHANCE, 3: UNCLEAR})
    told = dict(reading(atlas.feature(f"{FIRST}/1")))
    assert told["named"] == "spacecraft launches · by a reader"
    assert told["the name"] == (
        "usually fits · true of 10 of 12 short texts in which the feature stands out"
        " · 0.95 [0.70, 0.99] on 10 held-out places · meaning 0.88"
    )
    assert told["rule"] == "rockets and space"
    assert "rule" not in dict(reading(atlas.feature(f"{FIRST}/2")))  # it stands above already
    assert dict(reading(atlas.feature(f"{FIRST}/3")))["named"] == "unclear · by nobody"
    assert list(reading(atlas.feature(f"{FIRST}/4"))) == []


def test_ones_own_label_wins(atlas, tmp_path):
    notes = Notes(tmp_path / "notes.sqlite")
    notes.put(atlas.saes[FIRST], 1, label="mine")
    atlas.notes = notes
    assert put(atlas, {1: ROCKETS}).feature(f"{FIRST}/1").title == "mine"


def test_names_of_other_weights_are_passed_over(atlas, tmp_path):
    other = atlas.saes[SECOND]
    assert read_names(write_names(tmp_path / "n.jsonl", atlas.saes[FIRST], {1: ROCKETS}), other) is None
    assert names_of(other) == {}


def test_a_name_stands_first_unless_it_says_nothing_or_is_no_better_than_chance():
    assert Name("a b", "topic").stands_first  # not scored
    assert [name.stands_first for name in (ROCKETS, CHANCE, UNCLEAR)] == [True, False, False]


@given(st.integers(0, 12).flatmap(lambda tried: st.tuples(st.integers(0, tried), st.just(tried))))
def test_few_tries_say_nothing_wherever_a_name_is_weighed(tries):
    right, tried = tries
    name = replace(CHANCE, right=right, tried=tried)
    untried = replace(CHANCE, right=0, tried=0)
    if tried < naming.TRIES:
        assert name.stands_first == untried.stands_first
        assert naming.holds(name) == naming.holds(untried)
        assert rate(name, 0.9, 30) == rate(untried, 0.9, 30)
    else:
        assert name.stands_first == (2 * right >= tried) == (rate(name, 0.9, 30).word != "seldom fits")
        assert naming.holds(name) == right / tried


@pytest.mark.parametrize(
    "row",
    [
        {"feature": 8, "name": "a", "about": "topic"},
        {"feature": -1, "name": "a", "about": "topic"},
        {"feature": True, "name": "a", "about": "topic"},
        {"feature": 1, "name": "a" * 41, "about": "topic"},
        {"feature": 1, "name": "a\x1b[31m", "about": "topic"},
        {"feature": 1, "name": "a\u202eb", "about": "topic"},
        {"feature": 1, "name": ["a"], "about": "topic"},
        {"feature": 1, "name": "a", "about": "gossip"},
        {"feature": 1, "name": "", "about": "topic"},
        {"feature": 1, "name": "a", "about": "unclear"},
        {"feature": 1, "name": "a", "about": "topic", "score": 2},
        {"feature": 1, "name": "a", "about": "topic", "right": 3, "tried": 2},
        {"feature": 1, "name": "a", "about": "topic", "telling": "yes"},
        {"feature": 1, "name": "a", "about": "topic", "score": float("nan")},
        {"feature": 1, "name": "a", "about": "topic", "n": "ten"},
        {"feature": 1, "name": "a", "about": ["topic"]},
        {"name": "a", "about": "topic"},
        [1],
    ],
)
def test_a_damaged_file_says_where(atlas, tmp_path, row):
    sae = atlas.saes[FIRST]
    path = write_names(tmp_path / "n.jsonl", sae, {0: ROCKETS})
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(BadFile, match=r"n\.jsonl is not a file of names or is damaged, at line 3"):
        read_names(path, sae)


def test_a_line_longer_than_names_are_is_not_read_whole(atlas, tmp_path):
    path = write_names(tmp_path / "n.jsonl", atlas.saes[FIRST], {0: ROCKETS})
    path.write_text(path.read_text() + json.dumps({"feature": 1, "note": "x" * 10_000}))
    with pytest.raises(BadFile, match="longer than names are"):
        read_names(path, atlas.saes[FIRST])


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": "other"}', b"\xff\xfe", zstandard.compress(b"{}")[:-3]])
def test_what_is_no_file_of_names_is_refused(atlas, tmp_path, data):
    (tmp_path / "n.jsonl").write_bytes(data)
    with pytest.raises(BadFile, match="is not a file of names"):
        read_names(tmp_path / "n.jsonl", atlas.saes[FIRST])


def test_how_names_were_judged_is_carried_with_them_and_not_said_of_names_made_here(atlas, tmp_path, monkeypatch):
    sae, said = atlas.saes[FIRST], "Of sixty headlines, three names in ten were wrong."
    write_names(tmp_path / "pack.names.jsonl.zst", sae, {1: ROCKETS}, said)
    monkeypatch.setattr("hooke.atlas.naming.pack_folders", lambda: {"pack": tmp_path})
    assert judged(sae) == said
    assert atlas.judged(FIRST) == said
    write_names(tmp_path / "pack.names.jsonl.zst", sae, {1: ROCKETS}, "far too long " * 40)
    assert judged(sae) == ""
    write_names(tmp_path / "pack.names.jsonl.zst", sae, {1: ROCKETS}, said)
    write_names(own_names(sae), sae, {1: ROCKETS})
    assert judged(sae) == ""
