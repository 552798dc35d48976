"""`hooke atlas build` as people run it: what it says, where the file goes, that it is found, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import planted
import pytest
from builder.test_builder import write_corpus

from hooke import tiny
from hooke.atlas import Atlas
from hooke.sae import digest
from hooke.sae.packs import atlas_file

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = tiny.sae().name


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The planted model in ``tiny`` with its SAE, and a corpus beside it."""
    root = tmp_path_factory.mktemp("cli")
    (root / "tiny").mkdir()
    tiny.save(root / "tiny")
    write_corpus(root / "stories.jsonl")
    return root


@pytest.fixture
def build(folder, tmp_path, monkeypatch, command):
    """Run the command in `folder`, with a home of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
    common = ["tiny/sae.safetensors", "--model", "tiny", "--corpus", "stories.jsonl", "--context", "24"]
    return lambda *arguments: command("atlas", "build", *common, *arguments)


def test_an_atlas_is_built_into_hookes_folder_and_found_there(build, tmp_path):
    code, out, err = build("--tokens", "1k", "--workers", "1")
    path = tmp_path / "home" / "atlases" / "tiny.sqlite"
    assert code == 0
    assert out.startswith(f"{path}: 64 features from 1,0")
    assert f"{NAME}: " in out
    assert "have a label" in out
    assert f"1,000 tokens for 1 SAE with 64 features; until {path} is there, about 0.0 MB beside it." in err
    assert "Reading" in err
    assert atlas_file(tiny.sae()) == atlas_file(NAME) == path
    atlas = Atlas(path)
    assert atlas.saes[NAME].digest == digest(tiny.sae())
    assert "loan" in " ".join(token.text for token in atlas.feature(f"{NAME}/0").tokens)
    assert sorted(file.name for file in path.parent.iterdir()) == ["index.json", "tiny.sqlite"]


def test_json_and_another_place(build, tmp_path):
    code, out, _ = build("--tokens", "1000000", "--workers", "1", "--examples", "3", "--json", "--out", str(tmp_path / "mine.sqlite"))
    found = json.loads(out)
    assert code == 0
    assert found["path"] == str(tmp_path / "mine.sqlite")
    assert found["asked"] == 1_000_000 > found["tokens"] > 1000
    assert found["bytes"] == (tmp_path / "mine.sqlite").stat().st_size
    (row,) = found["saes"]
    assert (row["sae"], row["features"], row["fired"]) == (NAME, 64, 55)
    assert 0 < row["clearly"] <= row["labelled"] <= row["fired"]
    assert atlas_file(NAME) == tmp_path / "mine.sqlite"
    assert len(Atlas(found["path"]).feature(f"{NAME}/0").top) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tokens", "many"], "--tokens 'many' is not a whole number such as 2000, 500k or 2M."),
        (["--tokens", "-5"], "--tokens -5 is out of range"),
        (["--examples", "0"], "--examples 0 is out of range"),
        (["--out", "."], "it is a folder. Give a file's name"),
    ],
)
def test_what_is_refused(build, arguments, words):
    code, out, err = build(*arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())


def test_an_atlas_that_knows_more_is_not_replaced(build, tmp_path):
    other = tmp_path / "atlas.sqlite"
    sae = tiny.sae()
    planted.write(other, [sae, replace(sae, facts=replace(sae.facts, name="tiny/resid_post.1/64"))])
    before = other.read_bytes()
    code, _, err = build("--out", str(other))
    assert code == 2
    assert "holds an atlas that knows tiny/resid_post.1/64 too, and would be replaced" in " ".join(err.split())
    assert other.read_bytes() == before


def test_without_saes_or_text_it_says_what_to_give(command):
    for arguments, words in (([], "no SAE to make an atlas of"), (["x"], "no text to read. Give --corpus FILE")):
        code, _, err = command("atlas", "build", *arguments)
        assert code == 2
        assert words in err
