"""`hooke feature`, `hooke search`, `hooke notes` and `hooke atlas check` and `export`, as people run them."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import handmade
import planted
import pytest
from commands import Command
from handmade import FIRST, SECOND

from hooke import tiny
from hooke.sae.packs import register_atlas


@pytest.fixture
def hooke(command, tmp_path, monkeypatch) -> Command:
    """Run a command where one pack is installed, with the handmade atlas."""
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    handmade.write(tmp_path / "pack" / "atlas.sqlite")
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": tmp_path / "pack"})
    return command


def test_a_feature_in_the_terminal(hooke):
    code, out, err = hooke("feature", f"{FIRST}/1")
    assert (code, err) == (0, "")
    for said in (
        "rockets and space",
        "0.62 [0.50, 0.95] · 40 places where it fires, 80 where not",
        "0.50 (0.5 is chance)",
        "12 % of tokens · 60 tokens in 17 documents",
        "█",
        "the ⟦rocket⟧ launch into space",
        "Where it reaches 10 to 12.5",
        "Near misses",
        "“ wind” -2.00",
        "no consistent meaning found",
    ):
        assert said in " ".join(out.split()), said


def test_short_names(hooke):
    assert hooke("feature", "7/1", "--json")[1] == hooke("feature", f"{SECOND}/1", "--json")[1]
    code, _, err = hooke("feature", "9/1")
    assert (code, "a layer such as 12" in err) == (4, True)


def test_a_file_means_the_sae_in_it(hooke, tmp_path):
    tiny.sae().save(tmp_path / "mine.safetensors")
    for asked in (
        ("feature", "mine.safetensors/1"),
        ("lens", "--sae", "mine.safetensors", "a text"),
        ("attribute", "a text", "--sae", "mine.safetensors"),
    ):
        code, _, err = hooke(*asked)
        assert code == 4
        assert f"no atlas knows {tiny.sae().name}, the SAE in mine.safetensors" in err
        assert "hooke atlas build mine.safetensors --corpus FILE makes one" in err
    planted.write(tmp_path / "mine.sqlite")
    (tmp_path / "tiny").mkdir()
    tiny.save(tmp_path / "tiny")
    of_mine = ("--atlas", "mine.sqlite", "--json")
    assert json.loads(hooke("feature", "mine.safetensors/1", *of_mine)[1])["name"] == f"{tiny.sae().name}/1"
    text = "the striker and the coach"
    for asked in (
        ("lens", text, "--sae", "mine.safetensors"),
        ("attribute", text, "--sae", "mine.safetensors"),
        ("ablate", "mine.safetensors/1", text),
        ("steer", "mine.safetensors/1", "--prompt", text, "--tokens", "3", "--dose", "1"),
    ):
        code, out, err = hooke(*asked, "--model", "tiny", *of_mine)
        assert code == 0, err
        assert tiny.sae().name in out


def test_an_atlas_made_here_makes_no_short_name_ambiguous(hooke, tmp_path):
    sae = tiny.sae()
    name = "mine/" + FIRST.partition("/")[2]
    own = planted.write(tmp_path / "own.sqlite", [replace(sae, facts=replace(sae.facts, name=name))])
    before = hooke("feature", "3/1", "--json")[1]
    register_atlas(own, {name: ""})
    assert hooke("feature", "3/1", "--json")[1] == before
    assert json.loads(hooke("feature", f"{name}/1", "--json")[1])["name"] == f"{name}/1"
    assert hooke("atlas", "export", "shipped.jsonl")[0] == 0
    assert hooke("atlas", "export", "own.jsonl", "--sae", name)[0] == 0
    assert [len(Path(f"{one}.jsonl").read_text().splitlines()) for one in ("shipped", "own")] == [12, 64]


def test_json_and_html(hooke, tmp_path):
    code, out, err = hooke("feature", f"{FIRST}/3", "--json", "--html", "page.html")
    found = json.loads(out)
    assert (code, found["name"], found["label"]["token"]["value"], err) == (0, f"{FIRST}/3", 0.875, "Wrote page.html\n")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<b>hostile" not in page
    assert "RLO" in page


def test_notes_are_kept_shown_listed_and_carried(hooke, tmp_path):
    code, out, _ = hooke("feature", f"{FIRST}/2", "--star", "--note", "odd", "--label", "fuel")
    assert (code, "★ fuel" in out, "“odd”" in out, "the atlas says: no consistent meaning found" in out) == (0, True, True, True)
    assert "fuel" in hooke("search", "--starred")[1]
    assert "odd" in hooke("notes")[1]
    assert hooke("notes", "--export", "notes.json")[0] == 0
    hooke("feature", f"{FIRST}/2", "--no-star", "--note", "", "--label", "")
    assert "Nothing is written yet" in hooke("notes")[1]
    assert hooke("notes", "--import", "notes.json")[2] == "Took in 1 notes.\n"
    assert json.loads(hooke("notes", "--json")[1])["notes"][0]["note"] == "odd"
    (tmp_path / "bad.json").write_text("{")
    assert hooke("notes", "--import", "bad.json")[0] == 3


def test_search(hooke):
    code, out, _ = hooke("search", "rocket space", "--in", "label")
    assert (code, "rockets and space" in out, f"{FIRST}/1" in out) == (0, True, True)
    found = json.loads(hooke("search", "oil", "--sae", "3", "--in", "output", "--sort", "index", "--limit", "2", "--json")[1])
    assert [hit["name"] for hit in found["hits"]] == [f"{FIRST}/1", f"{FIRST}/2"]
    assert "Nothing found" in hooke("search", "zebra")[1]
    assert hooke("search", "x", "--sort", "bets")[0] == 2


def test_check(hooke, tmp_path):
    path = tmp_path / "pack" / "atlas.sqlite"
    assert "is whole" in hooke("atlas", "check")[1]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE feature SET density = 0.5 WHERE id = 2")
    code, out, err = hooke("atlas", "check", str(path), "--json")
    assert (code, "the seal is broken" in err) == (3, True)
    assert "seal" in json.loads(out)["atlases"][0]["problems"][0]


def test_export(hooke, tmp_path):
    assert hooke("atlas", "export", "out.jsonl", "--sae", "3")[0] == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 8
    assert hooke("atlas", "export", "np", "--to", "neuronpedia")[0] == 0
    assert hooke("atlas", "export", "np", "--to", "neuronpedia")[0] == 2


def test_without_an_atlas(hooke, monkeypatch):
    monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
    code, _, err = hooke("search", "x")
    assert (code, "no atlas is installed" in err) == (4, True)
    assert hooke("feature", f"{FIRST}/1", "--atlas", "nowhere.sqlite")[0] == 4
