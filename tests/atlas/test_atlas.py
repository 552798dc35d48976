"""An atlas file: what is written is what is read, the same input gives the same bytes, and what is no atlas says so."""

import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.atlas import BACKGROUND_STEPS, Atlas, Example, Feature, FeatureRow, SaeEntry, schema
from hooke.errors import BadConfig, BadFile, Missing, UnknownName

FIRST, SECOND = "tiny/resid_post.0/64", "tiny/resid_post.1/64"
FACTS = {"model": "tiny", "topics": ["sport", "none"], "tokens": 1234, "corpora": {"b": 0.5, "a": 0.5}}


def rows(sae: str, n: int = 5) -> list[FeatureRow]:
    rng = np.random.default_rng(len(sae))
    out = []
    for index in range(n):
        examples = [Example("the ", f"bänk{k}", "\n‮ \0 \"'", 9.5 - k, "stories") for k in range(index)]
        label, rule, score = (None, None, None) if index == 0 else (f"label {index}", "word", 0.5 + index / 16)
        feature = Feature(
            f"{sae}/{index}", index / 8, index * 1.5, label, rule, score, 10 * index, ["w"] * index, examples, ["out"] * index
        )
        out.append(FeatureRow(feature, index, rng.integers(0, 6000, BACKGROUND_STEPS), rng.integers(-8, 8, 2) / 4))
    return out


def entries() -> list[tuple[SaeEntry, list[FeatureRow]]]:
    return [
        (SaeEntry(0, FIRST, {"background_texts": 6000, "a": [1, None]}, np.linspace(-1, 1, 4, dtype=np.float32)), rows(FIRST)),
        (SaeEntry(0, SECOND, {"background_texts": 10}, np.zeros(4, np.float32)), rows(SECOND, 2)),
    ]


@pytest.fixture
def path(tmp_path) -> Path:
    Atlas.write(tmp_path / "atlas.sqlite", FACTS, entries())
    return tmp_path / "atlas.sqlite"


def test_round_trip(path):
    atlas = Atlas(path)
    assert atlas.facts == FACTS
    assert atlas.topics == ["sport", "none"]
    assert list(atlas.saes) == [FIRST, SECOND]
    for entry, written in entries():
        found, table = atlas.saes[entry.name], atlas.table(entry.name)
        assert found.facts == entry.facts
        np.testing.assert_array_equal(found.mean, entry.mean)
        np.testing.assert_array_equal(table.background, [row.background for row in written])
        np.testing.assert_array_equal(table.topics, [row.topics for row in written])
        assert table.density.tolist() == [row.feature.density for row in written]
        assert table.max.tolist() == [row.feature.max for row in written]
        assert (table.label, table.rule) == ([r.feature.label for r in written], [r.feature.rule for r in written])
        assert table.score == [r.feature.score for r in written]
        assert table.evidence.tolist() == [r.feature.evidence for r in written]
        for row in written:
            assert atlas.feature(row.feature.name) == row.feature
    atlas.close()


words = st.lists(st.text(max_size=8).filter(lambda text: text.isprintable() or text.isspace() or text == ""), max_size=4)


@settings(max_examples=25, deadline=None)
@given(
    words=words,
    outputs=words,
    number=st.floats(0, 2.0**90, width=32),
    evidence=st.integers(0, 1 << 40),
    label=st.none() | st.text(max_size=9),
)
def test_any_feature_comes_back(tmp_path_factory, words, outputs, number, evidence, label):
    text = (label or "").encode("utf-8", "ignore").decode()
    example = Example(text, text, text, number, "corpus")
    feature = Feature(f"{FIRST}/3", 0.25, number, None if label is None else text, "word", number, evidence, words, [example], outputs)
    path = tmp_path_factory.mktemp("any") / "atlas.sqlite"
    row = FeatureRow(feature, 3, np.zeros(BACKGROUND_STEPS), np.zeros(2))
    Atlas.write(path, FACTS, [(SaeEntry(0, FIRST, {}, np.zeros(4, np.float32)), [row])])
    assert Atlas(path).feature(feature.name) == feature


def test_counts_past_sixteen_bits_stay_at_the_most_they_hold(tmp_path):
    row = FeatureRow(rows(FIRST)[1].feature, 1, np.array([70_000, *range(7)]), np.zeros(2))
    Atlas.write(tmp_path / "a", FACTS, [(entries()[0][0], [row])])
    assert Atlas(tmp_path / "a").table(FIRST).background[0].tolist() == [65535, *range(7)]


def test_same_input_same_bytes(path, tmp_path):
    Atlas.write(tmp_path / "again", dict(reversed(FACTS.items())), iter(entries()))
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Atlas.write(tmp_path / "atlas.sqlite", FACTS, ((entry, (1 / 0 for _ in written)) for entry, written in entries()))
    assert list(tmp_path.iterdir()) == []


def test_opens_in_a_folder_that_cannot_be_written(path):
    path.chmod(stat.S_IRUSR)
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        before = path.stat().st_mtime_ns, os.listdir(path.parent)
        atlas = Atlas(path)
        assert atlas.feature(f"{FIRST}/1").label == "label 1"
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            atlas._db.execute("DELETE FROM fact")
        assert (path.stat().st_mtime_ns, os.listdir(path.parent)) == before
        atlas.close()
    finally:
        path.parent.chmod(stat.S_IRWXU)


def test_unknown_names(path):
    atlas = Atlas(path)
    with pytest.raises(UnknownName, match=rf"unknown SAE 'tiny/resid_post.0/65'.*Did you mean '{FIRST}'"):
        atlas.table("tiny/resid_post.0/65")
    with pytest.raises(UnknownName, match="unknown feature 99"):
        atlas.feature(f"{FIRST}/99")
    with pytest.raises(BadConfig, match="cannot read"):
        atlas.feature("nonsense")


def test_no_file(tmp_path):
    with pytest.raises(Missing, match="no atlas at"):
        Atlas(tmp_path / "none.sqlite")


def test_a_newer_file_is_refused(path):
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    with pytest.raises(BadFile, match=rf"schema {schema.VERSION + 1}; this version of Hooke reads {schema.VERSION}"):
        Atlas(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"SQLite format 3\0" + b"\xff" * 500, b"\0" * 8192])
def test_what_is_no_atlas(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadFile, match="file"):
        Atlas(tmp_path / "file")


def read_all(path: Path) -> None:
    atlas = Atlas(path)
    for entry, written in entries():
        atlas.table(entry.name)
        for row in written:
            atlas.feature(row.feature.name)


def test_a_file_cut_short_or_spoilt_is_bad_or_whole(path):
    """Whatever is wrong with the bytes, nothing but `BadFile` (or, of a row that is gone, `UnknownName`) comes out."""
    whole = path.read_bytes()
    refused = 0
    rng = np.random.default_rng(0)
    for trial in range(120):
        spoilt = bytearray(whole)
        if trial % 3 == 0:
            del spoilt[int(rng.integers(1, len(whole))) :]
        else:
            start = int(rng.integers(0, len(whole)))
            spoilt[start : start + 64] = rng.bytes(len(spoilt[start : start + 64]))
        path.write_bytes(bytes(spoilt))
        try:
            read_all(path)
        except (BadFile, UnknownName):
            refused += 1
    assert refused > 30


@pytest.mark.parametrize(
    "blob",
    [
        b"not compressed",
        zstandard.compress(b"[]"),
        zstandard.compress(b"{}"),
        zstandard.compress(b'{"words": [], "examples": [[1]], "outputs": []}'),
        zstandard.compress(b" " * (1 << 24)),
        None,
    ],
)
def test_a_spoilt_profile_is_bad(path, blob):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'profile BLOB NOT NULL', 'profile BLOB') WHERE name = 'feature'")
    db.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE feature SET profile = ? WHERE idx = 1", (blob,))
    db.close()
    with pytest.raises(BadFile, match="damaged"):
        Atlas(path).feature(f"{FIRST}/1")
