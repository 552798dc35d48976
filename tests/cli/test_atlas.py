"""`hooke atlas build` as people run it: what it says, where the file goes, that it is found, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import planted
import pytest
from builder.test_builder import write_corpus

from hooke import tiny
from hooke.atlas import Atlas
from hooke.cli.output import print_line
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
    assert re.search(r"; 0 attention sinks and \d+ special tokens left out\.", out)
    assert "have a label" in out
    assert f"1,000 tokens for 1 SAE with 64 features; until {path} is there, about 0.0 MB beside it." in err
    assert "Reading" in err
    assert atlas_file(tiny.sae()) == atlas_file(NAME) == path
    atlas = Atlas(path)
    assert atlas.saes[NAME].digest == digest(tiny.sae())
    assert "loan" in " ".join(token.text for token in atlas.feature(f"{NAME}/0").tokens)
    assert sorted(file.name for file in path.parent.iterdir()) == ["index.json", "tiny.sqlite"]


def test_names_can_be_tried_on_what_forty_examples_keep(build, tmp_path, command):
    few, many = tmp_path / "few.sqlite", tmp_path / "many.sqlite"
    for out, examples in ((few, "20"), (many, "40")):
        assert build("--tokens", "3k", "--workers", "1", "--examples", examples, "--out", str(out))[0] == 0
    score = ("explain", NAME, "--score", "--against", "rule", "--batch-out", str(tmp_path / "asked.jsonl"), "--atlas")
    code, _, err = command(*score, str(few))
    assert (code, "keeps too few held-out places" in " ".join(err.split()), "--examples 40" in err) == (2, True, True)
    code, _, err = command(*score, str(many))
    assert code == 0
    assert (tmp_path / "asked.jsonl").read_text().count("FEATURE: ") > 0


def test_an_atlas_says_with_what_it_was_made(build, tmp_path, command):
    assert build("--tokens", "1k", "--workers", "1", "--seed", "3")[0] == 0
    path = tmp_path / "home" / "atlases" / "tiny.sqlite"
    code, out, _ = command("atlas", "check", str(path), "--json")
    (found,) = json.loads(out)["atlases"]
    made = found["made"][""]
    assert (code, found["problems"], made["seed"]) == (0, [], 3)
    assert made["saes"] == [{"name": NAME, "sha256": digest(tiny.sae())}]
    assert made["command"].startswith("hooke atlas build tiny/sae.safetensors --model tiny")
    assert {len(made["corpus_sha256"]), len(made["models"][0]["sha256"])} == {64}
    _, out, _ = command("atlas", "check", str(path))
    assert "is whole.\n  Made with:\n" in out
    assert made["corpus_sha256"] in out


def test_from_a_harvest_the_model_reads_nothing_again(build, command, tmp_path, monkeypatch):
    acts, read = str(tmp_path / "acts"), ["--model", "tiny", "--corpus", "stories.jsonl", "--context", "24"]
    assert command("harvest", *read, "--site", str(tiny.sae().site), "--tokens", "900", "--out", acts)[0] == 0
    monkeypatch.setattr("hooke.builder.read_codes", None)
    code, out, _ = build("--acts", acts, "--tokens", "5k", "--workers", "1", "--json", "--out", str(tmp_path / "mine.sqlite"))
    assert (code, json.loads(out)["tokens"]) == (0, 900)


def test_json_and_another_place(build, tmp_path):
    code, out, _ = build("--tokens", "1000000", "--workers", "1", "--examples", "3", "--json", "--out", str(tmp_path / "mine.sqlite"))
    found = json.loads(out)
    assert code == 0
    assert found["path"] == str(tmp_path / "mine.sqlite")
    assert found["asked"] == 1_000_000 > found["tokens"] > 1000
    assert found["left_out"]["sinks"] == 0 < found["left_out"]["special"]
    assert found["bytes"] == (tmp_path / "mine.sqlite").stat().st_size
    (row,) = found["saes"]
    assert (row["sae"], row["features"], row["fired"]) == (NAME, 64, 55)
    assert 0 < row["clearly"] <= row["labelled"] <= row["fired"]
    assert atlas_file(NAME) is None, "what was written elsewhere is not found unasked"
    assert not (tmp_path / "home").exists()
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


@pytest.fixture
def unread(monkeypatch):
    """Text is not read: the work is a file written at once."""

    def write(_model, saes, _corpora, path, *_, **__):
        planted.write(path, saes)

    monkeypatch.setattr("hooke.builder.build_atlas", write)
    monkeypatch.setattr("hooke.cli.atlas_build._summarize", lambda path, *_, **__: print_line({"path": str(path)}))


def test_a_place_that_cannot_be_written_is_told_before_the_work(build, tmp_path, monkeypatch):
    monkeypatch.setattr("hooke.builder.build_atlas", lambda *_, **__: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("")
    code, out, err = build("--out", str(tmp_path / "file" / "mine.sqlite"))
    assert (code, out) == (2, "")
    assert "cannot write" in err
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "file"))
    assert build()[0] == 2


def test_a_finished_atlas_that_cannot_be_registered_is_a_success_with_a_warning(build, tmp_path, unread):
    (tmp_path / "home" / "atlases").mkdir(parents=True)
    (tmp_path / "home" / "atlases" / "index.json").write_text("[")
    code, out, err = build()
    path = tmp_path / "home" / "atlases" / "tiny.sqlite"
    assert code == 0
    assert json.loads(out) == {"path": str(path)}
    assert path.is_file()
    assert f"Use it with --atlas {path}." in err


def test_an_atlas_of_ones_own_is_used_where_it_is_given(build, tmp_path, unread, command):
    from hooke.analysis import Options, Reader

    path = tmp_path / "mine.sqlite"
    assert build("--out", str(path))[0] == 0
    reader = Reader.load("tiny", ["tiny/sae.safetensors"], Options(), atlas=path)
    assert reader.labelled_saes[0].atlas is not None
    assert reader.labelled_saes[0].atlas.path == path
    told = ("--model", "tiny", "--sae", "tiny/sae.safetensors", "--atlas", str(path), "--json")
    code, out, _ = command("analyze", "the bank and the loan", *told)
    assert code == 0
    assert json.loads(out)["saes"][0]["name"] == NAME
    other = planted.write(tmp_path / "other.sqlite", [replace(tiny.sae(), facts=replace(tiny.sae().facts, name="tiny/resid_post.1/64"))])
    code, _, err = command("analyze", "the bank", *told[:-2], str(other))
    assert code == 4
    assert f"These are in the atlas {other}" in " ".join(err.split())


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
