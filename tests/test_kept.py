"""Runs and atlases kept in an object store: gone on with on another machine whatever goes wrong, and finished with the same bytes."""

import contextlib
import importlib.util
import itertools
import json
import threading
from pathlib import Path

import pytest
import s3_store
import torch

from hooke import tiny
from hooke.builder import AtlasSettings, build_atlas
from hooke.errors import BadConfig, BadFile, Busy, Missing
from hooke.names import Site
from hooke.shards.kept import MANIFEST, Kept
from hooke.shards.place import place_at
from hooke.stores import open_store
from hooke.text.corpus import Corpus
from hooke.train import Hooks, InMemory, RunFolder, TrainConfig, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
needs_s3 = [
    pytest.mark.skipif(importlib.util.find_spec("s3fs") is None or importlib.util.find_spec("moto") is None, reason="needs s3fs and moto"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
CONFIGS = {f"toy/resid_post.0/{name}": TrainConfig(d_sae=24, l0=4, steps=7, dead_after=500) for name in "a"}
SETTINGS = {"model": "toy", "batch": 32, "saes": {name: {"d_sae": 24} for name in CONFIGS}}
WRONG = {"errors": 0.05, "unheard": 0.05, "cut": 0.2, "twice": 0.2}


@pytest.fixture
def faults(monkeypatch):
    with s3_store.store(monkeypatch) as found:
        yield found


def go(where: Path | str, stop: int = 1000) -> dict[str, bytes]:
    """Train until step `stop`, with a checkpoint after each; the SAEs."""
    asked = itertools.count(1)
    hooks = Hooks(stop=lambda: next(asked) == stop, checkpoint_s=0.0)
    acts = {Site(0, "resid_post"): torch.randn(500, 8, generator=torch.Generator().manual_seed(0))}
    run = RunFolder(where, SETTINGS)
    with run.opened():
        for name, sae in train(CONFIGS, InMemory(acts, 32), acts, model="toy", context=16, hooks=hooks, folder=run).items():
            sae.save(run.sae_path(name))
        run.keep_finished()
    return {name: run.sae_path(name).read_bytes() for name in CONFIGS}


class TestS3:
    pytestmark = needs_s3

    def test_a_run_goes_on_elsewhere_whatever_goes_wrong(self, faults, tmp_path, monkeypatch):
        whole = go(tmp_path / "whole")
        for share, value in WRONG.items():
            setattr(faults, share, value)
        found = {}
        for machine, stop in enumerate((3, 2, 1000)):
            monkeypatch.setenv("HOOKE_HOME", str(tmp_path / str(machine)))
            with contextlib.suppress(KeyboardInterrupt):
                found = go("s3://lab/runs/one", stop)
        for share in WRONG:
            setattr(faults, share, 0.0)
        assert found == whole
        place = place_at("s3://lab/runs/one/saes/resid_post.0")
        assert {name: place.read(f"{name[-1]}.safetensors") for name in CONFIGS} == whole
        assert len(faults.seen) > 2

    def test_of_two_at_the_same_run_the_second_is_told(self, faults, tmp_path, monkeypatch):
        monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "one"))
        run = RunFolder("s3://lab/runs/two", SETTINGS)
        with run.opened():
            monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "other"))
            with contextlib.suppress(KeyboardInterrupt):
                go("s3://lab/runs/two", 2)
            run.event("speed", 1)
            with pytest.raises(Busy, match=r"another process has written s3://lab/runs/two/kept\.json meanwhile"):
                run._keep()

    def test_two_that_keep_files_by_turns_never_wait_for_each_other_in_vain(self, faults, tmp_path):
        turns = {}
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            turns[name] = Kept("s3://lab/turns", tmp_path / name, shared=True)
        for number in range(3):
            for name, kept in turns.items():
                (tmp_path / name / f"{name}-{number}").write_text(f"{name} {number}")
                kept.put([f"{name}-{number}"])
        assert sorted(Kept("s3://lab/turns", tmp_path).names) == [f"{name}-{number}" for name in "ab" for number in range(3)]

    def test_a_write_whose_answer_was_lost_is_done_though_another_follows_at_once(self, faults, tmp_path):
        mine, others = place_at("s3://lab/lost"), place_at("s3://lab/lost")
        swapped, read = mine._swapped, mine.read

        def unheard(*asked):
            swapped(*asked)
            raise FileExistsError  # what the same request gets when it is sent again

        def followed(name):
            found = read(name)
            others.replace(MANIFEST, found, b"theirs")
            return found

        mine._swapped, mine.read = unheard, followed
        mine.replace(MANIFEST, None, b"mine")
        assert others.read(MANIFEST) == b"theirs"
        mine._swapped, mine.read = swapped, read
        with pytest.raises(Busy, match="another process has written"):
            mine.replace(MANIFEST, b"mine", b"mine again")
        assert others.read(MANIFEST) == b"theirs"

    def test_several_processes_keep_their_parts_side_by_side(self, faults, tmp_path):
        """Each on a machine of its own, all at once: nothing that one has put is lost by what another puts."""
        faults.errors, faults.unheard = 0.05, 0.05

        def puts(part: int) -> None:
            folder = tmp_path / str(part)
            folder.mkdir()
            kept = Kept("s3://lab/parts", folder, shared=True)
            for number in range(4):
                (folder / f"{part}-{number}").write_text(f"{part} {number}")
                kept.put([f"{part}-{number}"], gone=lambda name: name.startswith(f"{part}-"))

        threads = [threading.Thread(target=puts, args=(part,)) for part in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = Kept("s3://lab/parts", tmp_path / "all")
        kept.fetch()
        assert sorted(kept.names) == ["0-3", "1-3", "2-3"]
        assert {path.name: path.read_text() for path in (tmp_path / "all").iterdir()} == {"0-3": "0 3", "1-3": "1 3", "2-3": "2 3"}

    def test_a_bucket_that_is_missing_or_refuses_is_said_before_anything_is_done(self, faults, tmp_path, monkeypatch):
        monkeypatch.setenv("HOOKE_HOME", str(tmp_path))
        with pytest.raises(Missing, match="there is no bucket 'nowhere'"), RunFolder("s3://nowhere/run", SETTINGS).opened():
            pass
        faults.refused = ("PUT",)
        with pytest.raises(BadConfig, match="the store refuses it"), RunFolder("s3://lab/run", SETTINGS).opened():
            pass

    def test_an_atlas_goes_on_elsewhere_whatever_goes_wrong(self, faults, tmp_path, command, monkeypatch):
        (tmp_path / "tiny").mkdir()
        tiny.save(tmp_path / "tiny")
        tiny.sae().save(tmp_path / "sae.safetensors")
        words = [word for group in tiny.concepts.values() for word in group]
        lines = [" ".join(words[(i * 7 + j * j) % len(words)] for j in range(3 + i % 5)) for i in range(300)]
        (tmp_path / "news.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
        monkeypatch.chdir(tmp_path)
        model, corpus = tiny.model(), Corpus("news", tmp_path / "news.jsonl")
        settings = AtlasSettings(600, 8, examples=4, background=20, chunk_tokens=100, workers=1)
        whole = build_atlas(model, [tiny.sae()], [corpus], tmp_path / "whole.sqlite", settings)
        for share, value in WRONG.items():
            setattr(faults, share, value)

        def stopping(stage: str, done: int, _: int) -> None:
            if stage == "Reading" and done > 250:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_atlas(model, [tiny.sae()], [corpus], tmp_path / "one.sqlite", settings, progress=stopping, kept="s3://lab/atlas.work")
        read: list[int] = []
        other = tmp_path / "elsewhere" / "one.sqlite"
        build_atlas(
            model,
            [tiny.sae()],
            [corpus],
            other,
            settings,
            progress=lambda stage, done, _: read.append(done) if stage == "Reading" else None,
            kept="s3://lab/atlas.work",
        )
        assert read[0] >= 200, "what the first had read is not read again"
        assert other.read_bytes() == whole.read_bytes()
        assert Kept("s3://lab/atlas.work", tmp_path / "left").names == []
        for share in WRONG:
            setattr(faults, share, 0.0)
        asked = ("atlas", "build", "sae.safetensors", "--model", "tiny", "--corpus", "news.jsonl", "--tokens", "300", "--out")
        monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
        assert command(*asked, "s3://lab/atlas.sqlite")[0] == 0
        assert place_at("s3://lab").size("atlas.sqlite")
        code, _, err = command(*asked, "s3://lab/atlas.sqlite")
        assert (code, "s3://lab/atlas.sqlite is there already" in err) == (2, True)
        monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "another"))
        found = command("search", "storm", "--atlas", "s3://lab/atlas.sqlite", "--json")
        faults.refused = ("GET",)  # what was fetched is kept
        assert command("search", "storm", "--atlas", "s3://lab/atlas.sqlite", "--json") == found
        assert found[0] == 0
        assert json.loads(found[1])["hits"]
        faults.refused = ()
        assert command("feature", "0/3", "--atlas", "s3://lab")[0] == 0, "the only one there"
        system, path = open_store("s3://lab/texts/news.jsonl")
        system.pipe_file(path, b"{}")
        code, _, err = command("feature", "0/3", "--atlas", "s3://lab/texts")
        assert (code, "s3://lab/texts holds no files .sqlite; there is news.jsonl" in err) == (2, True)
        assert command("search", "storm", "--atlas", "s3://lab/runs")[0] == 4


def test_what_was_kept_is_had_again_and_what_is_damaged_is_found_out(tmp_path):
    here, there, address = tmp_path / "here", tmp_path / "there", str(tmp_path / "store")
    here.mkdir()
    (here / "a").write_text("one")
    (here / "b").write_text("")
    kept = Kept(address, here)
    kept.put(["a", "b"])
    (here / "a").write_text("two")
    kept.put(["a"])
    there.mkdir()
    (there / "stray").write_text("of an earlier run")
    Kept(address, there).restore()
    assert {path.name: path.read_text() for path in there.iterdir()} == {"a": "two", "b": ""}
    assert len(list((tmp_path / "store").iterdir())) == 3
    (object_of_a,) = (tmp_path / "store").glob("a.*")
    object_of_a.write_text("six")
    (there / "a").unlink()
    with pytest.raises(BadFile, match=r"store/a\.\w+ is damaged"):
        Kept(address, there).restore()
    assert not (there / "a").exists()
    (tmp_path / "store" / MANIFEST).write_text('{"schema": 9, "files": {}}')
    with pytest.raises(BadFile, match="cannot be read"):
        Kept(address, there)
