"""A model that is spread, whole layers on each device (here one of them on the disk) or a part of each in every process, is read as it
would be elsewhere, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import torch
import torch.distributed as dist
import transformers
from safetensors.torch import load_file, save_file

from hooke import tiny
from hooke.errors import BadConfig, Missing, UnknownName
from hooke.model import Model, loading

PLACES = {"model.embed_tokens": "cpu", "lm_head": "cpu", "model.layers.0": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}


@pytest.fixture
def spread(tmp_path, monkeypatch) -> Model:
    pytest.importorskip("accelerate")
    (tmp_path / "tiny").mkdir()
    tiny.save(tmp_path / "tiny")
    layout = {"device_map": PLACES | {"model.layers.1": "disk"}, "offload_folder": str(tmp_path / "off")}
    monkeypatch.setattr(loading, "_LAYOUT", layout)
    return Model.load(tmp_path / "tiny", dtype="float32", spread=True)


def test_it_is_read_as_it_would_be_elsewhere(spread):
    whole = Model.load(spread.ref, dtype="float32")
    assert {parameter.device.type for parameter in spread.hf.parameters()} == {"cpu", "meta"}
    for texts in (["storm and rain", "the bank"], ["profit"]):
        for sites in (["resid_post.0"], ["resid_post.1", "mlp_out.1", "resid_post.0"]):
            mine, theirs = (model.capture(texts, sites) for model in (spread, whole))
            assert all(torch.equal(mine[site], theirs[site]) for site in sites)


def test_what_it_cannot_do_is_said(spread, monkeypatch):
    with pytest.raises(BadConfig, match=r"is spread over devices, where it can be read .* and not be asked what it predicts"):
        spread.logits(["storm"])
    with pytest.raises(BadConfig, match=r"and not be changed\. Load it whole"), spread.edit("resid_post.0", lambda acts: acts):
        pass
    with pytest.raises(BadConfig, match="only `hooke harvest` reads with a model that is spread"):
        Model.load(spread.ref, device="auto")
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Missing, match="needs accelerate"):
        Model.load(spread.ref, spread=True)


def test_the_command(spread, command, tmp_path):
    (tmp_path / "news.jsonl").write_text('{"text": "storm and rain"}\n' * 200)
    asked = ("harvest", "--model", str(spread.ref), "--site", "resid_post.1", "--corpus", str(tmp_path / "news.jsonl"), "--tokens", "50")
    for name, device in (("there", "auto"), ("here", "cpu")):
        code, _, err = command(*asked, "--dtype", "float32", "--device", device, "--out", str(tmp_path / name))
        assert code == 0, err
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert here == there
    code, _, err = command(*asked, "--device", "auto", "--engine", "ray", "--out", str(tmp_path / "third"))
    assert (code, "gives each worker one" in err) == (2, True)


TEXTS = ["storm and rain", "the bank", "profit"]
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 128}
MODELS = {
    "gemma": (transformers.Gemma3TextConfig, {"intermediate_size": 50, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}),
    "llama": (transformers.LlamaConfig, {"intermediate_size": 48, "num_key_value_heads": 2, "attention_bias": True}),
    "neox": (transformers.GPTNeoXConfig, {"intermediate_size": 64}),
    "gpt2": (transformers.GPT2Config, {}),
    "odd": (transformers.LlamaConfig, {"intermediate_size": 48, "num_key_value_heads": 1}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Small models of random weights, each in a folder with a tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    vocabulary = len(tiny.model().tokenizer)
    for name, (config, own) in MODELS.items():
        tiny.save(folder / name)  # for its tokenizer
        (folder / name / "model.safetensors").unlink()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            made = config(vocab_size=vocabulary, pad_token_id=0, eos_token_id=1, bos_token_id=2, initializer_range=0.3, **WIDTHS, **own)
            transformers.AutoModelForCausalLM.from_config(made).save_pretrained(folder / name)
    return folder


def read_by_several(rank: int, size: int, folder: Path, name: str) -> None:
    """What each of `size` processes does: the first asks for everything, once all and once little, and writes it down."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / name}.{size}", rank=rank, world_size=size)
    try:
        model = Model.load(folder / name, dtype="float32", spread=True)
    except BadConfig as error:
        if not rank:
            (folder / f"{name}.refused").write_text(str(error))
        return
    held = sum(getattr(weight, "to_local", lambda own=weight: own)().numel() for weight in model.blocks.parameters())
    if rank:
        model.spread.follow()
        return
    with model.spread.led():
        found = model.capture(TEXTS, model.sites())
        with pytest.raises(UnknownName):
            model.capture(TEXTS, "resid_post.9")
        with pytest.raises(BadConfig, match="asked what it predicts"):
            model.loss(TEXTS)
        with pytest.raises(BadConfig, match="and not be changed"), model.edit("resid_post.0", lambda acts: acts):
            pass
        less = model.capture(TEXTS[1:], "attn_z.1")["attn_z.1"]
    save_file(
        {"held": torch.tensor(held), "less": less, **{str(site): acts.clone() for site, acts in found.items()}}, folder / f"{name}.read"
    )


BY_TWO = """
import json, os, sys
from pathlib import Path
from model import test_spread
ended = []
for name in sys.argv[2:]:
    children = []
    for rank in range(2):
        children.append(os.fork())
        if not children[-1]:
            test_spread.read_by_several(rank, 2, Path(sys.argv[1]), name)
            os._exit(0)
    ended += [os.waitpid(child, 0)[1] for child in children]
print(json.dumps(ended))
"""


def test_with_a_part_of_every_layer_in_each_of_two_processes_it_is_read_as_whole(models):
    ended = commands.forked(BY_TWO, str(models), *MODELS, folder=models, environment={"GLOO_SOCKET_IFNAME": "lo"})
    assert ended == [0] * 2 * len(MODELS)
    assert "no way to cut a gpt2 model into parts" in (models / "gpt2.refused").read_text()
    assert "odd has 4 heads of attention and 1 of keys and values, which 2 processes cannot share" in (models / "odd.refused").read_text()
    for name in ("gemma", "llama", "neox"):
        whole, found = Model.load(models / name, dtype="float32"), load_file(models / f"{name}.read")
        wanted = whole.capture(TEXTS, whole.sites())
        assert found.keys() == {"held", "less", *map(str, wanted)}
        for site, acts in wanted.items():
            torch.testing.assert_close(found[str(site)], acts, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["less"], whole.capture(TEXTS[1:], "attn_z.1")["attn_z.1"], rtol=1e-4, atol=1e-4)
        weights = sum(weight.numel() for weight in whole.blocks.parameters())
        assert 0.5 <= found["held"] / weights < 0.6


@pytest.mark.exhaustive
def test_the_command_starts_processes_or_is_started_by_torchrun(models, command, monkeypatch):
    """The first process is this one, but for those of torchrun."""
    monkeypatch.chdir(models)
    (models / "news.jsonl").write_text('{"text": "storm and rain"}\n' * 400)
    for name in ("GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # put back at the end
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hooke"]
    asked = ["harvest", "--model", "./llama", "--site", "attn_z.1", "--corpus", "news.jsonl", "--tokens", "500", "--shard-tokens", "200"]
    done = subprocess.run([*torchrun, *asked, "--out", "run"], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    code, _, said = command(*asked, "--out", "two", "--nproc", "2")
    assert code == 0, said
    there, here = ({path.name: path.read_bytes() for path in (models / name).iterdir()} for name in ("run", "two"))
    assert here == there
    assert len(here) == 4
    for more, told in {
        ("--nproc", "3"): "3 processes cannot share out evenly; so many can: 2.",
        ("--nproc", "2", "--site", "resid_post.9"): "unknown site 'resid_post.9'",
        ("--nproc", "2", "--device", "auto"): "leave out one",
        ("--nproc", "2", "--engine", "ray"): "leave out one",
    }.items():
        code, _, said = command(*asked, "--out", "none", *more)
        assert (code != 0, told in said, said.count("hooke: ")) == (True, True, 1), said
    assert not (models / "none").exists()
