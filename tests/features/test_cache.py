"""A spool gives back what was put in, feature by feature, however it was cut, and says what is wrong with it."""

import itertools

import numpy as np
import pytest
import torch
from features.readings import codes_of, long_reading, made, readings
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.errors import BadConfig, BadFile, DigestMismatch
from hooke.features.cache import ActivationCache, Chunk
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events

SETTINGS = {"tokens": 100, "seed": 0}


def chunks(text: CorpusTokens, dense: dict[str, torch.Tensor], cuts: list[int]):
    """The text in chunks that begin at these windows."""
    table = np.stack([text.corpus, text.doc, text.offset, np.diff(text.start)], 1)
    edges = sorted({0, text.windows, *cuts})
    for a, b in itertools.pairwise(edges):
        rows = slice(text.start[a], text.start[b])
        sums = {name: np.array([1.0, rows.stop - rows.start]) for name in dense}
        yield Chunk(text.ids[rows], table[a:b], {name: codes_of(one[rows]) for name, one in dense.items()}, sums)


def filled(folder, text, dense, cuts) -> ActivationCache:
    cache = ActivationCache(folder, SETTINGS, {name: one.shape[1] for name, one in dense.items()}, text.corpora)
    for chunk in chunks(text, dense, cuts):
        cache.add(chunk)
    cache.finish()
    return cache


def compare(cache, text, dense, stride=3):
    assert (cache.tokens, cache.windows) == (len(text), text.windows)
    found = cache.text()
    for name in ("ids", "corpus", "doc", "offset", "start", "window", "document", "document_tokens", "score_half"):
        np.testing.assert_array_equal(getattr(found, name), getattr(text, name))
    for name, one in dense.items():
        counts, largest = cache.scales(name)
        np.testing.assert_array_equal(counts, (one > 0).sum(0))
        np.testing.assert_array_equal(largest, one.amax(0))
        whole, width = Events.of(codes_of(one)), one.shape[1]
        for low, high in ((0, width), (width // 2, width), (0, 1)):
            for i, (rows, values) in enumerate(cache.events(name, counts, low, high)):
                np.testing.assert_array_equal(rows, whole[low + i][0])
                np.testing.assert_array_equal(values, whole[low + i][1])
        assert torch.equal(cache.codes(name, np.arange(len(text)) % stride == 0).dense(), one[::stride])
        assert cache.sums(name)[1] == len(text)


@settings(max_examples=25, deadline=None)
@given(reading=readings(), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_what_goes_in_comes_out(tmp_path_factory, reading, cuts):
    text, dense = made(reading)
    both = {"m/a.0/1": dense, "m/a.1/1": dense.flip(1) * 2}
    compare(filled(tmp_path_factory.mktemp("spool"), text, both, [c for c in cuts if c < text.windows]), text, both)


def test_it_can_be_opened_again_and_goes_on(tmp_path):
    text, dense = long_reading(0)
    both = {"m/a.0/1": dense}
    parts = list(chunks(text, both, [10, 30]))
    for part in parts:  # each by another process, as it were
        cache = ActivationCache(tmp_path, SETTINGS, {"m/a.0/1": dense.shape[1]}, text.corpora)
        assert not cache.complete
        cache.add(part)
    cache.finish()
    (tmp_path / "chunk-00003.safetensors").write_bytes(b"written, but never sealed")
    again = ActivationCache(tmp_path, SETTINGS, {"m/a.0/1": dense.shape[1]}, text.corpora)
    assert again.complete
    compare(again, text, both)
    assert again.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_wide_sae_keeps_its_high_numbers(tmp_path):
    text, _ = long_reading(0, windows=3)
    wide = torch.zeros(len(text), 70_000)
    wide[1, 69_999] = 2.0
    wide[0, 65_536] = 1.0
    cache = filled(tmp_path, text, {"m/a.0/1": wide}, [])
    counts, largest = cache.scales("m/a.0/1")
    assert (counts[69_999], largest[65_536], counts.sum()) == (1, 1.0, 2)


def test_other_settings_are_refused_and_named(tmp_path):
    text, dense = long_reading(0, windows=4)
    filled(tmp_path, text, {"m/a.0/1": dense}, [])
    with pytest.raises(BadConfig, match=r"other settings: seed=0 \(now 1\), tokens=100 \(now 7\)\. Give the same ones to go on, delete"):
        ActivationCache(tmp_path, {"tokens": 7, "seed": 1}, {"m/a.0/1": dense.shape[1]}, text.corpora)
    with pytest.raises(BadConfig, match=r'widths=\{"m/a\.0/1": 12\} \(now \{"m/a\.0/1": 3\}\)'):
        ActivationCache(tmp_path, SETTINGS, {"m/a.0/1": 3}, text.corpora)


def test_damage_is_found(tmp_path):
    text, dense = long_reading(0, windows=4)
    filled(tmp_path, text, {"m/a.0/1": dense}, [2])
    chunk = tmp_path / "chunk-00001.safetensors"
    spoilt = bytearray(chunk.read_bytes())
    spoilt[-3] ^= 1
    chunk.write_bytes(bytes(spoilt))
    with pytest.raises(DigestMismatch, match=r"chunk-00001.safetensors is damaged or gone. Delete the folder"):
        ActivationCache(tmp_path, SETTINGS, {"m/a.0/1": dense.shape[1]}, text.corpora)
    (tmp_path / "spool.json").write_text("{")
    with pytest.raises(BadFile, match=r"spool.json cannot be read .*Delete the folder to begin again"):
        ActivationCache(tmp_path, SETTINGS, {"m/a.0/1": dense.shape[1]}, text.corpora)
