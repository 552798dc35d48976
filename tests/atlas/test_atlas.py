"""An atlas file: what is written is what is read, and what is no atlas or is spoilt says so."""

import contextlib
import os
import re
import signal
import sqlite3
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import handmade
import numpy as np
import planted
import pytest
from handmade import FACTS, FIRST, SECOND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hooke import tiny
from hooke.analysis.labelled_sae import LabelledSae
from hooke.atlas import Atlas, Example, TokenCount, schema, wording
from hooke.atlas.check import problems
from hooke.atlas.open import damage, open_database
from hooke.atlas.packing import MAX_NUMBERS, pack, pack_numbers, small, squeeze, unpack
from hooke.errors import BadConfig, BadFile, DigestMismatch, HookeError, Missing, UnknownName


@pytest.fixture
def path(tmp_path) -> Path:
    return handmade.write(tmp_path / "atlas.sqlite")


def test_the_table_is_what_was_written(path):
    atlas = Atlas(path)
    assert atlas.facts == FACTS
    assert atlas.topics == ["sport", "none"]
    assert {name: (e.digest, e.d_sae, e.facts) for name, e in atlas.saes.items()} == {
        FIRST: ("ab" * 32, 8, {"background_texts": 6000, "a": [1, None], "groups": handmade.GROUPS}),
        SECOND: ("", 4, {}),
    }
    np.testing.assert_array_equal(atlas.saes[FIRST].mean, np.linspace(-1, 1, 4, dtype=np.float32))
    for name, count in ((FIRST, 8), (SECOND, 4)):
        table, written = atlas.table(name), [handmade.record(i) for i in range(count)]
        np.testing.assert_array_equal(table.background, [np.minimum(w.background, 65535) for w in written])
        np.testing.assert_array_equal(table.topics, [w.topics for w in written])
        assert table.density.tolist() == [w.density for w in written]
        assert table.max.tolist() == [w.max for w in written]
        assert table.label == [w.label.text or None for w in written]
        assert table.rule == [w.label.kind if w.label.text else None for w in written]
        assert table.score == [w.label.token and w.label.token.value for w in written]
        assert table.evidence.tolist() == [w.label.token.positives if w.label.token else 0 for w in written]
    atlas.close()


def test_a_feature_comes_back_with_texts_for_ids(path):
    wanted = handmade.record(1)
    found = Atlas(path).feature(f"{FIRST}/1")
    same = ("count", "density", "max", "mean", "documents", "persistence", "commonest", "label", "output")
    assert [getattr(found, name) for name in same] == [getattr(wanted, name) for name in same]
    assert found.quantiles == wanted.quantiles.tolist()
    assert found.histogram == wanted.histogram.tolist()
    assert tuple(found.purity) == wanted.purity
    assert [(t.text, t.count, t.share, t.enrichment) for t in found.tokens] == [(" rocket", 40, 0.4, 3.5), (" space", 20, 0.2, -0.5)]
    assert [(t.text, t.weight) for t in found.promoted] == [(" rocket", 1.5), (" oil", 0.5)]
    assert Atlas(path).promoted(found.name) == found.promoted
    assert [(t.text, t.weight) for t in found.suppressed] == [(" wind", -2.0)]
    assert [(r.name, r.label, r.value) for r in found.neighbours] == [
        (f"{FIRST}/2", "no consistent meaning found", 0.75),
        (f"{FIRST}/3", handmade.record(3).label.text, 0.5),
    ]
    assert found.topics == {"sport": 0.0, "none": 0.25}
    top = found.top[0]
    assert "".join(top.tokens) == f" {handmade.TEXTS[0]}"
    assert (top.peak, top.tokens[top.peak], top.values[:4]) == (1, " rocket", [0.0, 12.5, 3.25, 0.0])
    assert (top.corpus, top.doc, top.start) == ("news", 10, 0)
    assert [len(part) for part in found.intervals] == [0, 1, 0, 0, 1]
    assert found.stretch(4) == (10.0, 12.5)
    miss = found.misses[0]
    assert (miss.tokens[miss.peak], miss.activation, sum(miss.values)) == (" prices", 0.0, 0.0)


def test_bytes_of_one_character_are_put_together(path):
    last = Atlas(path).feature(f"{FIRST}/1").intervals[4][0]
    assert "".join(last.tokens).endswith(" café opened😀")
    assert len(last.tokens) == len(handmade.windows()[1].ids)


def test_only_so_much_text_around_the_peak(path):
    passage = Atlas(path).feature(f"{FIRST}/1", around=1).intervals[1][0]
    assert (passage.tokens, passage.peak, passage.start, passage.values) == ([" rocket", " launch", " into"], 1, 1, [0.0, 4.5, 0.0])
    assert passage.near(0, 1).tokens == [" launch", " into"]
    assert passage.near(0, 1).start == 2


def test_text_that_nothing_uses_is_left_out(path):
    with sqlite3.connect(path) as db:
        assert [i for (i,) in db.execute("SELECT id FROM window")] == [0, 1, 2]
        used = {i for (i,) in db.execute("SELECT id FROM piece")}
    assert 92 not in used
    assert handmade.token("nobody") not in used


def test_features_say_in_which_group_they_were_trained(tmp_path):
    atlas = Atlas(handmade.write(tmp_path / "grouped"))
    groups = [atlas.feature(f"{FIRST}/{i}").group for i in range(8)]
    assert groups == ["about"] * 3 + ["word"] * 5
    assert atlas.feature(f"{SECOND}/1").group is None
    assert atlas.feature(f"{FIRST}/4").to_json()["group"] == "word"
    assert ("group", "about: trained to stay the same from token to token") in list(wording.facts(atlas.feature(f"{FIRST}/1")))
    assert "group" not in dict(wording.facts(atlas.feature(f"{SECOND}/1")))


def test_a_small_file_keeps_the_strongest_examples_and_no_index_of_text(tmp_path):
    atlas = Atlas(handmade.write(tmp_path / "small", examples=1, contexts=False))
    found = atlas.feature(f"{FIRST}/1")
    assert [len(found.top), found.misses, found.intervals] == [1, [], []]
    assert atlas.search("wind", where=("context",)).hits == []
    assert atlas.search("rockets").hits
    assert problems(tmp_path / "small") == []


def test_briefly_it_is_the_same_less_intervals_and_near_misses(path):
    atlas = Atlas(path)
    assert atlas.feature(f"{FIRST}/1", brief=True) == replace(atlas.feature(f"{FIRST}/1"), intervals=[], misses=[])


def test_what_a_small_file_keeps_of_a_feature():
    at = np.arange(0, 60, 3)
    example = Example(7, 30, at, at / 7)
    pairs = [(i, i + 1 / 3) for i in range(10)]
    tokens = [TokenCount(i, 9, 1 / 7, 2 / 3) for i in range(20)]
    changed = {"promoted": pairs, "suppressed": pairs, "neighbours": pairs, "together": pairs, "tokens": tokens, "intervals": [[example]]}
    record = replace(handmade.record(1), top=[example] * 6, misses=[example], **changed)
    found = unpack(pack(small(record, 4)))
    assert [len(found["top"]), found["intervals"], found["misses"]] == [4, [], []]
    assert (found["top"][0].window, found["top"][0].peak, found["top"][0].at.tolist()) == (7, 30, [24, 27, 30, 33, 36])
    assert found["top"][0].values.tolist() == [3.43, 3.86, 4.29, 4.71, 5.14]
    assert found["promoted"] == found["together"] == [(0, 0.333), (1, 1.33), (2, 2.33)]
    assert found["tokens"] == [TokenCount(i, 9, 0.143, 0.667) for i in range(4)]
    assert found["label"] == record.label
    assert found["histogram"].tolist() == list(record.histogram)


def test_same_input_same_bytes_and_whole(path, tmp_path):
    assert handmade.write(tmp_path / "again").read_bytes() == path.read_bytes()
    assert problems(path) == []


def test_opens_in_a_folder_that_cannot_be_written(path):
    path.chmod(stat.S_IRUSR)
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        before = path.stat().st_mtime_ns, os.listdir(path.parent)
        atlas = Atlas(path)
        assert atlas.feature(f"{FIRST}/1").title == "rockets and space"
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            atlas._db.execute("DELETE FROM fact")
        assert (path.stat().st_mtime_ns, os.listdir(path.parent)) == before
        atlas.close()
    finally:
        path.parent.chmod(stat.S_IRWXU)


def test_unknown_names(path):
    atlas = Atlas(path)
    with pytest.raises(UnknownName, match=r"unknown SAE 'tiny/resid_post.3/9'.*Did you mean 'tiny/resid_post.3/8'"):
        atlas.table("tiny/resid_post.3/9")
    with pytest.raises(UnknownName, match=r"unknown feature 8 of tiny/resid_post.3/8: the atlas knows 8, counted from 0"):
        atlas.feature(f"{FIRST}/8")
    with pytest.raises(BadConfig, match="cannot read"):
        atlas.feature("nonsense")


def test_no_file_and_files_of_other_versions(path, tmp_path):
    with pytest.raises(Missing, match="no atlas at"):
        Atlas(tmp_path / "none.sqlite")
    for version, advice in ((schema.VERSION + 1, "Update Hooke"), (1, "Build it anew"), (0, "may be no atlas")):
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(BadFile, match=rf"schema {version}; this version of Hooke reads schema 2 to {schema.VERSION}\. .*{advice}"):
            Atlas(path)


def test_an_atlas_of_other_weights(tmp_path, monkeypatch):
    sae, path = tiny.sae(), planted.write(tmp_path / "atlas", sealed=True)
    other = replace(sae, b_dec=sae.b_dec + 1)
    Atlas(path).check(sae)
    with pytest.raises(DigestMismatch, match=r"describes another tiny.*hooke atlas build"):
        Atlas(path).check(other)
    Atlas(planted.write(tmp_path / "unsealed")).check(other)  # it cannot tell
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda _: path)
    with pytest.raises(DigestMismatch, match="describes another tiny"):
        LabelledSae(other)


@pytest.mark.parametrize("content", [b"", b"{}", b"SQLite format 3\0" + b"\xff" * 500, b"\0" * 8192])
def test_what_is_no_atlas(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadFile, match="file"):
        Atlas(tmp_path / "file")


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE detail; CREATE VIEW detail AS SELECT 1 AS id, 2 AS form, zeroblob(1000000000) AS content",
        "CREATE TRIGGER t AFTER INSERT ON fact BEGIN DELETE FROM sae; END",
        "CREATE TABLE more (a)",
        "ALTER TABLE feature ADD COLUMN more",
        "".join(f"CREATE TABLE t{i} (a);" for i in range(120)),
        # What SQLite words itself is compared as well: each row's end would be worked out from a column that takes hours.
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
        "'CREATE TABLE ''words_config''(k PRIMARY KEY, v AS (hex(zeroblob(999999999)))) WITHOUT ROWID' WHERE name = 'words_config'",
    ],
)
def test_a_file_brings_no_tables_or_views_of_its_own(path, change):
    with sqlite3.connect(path) as db:
        db.executescript(change)
    with pytest.raises(BadFile, match=r"its tables are not those of schema 3|its schema has more than 100 parts"):
        Atlas(path)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_what_takes_sqlite_too_long_is_broken_off(path):
    db = open_database(path)
    db.allow(0.2)
    with pytest.raises(BadFile, match="takes longer than any atlas"), damage(path):
        db.execute(ENDLESS)
    for _ in range(3):  # what a caller does with rows is no work of SQLite's
        for _row in db.execute("SELECT key FROM fact"):
            time.sleep(0.12)
    db.close()


def test_ctrl_c_is_heard_while_sqlite_works(path):
    db = open_database(path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of a parallel run ignore it
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt), damage(path):
            db.execute(ENDLESS)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    db.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("UPDATE sae SET d_sae = 1 << 60", "of 1,152,921,504,606,846,976 features"),
        ("UPDATE sae SET name = hex(zeroblob(1000)) || id", "it has an SAE '0000"),
        (
            "UPDATE fact SET value = json_array(hex(zeroblob(1000)), 'none') WHERE key = 'topics'",
            "topics have more or longer names",
        ),
        ("UPDATE fact SET value = '1' || hex(zeroblob(200)) WHERE key = 'tokens'", "does not fit into 64 bits"),
    ],
)
def test_what_would_grow_when_read_is_refused(path, spoil, said):
    with sqlite3.connect(path) as db:
        db.execute(spoil)
    with pytest.raises(BadFile, match=said) as caught:
        Atlas(path)
    assert len(str(caught.value)) < 700


def test_one_long_text_in_many_places_makes_no_long_page(path, tmp_path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE piece SET content = substr(hex(zeroblob(512)), 1, 1024)")
    long = np.tile(np.arange(8), 5000)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE window SET ids = ?", (pack_numbers(long),))
    with pytest.raises(BadFile, match="tokens have more than 64 characters each"):
        Atlas(path).feature(f"{FIRST}/1", around=4000)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE feature SET label = hex(zeroblob(100000))")
    assert max(len(label or "") for label in Atlas(path).table(FIRST).label) == 1000
    assert max(len(hit.title or "") for hit in Atlas(path).search("")) == 1000


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("UPDATE detail SET content = x'00'", "content size"),
        ("UPDATE detail SET content = zeroblob(40)", "content size"),
        ("UPDATE window SET ids = zeroblob(9)", "content size"),
        ("DELETE FROM window", "no window"),
        ("DELETE FROM piece", "no text for token"),
        ("UPDATE piece SET content = 7", "for token 0 is no text of at most 1,024 characters"),
        ("UPDATE piece SET content = zeroblob(1500000)", "is no text of at most 1,024 characters"),
        (f"UPDATE window SET ids = x'{squeeze(bytes(MAX_NUMBERS)).hex()}'", "have more than 4,194,304 tokens"),
        ("UPDATE feature SET background = 7", "buffer|bytes"),
        ("UPDATE feature SET topics = x'0000'", "argument 2 is|shorter"),
    ],
)
def test_a_spoilt_part_is_told(path, spoil, said):
    with sqlite3.connect(path) as db:
        db.execute(spoil)
    with pytest.raises(BadFile, match=f"damaged: .*{said}"):
        Atlas(path).feature(f"{FIRST}/1")
    assert any("seal" in line for line in problems(path))


def read_all(path: Path) -> None:
    atlas = Atlas(path)
    try:
        for name, entry in atlas.saes.items():
            atlas.table(name)
            for index in range(min(entry.d_sae, 9)):
                atlas.feature(f"{name}/{index}")
        for query in ("rocket space", "pri*", "", "café"):
            atlas.search(query)
    finally:
        atlas.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return handmade.write(tmp_path_factory.mktemp("whole") / "atlas").read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_short_or_spoilt_is_bad_or_whole(tmp_path_factory, whole, data):
    """Whatever is wrong with the bytes, nothing but errors of ours comes out."""
    path = tmp_path_factory.getbasetemp() / "spoilt.sqlite"
    spoilt = bytearray(whole)
    if data.draw(st.booleans()):
        del spoilt[data.draw(st.integers(1, len(spoilt) - 1)) :]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoilt) - 1))
        junk = data.draw(st.one_of(st.binary(min_size=1, max_size=64), st.sampled_from([b"\0" * 64, b"\xff" * 9, b"\x7f\xff\xff\xff"])))
        spoilt[at : at + len(junk)] = junk
    path.write_bytes(bytes(spoilt))
    with contextlib.suppress(HookeError):
        read_all(path)


def test_hostile_text_is_only_ever_marked(path):
    from io import StringIO

    from rich.console import Console

    from hooke.atlas.notebook import fragment, results
    from hooke.report.feature import page
    from hooke.report.feature_terminal import print_feature, print_found

    atlas = Atlas(path)
    feature = atlas.feature(f"{FIRST}/3")
    out = StringIO()
    console = Console(file=out, width=100, color_system=None)
    print_feature(feature, console, everything=True)
    print_found(atlas.search("hostile"), console)
    print_found(atlas.search("evil"), console)
    assert not re.search("[\0-\x09\x0b-\x1f\x7f\u202e]", out.getvalue())
    assert "⟨ESC⟩[31mred ⟨RLO⟩ evil ⟨NUL⟩" in out.getvalue()
    for html in (page(feature), fragment(feature), results(atlas.search("evil"))):
        assert "<b>bold</b>" not in html
        assert "<b>hostile" not in html
        assert not re.search("[\0-\x09\x0b-\x1f\x7f\u202e]", html)
    assert "<script" not in page(feature)
