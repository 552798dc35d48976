"""Sensitive features are told by name and by tokens, and what is private in their texts is not kept, nor shown of older files."""

import sqlite3
from dataclasses import replace

import handmade
import numpy as np
import pytest
from handmade import FACTS, FIRST, GROUPS

from hooke.atlas import Atlas, AtlasWriter, SaeEntry, TextWindow
from hooke.atlas.feature import Feature, TokenShare
from hooke.atlas.packing import pack_numbers
from hooke.atlas.records import Label
from hooke.atlas.sensitive import by_name, by_tokens
from hooke.report.feature import page

TEXT = ["write", " to", " jo", ".", "bell", "@", "example", ".", "org", " or", " ring", " 020", " ", "7946", " 0958", " today"]
HIDDEN = {2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14}
PIECES = {100 + n: piece for n, piece in enumerate(TEXT)}


def written(path, pieces):
    """An atlas whose first feature fires in the middle of a text with an address and a number."""
    entry = SaeEntry(FIRST, "", 8, {"background_texts": 10, "groups": GROUPS}, np.zeros(4, np.float32))
    first = replace(handmade.record(1), index=0, top=[handmade.example(0, 9, 5.0)], intervals=[[]] * 5, misses=[])
    with AtlasWriter(path, FACTS) as writer:
        writer.windows([TextWindow(0, "letters", 1, 0, np.array(list(pieces)))])
        writer.pieces(handmade.PIECES | pieces)
        writer.sae(entry, [first])
        return writer.finish()


@pytest.mark.parametrize("name", ["religious festivals", "Swear words", "people with HIV", "murders in the news"])
def test_sensitive_by_name(name):
    assert by_name(name)


@pytest.mark.parametrize("name", ["interest rates", "the word 'by'", "Sussex and Essex", "criss-cross", "embraced", None, ""])
def test_not_by_a_piece_of_a_name(name):
    assert not by_name(name)


def test_sensitive_by_what_it_fires_on_whatever_it_is_called():
    tokens = [TokenShare(" Murder", 10, 0.08, 1.0), TokenShare("murders", 10, 0.05, 1.0), TokenShare(" the", 90, 0.5, 0.0)]
    assert by_tokens((one.text, one.share) for one in tokens)
    assert not by_tokens((one.text, one.share) for one in tokens[1:])
    plain = Feature("a/b/c/1", 0.1, 1.0, Label("weather", "word"))
    assert replace(plain, tokens=tokens).sensitive
    assert not plain.sensitive


def test_what_is_private_is_not_in_the_file_and_not_found(tmp_path):
    path = written(tmp_path / "atlas", PIECES)
    (context,) = Atlas(path).feature(f"{FIRST}/0").top
    assert [n for n, (shown, piece) in enumerate(zip(context.tokens, TEXT, strict=True)) if shown != piece] == sorted(HIDDEN)
    assert context.values[context.peak] == 5.0
    assert context.tokens[context.peak] == " or"
    held = sqlite3.connect(path).execute("SELECT content FROM piece").fetchall()
    assert not {"bell", "7946"} & {piece for (piece,) in held}
    found = Atlas(path).search('"ring"', where=("context",))
    assert len(found.hits) == 1
    assert not Atlas(path).search("bell", where=("context",)).hits


def test_an_older_file_is_covered_when_it_is_shown(tmp_path):
    path = written(tmp_path / "atlas", dict.fromkeys(PIECES, "x"))  # kept as it is: nothing in it is private
    with sqlite3.connect(path) as db:
        db.executemany("INSERT OR REPLACE INTO piece (id, content) VALUES (?, ?)", PIECES.items())
        db.execute("UPDATE window SET ids = ?", (pack_numbers(np.array(list(PIECES))),))
    for around in (32, 3):  # the address is found even where it is cut in two
        (context,) = Atlas(path).feature(f"{FIRST}/0", around=around).top
        said = "".join(context.tokens)
        assert not any(part in said for part in ("bell", "org", "020", "7946"))
        assert " or ring" in said


def test_texts_of_a_sensitive_feature_are_behind_something_to_press(tmp_path):
    feature = Atlas(written(tmp_path / "atlas", PIECES)).feature(f"{FIRST}/0")
    plain, covered = page(feature), page(replace(feature, label=Label("swear words", "word")))
    assert "A feature describes text, not people" not in plain
    assert 'class="veiled"' not in plain
    assert "A feature describes text, not people" in covered
    before, _, after = covered.partition('class="veiled"')
    assert "ring" in after
    assert "ring" not in before.partition("<main>")[2]


def test_tokens_alone_are_those_of_the_whole(tmp_path):
    atlas = Atlas(handmade.write(tmp_path / "atlas"))
    assert atlas.tokens(f"{FIRST}/1") == atlas.feature(f"{FIRST}/1").tokens != []
