"""Data in an object store, over S3's own protocol: the same bytes as on a disk whatever goes wrong on the way, each row once."""

import dataclasses
import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest
import s3_store
import torch

from hooke import stores, tiny
from hooke.errors import BadConfig, Busy, Missing, UnknownName
from hooke.harvest.saving import HarvestConfig, save
from hooke.harvest.stream import ShardStream
from hooke.model import Model
from hooke.names import Site
from hooke.shards import Shards
from hooke.shards.manifest import MANIFEST
from hooke.shards.place import place_at
from hooke.text.corpus import Corpus, windows
from hooke.text.datafiles import documents_in
from hooke.text.sources import files_of

needs_s3 = [
    pytest.mark.skipif(importlib.util.find_spec("s3fs") is None or importlib.util.find_spec("moto") is None, reason="needs s3fs and moto"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
CONFIG = HarvestConfig(600, context=7, shard_tokens=90, batch_tokens=40)
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")
WRONG = {"errors": 0.05, "unheard": 0.05, "cut": 0.2, "twice": 0.2, "slow": 0.05}


@pytest.fixture
def faults(monkeypatch):
    with s3_store.store(monkeypatch) as found:
        yield found


@pytest.fixture(scope="module")
def reading(tmp_path_factory) -> tuple[Model, Corpus]:
    folder = tmp_path_factory.mktemp("reading")
    (folder / "tiny").mkdir()
    tiny.save(folder / "tiny")
    (folder / "news.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 60))
    return Model.load(folder / "tiny"), Corpus("news", folder / "news.jsonl")


def go_wrong(faults: s3_store.Faults, seed: int, **shares: float) -> None:
    faults.draw.seed(seed)
    for name, share in (WRONG | shares).items():
        setattr(faults, name, share)


def go_right(faults: s3_store.Faults) -> None:
    for name in WRONG:
        setattr(faults, name, 0.0)
    for timer in faults.later:
        timer.join()


def contents(where: str | Path) -> dict[str, bytes]:
    """All that is there, read past Hooke."""
    if isinstance(where, Path):
        return {path.name: path.read_bytes() for path in where.iterdir()}
    system, path = stores.open_store(where)
    return {name.rpartition("/")[2]: system.cat_file(name) for name in system.find(path)}


def documents(ref: str) -> list[str]:
    return [text for file in files_of(ref) for text in documents_in(file)]


class TestS3:
    pytestmark = needs_s3

    @pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 12))])
    def test_a_harvest_has_the_same_bytes_whatever_goes_wrong(self, faults, reading, tmp_path, seed):
        model, corpus = reading
        list(save(model, [corpus], SITES, tmp_path / "here", CONFIG))
        go_wrong(faults, seed)
        first = save(model, [corpus], SITES, "s3://lab/acts", CONFIG)
        next(first), next(first)
        first.close()  # stopped after two shards, and begun anew
        assert len(list(save(model, [corpus], SITES, "s3://lab/acts", CONFIG))) == 5
        go_right(faults)
        assert contents("s3://lab/acts") == contents(tmp_path / "here")
        assert sum(faults.seen.values()) > 3

    def test_rows_in_are_rows_out(self, faults, reading):
        """All text there is: every position of every window is in a shard, once, or was left out and counted."""
        model, corpus = reading
        go_wrong(faults, 5)
        with pytest.raises(Exception, match="the corpora gave"):
            list(save(model, [corpus], SITES, "s3://lab/all", dataclasses.replace(CONFIG, tokens=100_000)))
        shards = Shards.open("s3://lab/all")
        rows = [shards.read(number) for number in range(len(shards))]
        go_right(faults)
        kept = Counter(place for part in rows for place in zip(*(part[name].tolist() for name in ("doc", "pos", "ids")), strict=True))
        texts = windows([corpus], model.tokenizer, length=CONFIG.context, seed=0)
        read = Counter((window.doc, pos, token) for window in texts for pos, token in enumerate(window.ids))
        assert shards.complete
        assert shards.tokens == kept.total()
        assert shards.tokens + sum(shards.left_out.values()) == read.total()
        assert kept <= read

    def test_training_reads_the_same_batches(self, faults, reading, tmp_path):
        model, corpus = reading
        for where in (tmp_path / "here", "s3://lab/acts"):
            list(save(model, [corpus], SITES, where, CONFIG))
        go_wrong(faults, 2, cut=0.3)
        here, there = (
            list(ShardStream(Shards.open(where), SITES, capacity=64, batch=32).batches()) for where in (tmp_path / "here", "s3://lab/acts")
        )
        assert len(here) == len(there)
        for mine, theirs in zip(here, there, strict=True):
            assert all(torch.equal(mine.acts[site], theirs.acts[site]) for site in SITES)

    def test_a_corpus_is_read_as_it_is(self, faults, reading):
        _, corpus = reading
        system, _ = stores.open_store("s3://lab")
        raw = Path(corpus.path).read_bytes()
        system.pipe_file("lab/texts/news.jsonl", raw * 40)
        go_wrong(faults, 3)
        for ref in ("s3://lab/texts/news.jsonl", "s3://lab/texts", "s3://lab/texts/*.jsonl"):
            found = documents(ref)
            assert found == list(TEXTS * 60 * 40)

    def test_two_at_the_same_harvest_write_it_once(self, faults, reading, tmp_path):
        """By turns, each knowing nothing of the other: what both write is the same, and whoever comes second leaves it."""
        model, corpus = reading
        list(save(model, [corpus], SITES, tmp_path / "here", CONFIG))
        one, two = (save(model, [corpus], SITES, "s3://lab/acts", CONFIG) for _ in range(2))
        next(one), next(two), next(one)
        assert len(Shards.open("s3://lab/acts")) == 2
        next(two), next(two)
        with pytest.raises(Busy, match=r"another process has written s3://lab/acts/manifest\.json meanwhile"):
            next(one), next(one)
        list(two)
        assert contents("s3://lab/acts") == contents(tmp_path / "here")

    def test_a_late_writer_with_other_numbers_is_refused(self, faults, reading):
        model, corpus = reading
        late = place_at("s3://lab/acts")
        list(save(model, [corpus], SITES, "s3://lab/acts", CONFIG))
        before = contents("s3://lab/acts")
        with pytest.raises(Busy, match=r"shard-00001\.safetensors is there already with other content"):
            late.write("shard-00001.safetensors", [memoryview(b"late")])
        with pytest.raises(Busy, match="another process has written"):
            late.replace(MANIFEST, b"what was there when it began", b"late")
        with pytest.raises(Busy, match="another process has written"):
            late.replace(MANIFEST, None, b"late")
        assert contents("s3://lab/acts") == before

    def test_an_object_larger_than_a_part_is_written_whole_or_not_at_all(self, faults):
        whole = memoryview(bytes(range(256)) * (216 << 10))
        place, pieces = place_at("s3://lab/large"), [whole[start : start + (8 << 20)] for start in range(0, len(whole), 8 << 20)]
        go_wrong(faults, 7, errors=0.2)
        assert place.write("one", pieces)[0] == len(whole)
        go_right(faults)
        assert place.read("one") == whole
        place.write("one", pieces)

        closed = memoryview(b"")
        closed.release()
        with pytest.raises(ValueError, match="released memoryview"):
            place._put("lab/large/two", [*pieces, closed])
        assert place.size("two") is None

    def test_what_cannot_be_is_said_before_anything_is_read(self, faults, reading, monkeypatch):
        model, corpus = reading

        def asked(out: str):
            list(save(model, [corpus], SITES, out, CONFIG))

        with pytest.raises(Missing, match=r"cannot look at s3://nowhere/acts/manifest\.json: there is no bucket 'nowhere'\. Make it first"):
            asked("s3://nowhere/acts")
        with pytest.raises(Missing, match="there is no bucket 'nowhere'"):
            documents("s3://nowhere/x.jsonl")
        with pytest.raises(Missing, match=r"no activation shards at s3://lab/none"):
            Shards.open("s3://lab/none")
        faults.refused = ("PUT",)
        with pytest.raises(BadConfig, match=r"the store refuses it \(Access Denied\).*do not allow it in the bucket 'lab'"):
            asked("s3://lab/acts")
        faults.refused = ("GET", "HEAD", "PUT")
        with pytest.raises(BadConfig, match=r"the store refuses it .*do not allow it in the bucket 'lab'"):
            Shards.open("s3://lab/acts")
        with pytest.raises(BadConfig, match="the store refuses it"):
            documents("s3://lab/x.jsonl")
        for name in s3_store.KEYS:
            monkeypatch.delenv(name)
        s3_store.forget()
        with pytest.raises(Missing, match=r"no credentials for s3://.*Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"):
            asked("s3://lab/acts")

    @pytest.mark.exhaustive
    def test_the_commands(self, faults, reading, command, tmp_path):
        model, corpus = reading
        common = ("--model", str(model.ref), "--site", "resid_post.0", "--corpus", str(corpus.path), "--tokens", "900")
        for out in ("s3://lab/acts", str(tmp_path / "acts")):
            assert command("harvest", *common, "--shard-tokens", "300", "--out", out)[0] == 0
            asked = ("--site", "resid_post.0", "--d-sae", "32", "--l0", "4", "--tokens", "512", "--batch", "64", "--shards", out)
            suite = tmp_path / "suite.toml"
            suite.write_text(
                f'model = {str(model.ref)!r}\nheld_out = 256\n[[sae]]\nsite = "resid_post.0"\nd_sae = 32\nl0 = 4\n'.replace("'", '"')
            )
            code, _, err = command("train", str(suite), *asked[6:], "--out", str(tmp_path / f"run-{out[0]}"))
            assert code == 0, err
        (one,), (other,) = ([*(tmp_path / f"run-{name}").rglob("saes/**/*.safetensors")] for name in ("s", "/"))
        assert one.read_bytes() == other.read_bytes()


def test_without_its_package_an_address_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for scheme, package in (("s3", r"s3fs\. pip install 'hooke\[s3\]'"), ("gs", "gcsfs. pip install gcsfs")):
        with pytest.raises(Missing, match=f"cannot reach {scheme}://lab/acts: {scheme}:// needs the package {package}"):
            Shards.open(f"{scheme}://lab/acts")


def test_an_address_of_no_kind_is_said():
    with pytest.raises(UnknownName, match=r"unknown kind of address 's4://'\. Did you mean 's3://'\?"):
        Shards.open("s4://lab/acts")


def test_a_failure_that_passes_is_tried_again_and_others_are_not(monkeypatch):
    monkeypatch.setattr(stores, "_WAIT_S", 0.0)
    calls = []

    def failing(times: int, error: Exception):
        calls.append(error)
        if len(calls) <= times:
            raise error
        return "done"

    assert stores.tried(lambda: failing(3, OSError("reset")), "read", "s3://lab/x") == "done"
    calls.clear()
    with pytest.raises(BadConfig, match="do not allow it"):
        stores.tried(lambda: failing(9, PermissionError("no")), "read", "s3://lab/x")
    assert len(calls) == 1
