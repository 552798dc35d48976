"""Notes: kept apart from atlases, found again after a rebuild, carried elsewhere, and clear about what is wrong."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import handmade
import numpy as np
import pytest
from handmade import FIRST

from hooke.atlas import Atlas, SaeEntry
from hooke.atlas import notes as notes_module
from hooke.atlas.feature import Written
from hooke.atlas.notes import Notes, on_network
from hooke.errors import BadConfig, BadFile, Busy, LimitReached

SAE = SaeEntry(FIRST, "ab" * 32, 8, {}, np.zeros(4))
OLD = replace(SAE, digest="")


@pytest.fixture
def notes(tmp_path) -> Notes:
    return Notes(tmp_path / "home" / "notes.sqlite")


def test_nothing_is_made_by_looking(notes, tmp_path):
    assert notes.get(SAE, 1) == Written()
    assert notes.of(SAE) == {}
    assert notes.export()["notes"] == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_put_is_kept_and_taken_away(notes):
    assert notes.put(SAE, 3, star=True, note=" odd\n‮ ") == Written(True, "odd\n‮", "")
    assert notes.put(SAE, 3, label="my \x1b[31mlabel\u202e") == Written(True, "odd\n‮", "my [31mlabel")
    notes.close()
    assert notes.of(SAE) == {3: Written(True, "odd\n‮", "my [31mlabel")}
    assert notes.get(replace(SAE, digest="cd" * 32), 3) == Written()
    notes.put(SAE, 3, star=False, note="", label="")
    assert notes.export()["notes"] == []


def test_they_survive_a_rebuild_and_win_over_the_label(notes, tmp_path):
    path = handmade.write(tmp_path / "atlas")
    notes.put(Atlas(path).saes[FIRST], 2, label="fuel", star=True)
    handmade.write(path, examples=1)
    atlas = Atlas(path, notes)
    assert (atlas.feature(f"{FIRST}/2").title, atlas.feature(f"{FIRST}/2").label.text) == ("fuel", "no consistent meaning found")
    assert atlas.feature(f"{FIRST}/1").neighbours[0].label == "fuel"
    assert [(hit.name, hit.title) for hit in atlas.search("fuel")] == [(f"{FIRST}/2", "fuel")]


def test_what_was_written_by_name_counts_once_weights_are_known(notes):
    notes.put(OLD, 1, note="before")
    assert notes.get(SAE, 1).note == "before"
    notes.put(SAE, 1, star=True)
    assert notes.export()["notes"][0]["digest"] == SAE.digest
    assert notes.of(SAE) == {1: Written(True, "before", "")}


def test_carried_to_another_machine(notes, tmp_path):
    notes.put(SAE, 1, note="here")
    notes.put(SAE, 2, star=True)
    document = json.loads(json.dumps(notes.export()))
    other = Notes(tmp_path / "other.sqlite")
    assert other.load(document) == 2
    assert other.of(SAE) == notes.of(SAE)
    assert other.load(document) == 0
    later = datetime.now(UTC) + timedelta(hours=1)
    document["notes"][0] |= {"note": "later", "changed": later.isoformat(timespec="seconds")}
    assert other.load(document) == 1
    assert other.get(SAE, 1).note == "later"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "no document of notes"),
        ({"format": "hooke notes", "notes": [{}]}, "the field 'digest' of a note is missing; it must be text"),
        ({"format": "hooke notes", "notes": [[]]}, "a note is spoilt: it needs digest, sae, "),
        (
            {
                "format": "hooke notes",
                "notes": [{"digest": "", "sae": "a", "index": -1, "star": True, "note": "", "label": "", "changed": ""}],
            },
            "-1",
        ),
    ],
)
def test_a_bad_document_changes_nothing(notes, document, said):
    with pytest.raises(BadFile, match=said):
        notes.load(document)
    assert notes.export()["notes"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"changed": "9999"}, "field 'changed' of a note, '9999', is no date"),
        ({"changed": "2026-13-41T00:00:00+00:00"}, "is no date"),
        ({"changed": "zzz" * 1000}, "is no date"),
        ({"changed": "9999-12-31T00:00:00+00:00"}, "or lies ahead"),
        ({"note": "\ud800"}, "field 'note' of a note holds half of a surrogate pair"),
        ({"sae": "\udfff"}, "field 'sae' of a note holds half"),
        ({"sae": "a" * 301}, "field 'sae' of a note, 'a{40}'..., names no SAE"),
        ({"digest": "a\x00b"}, "field 'digest' of a note, .*names no SAE"),
        ({"star": 1}, "field 'star' of a note is 1; it must be true or false"),
        ({"index": True}, "field 'index' of a note is True; it must be a whole number"),
        ({"note": "x" * 20_001}, "this note has 20,001 characters"),
        ({"index": 10**400}, "a number of more than 80 digits, which cannot be"),
    ],
)
def test_a_field_that_cannot_be_is_named(notes, tmp_path, change, said):
    notes.put(SAE, 1, note="here")
    document = notes.export()
    document["notes"][0] |= change
    other = Notes(tmp_path / "other.sqlite")
    with pytest.raises(BadFile, match=said):
        other.load(document)
    with pytest.raises(BadFile, match="these notes are of version 99"):
        other.load(notes.export() | {"version": 99})
    with pytest.raises(BadFile, match="these notes are of version True"):
        other.load(notes.export() | {"version": True})
    assert other.export()["notes"] == []


def test_what_cannot_be(notes):
    with pytest.raises(BadConfig, match="has no feature 8"):
        notes.put(SAE, 8, star=True)
    with pytest.raises(BadConfig, match="this note has 20,001 characters; it may have 20,000"):
        notes.put(SAE, 1, note="x" * 20_001)


def test_newer_damaged_and_unwritable_files(notes, tmp_path):
    notes.put(SAE, 1, star=True)
    notes.close()
    with contextlib.closing(sqlite3.connect(notes.path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(BadFile, match="notes of schema 99"):
        notes.get(SAE, 1)
    notes.path.write_bytes(b"no database" * 100)
    with pytest.raises(BadFile, match=r"damaged.*Move the file away"):
        notes.get(SAE, 1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadConfig, match="cannot write"):
        Notes(tmp_path / "file" / "notes.sqlite").put(SAE, 1, star=True)


def test_readers_read_while_a_writer_writes(notes, monkeypatch):
    notes.put(SAE, 1, note="first")
    monkeypatch.setattr(notes_module, "_WAIT", 0.05)
    with sqlite3.connect(notes.path) as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        writer.execute("UPDATE note SET note = 'second'")
        assert Notes(notes.path).get(SAE, 1).note == "first"
        with pytest.raises(Busy, match="another process is writing to the notes"):
            Notes(notes.path).put(SAE, 2, star=True)
    assert Notes(notes.path).get(SAE, 1).note == "second"


def test_no_write_ahead_log_on_a_network(notes, monkeypatch):
    monkeypatch.setattr(notes_module, "on_network", lambda path: True)
    notes.put(SAE, 1, star=True)
    with sqlite3.connect(notes.path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_which_mounts_are_networks(tmp_path, monkeypatch):
    assert not on_network(tmp_path)
    kinds = {"/": "ext4", str(tmp_path): "nfs4", str(tmp_path / "near"): "tmpfs"}
    mounts = "".join(f"x {place} {kind} rw 0 0\n" for place, kind in kinds.items())
    monkeypatch.setattr(notes_module.Path, "read_text", lambda *_: mounts)
    assert on_network(tmp_path / "a" / "notes.sqlite")
    assert not on_network(tmp_path / "near" / "notes.sqlite")


def test_two_processes_make_the_file_at_once(notes):
    code = (
        "import sys, numpy as np\nfrom hooke.atlas.notes import Notes\nfrom hooke.atlas.records import SaeEntry\n"
        "Notes(sys.argv[1]).put(SaeEntry('a/resid_post.0/b', 'd', 9, {}, np.zeros(1)), int(sys.argv[2]), star=True)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(notes.path), str(i)]) for i in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert len(notes.export()["notes"]) == 3


def test_a_full_disk_leaves_no_stub(notes, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(notes_module, "_set_up", full)
        with pytest.raises(LimitReached, match="no room to write the notes"):
            notes.put(SAE, 1, star=True)
    assert not notes.path.exists()
    notes.put(SAE, 1, star=True)
    assert notes.get(SAE, 1).star
