"""`hooke finetune` as people run it: what it writes and says, and what it refuses."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from commands import Command
from torch.nn.functional import normalize

from hooke import tiny
from hooke.sae import Sae


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted model in ``tiny``, a damaged SAE of it, and documents in ``news.jsonl``."""
    root = tmp_path_factory.mktemp("finetune")
    (root / "tiny").mkdir()
    tiny.save(root / "tiny")
    sae = tiny.sae()
    noise = 0.1 * torch.randn(sae.W_dec.shape, generator=torch.Generator().manual_seed(0))
    sae = replace(sae, W_dec=normalize(sae.W_dec + noise, dim=1))
    sae.save(root / "bad.safetensors")
    replace(sae, W_dec=sae.W_dec.flip(0), facts=replace(sae.facts, model="gemma-9")).save(root / "foreign.safetensors")
    groups = list(tiny.concepts.values())
    lines = [json.dumps({"text": " ".join(groups[i % 8][(i + j) % 8] for j in range(6 + i % 20))}) for i in range(800)]
    (root / "news.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture
def hooke(folder: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Run `hooke finetune` in `folder`."""
    monkeypatch.chdir(folder)
    return partial(command, "finetune")


COMMON = ("--model", "tiny", "--corpus", "news.jsonl", "--dtype", "float32", "--held-out", "150", "--batch", "4", "--lr", "0.01")


def test_it_writes_a_better_sae_and_a_table(hooke, folder, tmp_path):
    code, out, err = hooke("bad.safetensors", *COMMON, "--tokens", "3000", "--out", str(tmp_path / "good.safetensors"))
    assert code == 0, err
    assert "of 3,000 tokens" in err
    assert "tokens/s  KL" in err
    assert "left" in err
    assert all(word in out for word in ("before", "after", "error", "KL", "loss rise", "L0"))
    sae = Sae.load(tmp_path / "good.safetensors")
    record = sae.facts.training["finetuned"]
    assert record["corpora"] == {"news": 1.0}
    assert record["left_out"]["sinks"] == 0 < record["left_out"]["special"]
    assert f"0 attention sinks and {record['left_out']['special']} special tokens left out" in err
    assert record["after"]["kl"] < record["before"]["kl"]
    assert sae.facts.training["recipe"] == "planted"
    assert list(tmp_path.iterdir()) == [tmp_path / "good.safetensors"]


def test_one_json_document_the_same_for_the_same_seed(hooke, tmp_path):
    found = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out_file = tmp_path / f"{name}.safetensors"
        code, out, err = hooke("bad.safetensors", *COMMON, "--tokens", "300", "--seed", seed, "--out", str(out_file), "--json")
        assert code == 0, err
        found.append(json.loads(out))
    assert {"sae", "from", "file", "seconds", "tokens", "lr", "beta", "before", "after", "seed"} <= found[0].keys()
    a, b, c = (Path(one["file"]).read_bytes() for one in found)
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("foreign.safetensors", "--tokens", "300"), 3, "tiny/resid_post.0/64 was trained on gemma-9, not on tiny"),
        (("bad.safetensors", "--tokens", "0"), 2, "--tokens 0 is out of range"),
        (("bad.safetensors", "--tokens", "300", "--context", "1"), 2, "--context 1 is out of range"),
        (("bad.safetensors", "--tokens", "300", "--out", "x.bin"), 2, "ends in .safetensors"),
        (("bad.safetensors", "--tokens", "300", "--out", "bad.safetensors"), 2, "is there already"),
        pytest.param(  # it learns from all there is before it can say so
            *(("bad.safetensors", "--tokens", "300000"), 6, "of 300,000 tokens. Ask for fewer tokens or give more text."),
            marks=pytest.mark.exhaustive,
        ),
        (("bad.safetensors", "--tokens", "300", "--beta", "-1"), 2, "beta=-1.0"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(hooke, folder, arguments, code, message):
    before = sorted(folder.iterdir())
    given = arguments if "--out" in arguments else (*arguments, "--out", "x.safetensors")
    found, out, err = hooke(*given, *COMMON)
    assert (found, out) == (code, "")
    assert message in err.replace("\n", " ")
    assert sorted(folder.iterdir()) == before
