"""Writing an atlas: whole or not at all, one writer at a time, and clear about records that do not fit."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import handmade
import numpy as np
import pytest
from handmade import FACTS, FIRST
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.atlas import Atlas, AtlasWriter, SaeEntry
from hooke.atlas.packing import pack_numbers, squeeze, unpack_numbers, unsqueeze
from hooke.atlas.records import Label, Score
from hooke.atlas.store import join_pieces
from hooke.errors import BadConfig, Busy

SAE = SaeEntry(FIRST, "", 8, {}, np.zeros(4))


def test_nothing_is_left_behind_and_the_old_stays_when_writing_fails(tmp_path):
    path = handmade.write(tmp_path / "atlas.sqlite")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), AtlasWriter(path, FACTS) as writer:
        writer.sae(SAE, (1 / 0 for _ in range(2)))
    with AtlasWriter(path, FACTS):
        pass
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["atlas.sqlite"]


def test_a_reader_keeps_the_atlas_it_opened(tmp_path):
    path = handmade.write(tmp_path / "atlas.sqlite")
    atlas = Atlas(path)
    with AtlasWriter(path, FACTS) as writer:
        writer.sae(SAE, [])
        assert atlas.feature(f"{FIRST}/1").count == 60
        writer.finish()
    assert atlas.feature(f"{FIRST}/1").count == 60
    assert list(Atlas(path).saes) == [FIRST]


def test_one_writer_at_a_time(tmp_path):
    with AtlasWriter(tmp_path / "a", FACTS), pytest.raises(Busy, match=r"another process is writing .*\.a\.part"):
        AtlasWriter(tmp_path / "a", FACTS)
    handmade.write(tmp_path / "a")


def test_a_killed_writer_leaves_what_the_next_one_overwrites(tmp_path):
    code = (
        "import sys, time\nfrom hooke.atlas import AtlasWriter\nwriter = AtlasWriter(sys.argv[1], {})\n"
        "writer.pieces({i: 'x' * 999 for i in range(9999)})\nprint('there', flush=True)\ntime.sleep(60)"
    )
    wanted = handmade.write(tmp_path / "wanted").read_bytes()
    running = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "atlas")], stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == b"there\n"
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    assert not (tmp_path / "atlas").exists()
    deadline = time.monotonic() + 5
    while (tmp_path / ".atlas.part").exists() and time.monotonic() < deadline:
        assert handmade.write(tmp_path / "atlas").read_bytes() == wanted
    assert sorted(os.listdir(tmp_path)) == ["atlas", "wanted"]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([handmade.record(3), handmade.record(2)], "feature 2 .* comes after 3"),
        ([handmade.record(8)], "feature 8 .* of 8"),
        ([replace(handmade.record(1), topics=np.zeros(5))], "topics"),
        ([replace(handmade.record(1), top=[handmade.example(77, 0, 1.0)])], "points to window 77"),
        ([replace(handmade.record(1), promoted=[(12345, 1.0)])], "token 12345 .* no text for it"),
        ([replace(handmade.record(1), mean=float("nan"))], "feature 1 .*not finite|nan"),
    ],
)
def test_records_that_do_not_fit(tmp_path, records, said):
    def write() -> None:
        with AtlasWriter(tmp_path / "a", FACTS) as writer:
            writer.windows(handmade.windows())
            writer.pieces(handmade.PIECES)
            writer.sae(SAE, records)
            writer.finish()

    with pytest.raises(BadConfig, match=said):
        write()
    assert os.listdir(tmp_path) == []


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=300))
def test_numbers_come_back(numbers):
    assert unpack_numbers(pack_numbers(np.array(numbers, np.int64))).tolist() == numbers


@pytest.mark.parametrize("blob", [b"", b"\0", squeeze(b"x" * 100)[:-1], squeeze(bytes(5000)), squeeze(b"x" * 100)[:-1] + b"?"])
def test_what_was_not_squeezed_is_refused(blob):
    with pytest.raises(Exception, match=r"compress|content size|unpack|checksum|frame"):
        unsqueeze(blob, 4999)


@settings(max_examples=60)
@given(text=st.text(), data=st.data())
def test_a_text_cut_anywhere_into_pieces_is_that_text(text, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    found = join_pieces(pieces)
    assert len(found) == len(pieces)
    assert "".join(found) == text


def test_a_label_of_whole_texts_shows_how_well_it_finds_them(tmp_path):
    label = Label("texts on sport", "topic", document=Score(0.9, 0.8, 0.95, 12, 30))
    with AtlasWriter(tmp_path / "a", FACTS) as writer:
        writer.windows(handmade.windows())
        writer.pieces(handmade.PIECES)
        writer.sae(SAE, [replace(handmade.record(index), label=label) for index in range(8)])
        writer.finish()
    table = Atlas(tmp_path / "a").table(FIRST)
    assert (table.label[1], table.score[1], int(table.evidence[1])) == ("texts on sport", 0.9, 12)
