"""An atlas made from end to end: the same for any batches, workers, chunks and kills, with every figure that of brute force."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

from hooke import tiny
from hooke.atlas import Atlas
from hooke.builder import AtlasSettings, build_atlas, cache_bytes, work_folder
from hooke.errors import BadConfig, Busy, LimitReached, Missing, ShapeMismatch
from hooke.files import sole_writer
from hooke.harvest.saving import HarvestConfig, save
from hooke.sae import Sae, SaeFacts
from hooke.shards import Shards
from hooke.shards.manifest import acts_column
from hooke.text.corpus import Corpus, windows
from hooke.topics import load_topics

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS, CONTEXT = 1500, 24
SMALL = {"background": 30, "chunk_tokens": 300, "batch_tokens": 256, "workers": 1}
topics, none = load_topics()
FEW = tuple(replace(topic, examples=topic.examples[:3]) for topic in topics), none[:3]
"""A few headlines of each topic: reading all of them takes longer than all the rest."""


def write_corpus(path: Path, documents: int = 120, length: int = 25) -> Corpus:
    rng = np.random.default_rng(5)
    words = [word for group in tiny.concepts.values() for word in group] + [
        "the",
        "a",
        "of",
        "in",
        "to",
        "and",
        "for",
        "on",
        "with",
        "after",
    ]
    lines = [{"text": " ".join(rng.choice(words, length))} for _ in range(documents)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Corpus(path.stem, path)


def other() -> Sae:
    """A transcoder of random weights: it reads one site and writes another."""
    generator = torch.Generator().manual_seed(0)
    encode, decode = torch.randn(tiny.D_MODEL, 40, generator=generator), torch.randn(40, tiny.D_MODEL, generator=generator)
    facts = SaeFacts("tiny/mlp_in.1/40", "tiny", reads=["resid_mid.1"], writes=["mlp_out.1"])
    return Sae(encode, torch.zeros(40), decode, torch.zeros(tiny.D_MODEL), torch.full((40,), 9.0), facts)


def go(path: Path, corpus: Corpus, tokens: int = TOKENS, progress=None, saes=None, acts=None, **settings) -> Path:
    chosen = AtlasSettings(tokens, CONTEXT, **(SMALL | settings))
    with mock.patch("hooke.builder.background.load_topics", return_value=FEW):
        return build_atlas(tiny.model(), saes or [tiny.sae(), other()], [corpus], path, chosen, acts=acts, progress=progress)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "stories.jsonl")


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory) -> Path:
    return go(tmp_path_factory.mktemp("built") / "atlas.sqlite", corpus)


def test_figures_are_those_of_brute_force(built, corpus):
    """One window at a time, dense, nothing streamed."""
    model, sae, atlas, n = tiny.model(), tiny.sae(), Atlas(built), 0
    parts, ids, docs = [], [], []
    for window in windows([corpus], model.tokenizer, length=CONTEXT, seed=0):
        acts = model.capture(torch.tensor([window.ids]), [sae.site])[sae.site][0, 1:]
        parts.append(sae.encode(acts).dense())
        ids += window.ids[1:]
        docs += [window.doc] * (len(window.ids) - 1)
        n += len(window.ids) - 1
        if n >= TOKENS:
            break
    dense = torch.cat(parts)
    assert atlas.facts["tokens"] == n == atlas.saes[sae.name].facts["tokens"]
    assert atlas.saes[sae.name].facts["explained"] > 0.99
    table = atlas.table(sae.name)
    np.testing.assert_allclose(table.density, (dense > 0).float().mean(0), rtol=1e-6)
    np.testing.assert_allclose(table.max, dense.amax(0), rtol=1e-5)
    for i in (0, 3, tiny.UBIQUITOUS, 20, 60):
        feature, own = atlas.feature(f"{sae.name}/{i}"), dense[:, i]
        assert feature.count == int((own > 0).sum())
        assert sum(feature.histogram) == feature.count
        assert feature.documents == len({docs[row] for row in own.nonzero()[:, 0].tolist()})
        np.testing.assert_allclose([e.values[e.peak] for e in feature.top[:1]], own.topk(1).values if feature.count else [], rtol=1e-2)
        strongest = [e.values[e.peak] for e in feature.top]
        assert strongest == sorted(strongest, reverse=True)
    finance = atlas.feature(f"{sae.name}/0")
    assert {token.text.strip().lower() for token in finance.tokens} <= set(tiny.concepts["finance"])
    assert {token.text.strip().lower() for token in finance.promoted} <= set(tiny.concepts["finance"])


def test_an_atlas_of_a_harvest_has_the_figures_of_its_activations(corpus, tmp_path):
    """Of the corpora that are named, and of no other text in it."""
    model, sae, further = tiny.model(), tiny.sae(), write_corpus(tmp_path / "further.jsonl", documents=60)
    config = HarvestConfig(TOKENS, CONTEXT, shard_tokens=400)
    for _ in save(model, [corpus, further], [sae.site], tmp_path / "acts", config):
        pass
    shards = Shards.open(tmp_path / "acts")
    rows = [shards.read(i) for i in range(len(shards))]
    own = torch.cat([part["corpus"] for part in rows]) == 0
    acts = torch.cat([part[acts_column(sae.site)] for part in rows])[own]
    dense = sae.encode(acts.float()).dense()
    atlas = Atlas(go(tmp_path / "atlas.sqlite", corpus, saes=[sae], acts=shards))
    assert 0 < atlas.facts["tokens"] == int(own.sum()) < TOKENS
    np.testing.assert_allclose(atlas.table(sae.name).density, (dense > 0).float().mean(0), rtol=1e-6)
    np.testing.assert_allclose(atlas.table(sae.name).max, dense.amax(0), rtol=1e-6)
    texts = {document["text"] for document in map(json.loads, corpus.path.read_text().splitlines())}
    for example in (e for i in range(0, sae.d_sae, 5) for e in atlas.feature(f"{sae.name}/{i}").top):
        assert any("".join(example.tokens).strip() in text for text in texts)
    with pytest.raises(BadConfig, match=r"hold no text of elsewhere; they have further, stories"):
        go(tmp_path / "none.sqlite", replace(corpus, name="elsewhere"), saes=[sae], acts=shards)


def test_batches_workers_and_chunks_change_nothing(built, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("hooke.engine._WORTH_IT", 10)  # so that three workers are three processes
    for number, settings in enumerate(({"batch_tokens": 24, "chunk_tokens": 40}, {"workers": 3}, {"chunk_tokens": 5000})):
        again = Atlas(go(tmp_path / f"{number}.sqlite", corpus, **settings))
        for name in Atlas(built).saes:
            for index in range(0, again.saes[name].d_sae, 7):
                one, two = (atlas.feature(f"{name}/{index}") for atlas in (Atlas(built), again))
                assert (one.count, one.histogram, one.label) == (two.count, two.histogram, two.label)
                assert [(e.doc, e.peak) for e in one.top] == [(e.doc, e.peak) for e in two.top]
                assert [(e.doc, e.peak) for e in one.misses] == [(e.doc, e.peak) for e in two.misses]
    assert (tmp_path / "1.sqlite").read_bytes() == built.read_bytes()  # the same sums in the same order: to the bit
    assert list(tmp_path.glob("*.work")) == []


def go_little(path: Path, corpus: Corpus, tokens: int = 400, progress=None) -> Path:
    """As many chunks as above, of less text, and half as many features."""
    return go(path, corpus, tokens, progress, [other()], chunk_tokens=80)


def test_killed_at_random_moments_it_ends_with_the_same_bytes(corpus, tmp_path, thorough):
    """SIGKILL; after each one the atlas that was there before is whole, and in the end the new one is what it should be."""
    path, after, times = tmp_path / "atlas.sqlite", tmp_path / "after", 10 if thorough else 1
    shutil.copy(go_little(path, corpus), after)
    shutil.copy(go_little(path, corpus, tokens=200), tmp_path / "before")
    # A process kills itself, for from outside one cannot aim: at a report of progress, or at a call that makes something safe on disk.
    code = (
        "import os, random, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "import pathlib, torch; torch.set_num_threads(1)\n"
        "from builder import test_builder as t\n"
        "from hooke.text.corpus import Corpus\n"
        "draw, real, kills = random.Random(3), os.fsync, 0\n"
        "times, (path, text, old, new) = int(sys.argv[2]), map(pathlib.Path, sys.argv[3:])\n"
        "t.go_little(text.with_name('warm'), Corpus('stories', text)).unlink()\n"  # the compiled code is loaded once for all forks
        "while kills < times:\n"
        "    safe, left = draw.random() < 0.5, iter(range(draw.randrange(1, 14)))\n"
        "    if child := os.fork():\n"
        "        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "        assert code in (0, -signal.SIGKILL)\n"
        "        kills += code != 0\n"
        "        assert path.read_bytes() in (old.read_bytes(), new.read_bytes())\n"
        "        if code == 0: path.write_bytes(old.read_bytes())\n"
        "        continue\n"
        "    def stop(*_):\n"
        "        if next(left, None) is None: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if safe: os.fsync = lambda handle: (stop(), real(handle))\n"
        "    t.go_little(path, Corpus('stories', text), progress=None if safe else stop)\n"
        "    os._exit(0)\n"
    )
    arguments = [str(Path(__file__).parent.parent), str(times), str(path), str(corpus.path), str(tmp_path / "before"), str(after)]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], timeout=300, check=True)
    assert go_little(path, corpus).read_bytes() == after.read_bytes()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["after", "atlas.sqlite", "before"]


def test_stopped_and_called_with_other_settings_it_says_so(corpus, tmp_path):
    def stop(stage, done, total):
        if done > 700:
            raise KeyboardInterrupt

    path = tmp_path / "atlas.sqlite"
    with pytest.raises(KeyboardInterrupt):
        go(path, corpus, progress=stop)
    assert not path.exists()
    with pytest.raises(BadConfig, match=r"atlas\.sqlite\.work holds an unfinished atlas made with other settings: tokens=1500 \(now 900\)"):
        go(path, corpus, tokens=900)
    with sole_writer(work_folder(path)), pytest.raises(Busy, match="another process is writing"):
        go(path, corpus)


def test_a_corpus_shorter_than_asked_is_read_to_its_end(corpus, tmp_path):
    atlas = Atlas(go(tmp_path / "atlas.sqlite", corpus, tokens=10**6, saes=[tiny.sae()]))
    everything = sum(len(w.ids) - 1 for w in windows([corpus], tiny.model().tokenizer, length=CONTEXT, seed=0))
    assert (atlas.facts["tokens"], atlas.facts["asked"]["tokens"]) == (everything, 10**6)


def test_one_giant_document(tmp_path):
    """No feature shows more than two places of it, and nothing grows with its length."""
    corpus = write_corpus(tmp_path / "book.jsonl", documents=1, length=3000)
    atlas = Atlas(go(tmp_path / "atlas.sqlite", corpus, saes=[tiny.sae()], chunk_tokens=500))
    assert atlas.facts["documents"] == 1
    feature = atlas.feature("tiny/resid_post.0/64/0")
    assert (feature.documents, len(feature.top)) == (1, 2)
    assert feature.count > 50


def test_there_must_be_room(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("hooke.builder.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(LimitReached, match=r"take about 0\.0 GB at .*atlas\.sqlite\.work, where 0\.0 GB are free\. Ask for fewer tokens"):
        go(tmp_path / "atlas.sqlite", corpus)
    assert cache_bytes([tiny.sae()], 1000) < 40_000


def test_what_cannot_be(corpus, tmp_path):
    model, sae = tiny.model(), tiny.sae()
    narrow = Sae(torch.zeros(7, 4), torch.zeros(4), torch.zeros(4, 7), torch.zeros(7), torch.zeros(4), SaeFacts("a/resid_post.0/4", "tiny"))
    for saes, corpora, options, kind, words in (
        ([], [corpus], {}, BadConfig, "no SAE to make an atlas of"),
        ([sae, sae], [corpus], {}, BadConfig, "was given twice"),
        ([sae], [], {}, BadConfig, "needs one or more corpora"),
        ([sae], [corpus], {"tokens": 0}, BadConfig, "tokens=0 must be at least 1"),
        ([sae], [corpus], {"context": 4096}, BadConfig, "context=4096 from 2 to the 128 that tiny reads"),
        ([narrow], [corpus], {}, ShapeMismatch, "width"),
    ):
        with pytest.raises(kind, match=words):
            build_atlas(model, saes, corpora, tmp_path / "atlas.sqlite", AtlasSettings(**options))
    assert list(tmp_path.iterdir()) == []


def test_texts_are_asked_what_they_are_on(corpus, tmp_path):
    asked = []

    class MiniLM:
        def encode(self, texts):
            asked.append(len(texts))
            return np.eye(8, dtype=np.float32)[np.arange(len(texts)) % 8]

    with mock.patch("hooke.builder.encoder_folder", side_effect=Missing("no encoder")), pytest.raises(Missing, match="no encoder"):
        go(tmp_path / "atlas.sqlite", corpus, subjects=True)
    assert list(tmp_path.iterdir()) == []
    with mock.patch("hooke.builder.encoder_folder"), mock.patch("hooke.builder.MiniLM", MiniLM):
        made = Atlas(go(tmp_path / "atlas.sqlite", corpus, tokens=300, subjects=True))
    assert asked[-1] == made.facts["windows"]


def test_os_is_not_left_patched():
    assert os.fsync.__name__ == "fsync"
