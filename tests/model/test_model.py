"""Model's five verbs on the planted model: what they give equals the plain way of computing it, and what cannot be is said."""

import itertools
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import Command
from hypothesis import given
from hypothesis import strategies as st

from hooke import tiny
from hooke.errors import BadConfig, BadFile, HookeError, LimitReached, Missing, ShapeMismatch, UnknownName
from hooke.model import Model, length_batches
from hooke.model.sampling import draw
from hooke.names import Site

TEXTS = ["the storm hit the bank", "rain", "judge and jury on trial after the vote"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny.save(path)
    return path


@pytest.fixture(scope="module")
def ids(model: Model) -> torch.Tensor:
    """The texts, padded on the right with id 0."""
    rows = model.tokenizer.encode(TEXTS)
    return torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])


def logits(model: Model, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.hf(input_ids=ids, use_cache=False).logits


# load


def test_a_folder_is_loaded_as_it_was_saved(model: Model, folder: Path, ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Model.load(str(folder), dtype="float32")
    assert (loaded.name, loaded.n_layers, loaded.context, loaded.hf.dtype) == ("tiny", 2, 128, torch.float32)
    assert loaded.tokenizer.encode(TEXTS) == model.tokenizer.encode(TEXTS)
    assert torch.equal(logits(loaded, ids), logits(model, ids))
    assert not any(parameter.requires_grad for parameter in loaded.hf.parameters())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert Model.load(f"{folder}/").name == Model.load(".").name == Model.load(f"~/{folder.name}").name == "tiny"
    assert Model.load(str(folder), dtype="bfloat16").hf.dtype == torch.bfloat16


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_it_computes_in_numbers_that_are_fast_here(folder: Path, fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hooke.devices.multiplies_bfloat16", lambda device: fast)
    assert Model.load(str(folder)).hf.dtype == dtype


@pytest.mark.parametrize(
    ("ref", "kind", "said"),
    [
        ("gemma-3-270", UnknownName, "unknown model 'gemma-3-270'. Did you mean 'gemma-3-270m'?"),
        ("", UnknownName, "unknown model ''. Known: "),
        ("zork", UnknownName, "unknown model 'zork'. Known: "),
        ("no/where", Missing, "cannot find the model 'no/where': "),
        ("./no/such/folder", Missing, "cannot find the model './no/such/folder': "),
    ],
)
def test_a_model_that_is_not_there_is_said(ref: str, kind: type[HookeError], said: str) -> None:
    with pytest.raises(kind) as caught:
        Model.load(ref)
    assert str(caught.value).startswith(said)
    assert "gemma-3-270m" in str(caught.value)


def test_an_unknown_dtype_is_told_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'bfloat16'"):
        Model.load(str(folder), dtype="bfloat61")


def test_gemma_in_float16_is_refused_by_what_it_is_and_not_by_where_it_lies(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="overflows float16"):
        Model.load(str(folder), dtype="float16")
    with pytest.raises(BadConfig, match="overflows float16"):
        Model.load("gemma-3-270m", dtype="float16")
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"vocab_size": len(tiny.model().tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    llama = tmp_path / "beside-gemma" / "llama"
    LlamaForCausalLM(LlamaConfig(**small, num_hidden_layers=1)).save_pretrained(llama)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, llama / name)
    assert Model.load(str(llama), dtype="float16").hf.dtype == torch.float16


def reconfigured(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


AQLM = {"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 1, "nbits_per_codebook": 16}
DAMAGE: dict[str, tuple[Callable[[Path], object], type[HookeError], str]] = {
    "cut weights": (lambda folder: os.truncate(folder / "model.safetensors", 1000), BadFile, "cannot load the model"),
    "garbage for weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 999), BadFile, "cannot load the model"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), BadFile, "no file named model.safetensors"),
    "garbage for a configuration": (lambda folder: (folder / "config.json").write_text("{no"), BadFile, "is not a valid JSON file"),
    "a configuration that is a list": (lambda folder: (folder / "config.json").write_text("[1]"), BadFile, "cannot load the model"),
    "an unheard-of architecture": (reconfigured(model_type="zork"), BadFile, "model type `zork`"),
    "another width": (reconfigured(hidden_size=48), BadFile, "is (834, 32), not (834, 48)"),
    "a width in words": (reconfigured(hidden_size="wide"), BadFile, "hidden_size"),
    "a layer more": (reconfigured(num_hidden_layers=3, layer_types=["full_attention"] * 3), BadFile, "lacks 13 of its weights"),
    "garbage for a tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{no"), BadFile, "the tokenizer of"),
    "a tokenizer that is none": (lambda folder: (folder / "tokenizer.json").write_text('{"model": 5}'), BadFile, "the tokenizer of"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), Missing, "no tokenizer in"),
    "a format whose package is not installed": (reconfigured(quantization_config=AQLM), Missing, "pip install aqlm"),
    "a format that nobody knows": (reconfigured(quantization_config={"quant_method": "zork"}), BadFile, "is quantised in a way"),
    "an adapter beside the weights": (lambda folder: (folder / "adapter_config.json").write_text("{}"), BadFile, "comes an adapter"),
    "more words than memory": (reconfigured(vocab_size=10**12), LimitReached, "not enough memory for the model"),
    "a size of 400 digits": (reconfigured(hidden_size=10**400), BadFile, "cannot load the model"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_and_never_filled_with_random_weights(damage: str, folder: Path, tmp_path: Path) -> None:
    harm, kind, said = DAMAGE[damage]
    shutil.copytree(folder, tmp_path / "model")
    harm(tmp_path / "model")
    with pytest.raises(kind) as caught:
        Model.load(str(tmp_path / "model"), dtype="float32")
    assert said in str(caught.value)
    assert str(tmp_path / "model") in str(caught.value)
    assert len(str(caught.value)) < 600


CODE_OF_ITS_OWN: dict[str, dict[str, object]] = {
    "of a kind unheard of": {"model_type": "zork", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}},
    "of a known kind": {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}},
    "for its attention": {"attn_implementation": "evil/kernel", "_attn_implementation_internal": "evil/kernel"},
}


@pytest.mark.parametrize("code", CODE_OF_ITS_OWN)
def test_code_that_comes_with_a_model_is_never_run_nor_asked_about(
    code: str, folder: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    reconfigured(**CODE_OF_ITS_OWN[code])(tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}}))
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail(f"asked: {prompt}"))
    exit_code, out, err = command(
        "sample", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "o.txt"), "--tokens", "8", "--length", "4", stdin=b"y\n"
    )
    assert not (tmp_path / "ran").exists()
    assert sys.stdin.read() == "y\n"
    assert (exit_code, out) == (3, "") if code == "of a kind unheard of" else exit_code == 0, err
    if exit_code:
        assert "can only be loaded by running Python code that comes with it, which Hooke never does" in err


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_a_weight_that_is_not_finite_is_named_and_the_architecture_not_blamed(name: str) -> None:
    hf = tiny.model().hf
    with torch.no_grad():
        dict(hf.named_parameters())[name][:] = torch.nan
    with pytest.raises(BadFile, match=f"the weight '{name}' of this model holds values that are not finite"):
        Model(hf, tiny.model().tokenizer, "spoilt")


def test_an_architecture_without_a_row_is_unknown() -> None:
    from transformers import OPTConfig, OPTForCausalLM

    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "ffn_dim": 16,
        "num_attention_heads": 2,
        "vocab_size": 20,
        "word_embed_proj_dim": 16,
    }
    with pytest.raises(UnknownName, match="'opt'"):
        Model(OPTForCausalLM(OPTConfig(**small)), tiny.model().tokenizer, "opt")


# capture and edit


def test_sites_are_in_the_order_they_are_computed(model: Model) -> None:
    first = ["resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post"]
    assert list(map(str, model.sites())) == [f"{kind}.{layer}" for layer in (0, 1) for kind in first]
    assert {model.width(site) for site in model.sites()} == {tiny.D_MODEL, 16}
    assert model.width("attn_z.0") == 16


def test_several_sites_at_once_are_what_they_are_one_at_a_time(model: Model, ids: torch.Tensor) -> None:
    together = model.capture(ids, model.sites())
    assert list(together) == model.sites()
    for site in model.sites():
        alone = model.capture(ids, [str(site)])
        assert list(alone) == [site]
        assert torch.equal(alone[site], together[site])
        assert alone[site].shape == (*ids.shape, model.width(site))
    backwards = model.capture(ids, model.sites()[::-1])
    assert all(torch.equal(backwards[site], together[site]) for site in model.sites())


def test_padding_on_the_right_changes_nothing_before_it(model: Model, ids: torch.Tensor) -> None:
    rows = model.tokenizer.encode(TEXTS)
    padded = model.capture(ids, model.sites())
    other = model.capture(torch.where(ids == 0, 7, ids), model.sites())
    for number, row in enumerate(rows):
        alone = model.capture(torch.tensor([row]), model.sites())
        for site in model.sites():
            assert torch.allclose(padded[site][number, : len(row)], alone[site][0], atol=1e-5)
            assert torch.equal(padded[site][number, : len(row)], other[site][number, : len(row)])


def test_captured_at_the_top_it_is_what_the_head_reads(model: Model, ids: torch.Tensor) -> None:
    top = model.capture(ids, ["resid_post.1"])[Site(1, "resid_post")]
    assert torch.equal(model.hf.lm_head(model.hf.model.norm(top)), logits(model, ids))


@pytest.mark.parametrize(
    ("sites", "kind", "said"),
    [
        ([], BadConfig, "no site to capture at"),
        (["resid_post.2"], HookeError, "resid_post.2"),
        (["resid_pst.1"], UnknownName, "Did you mean 'resid_post'"),
        (["everywhere"], BadConfig, "cannot read 'everywhere' as a site"),
    ],
)
def test_a_site_that_is_not_there_is_said(model: Model, ids: torch.Tensor, sites: list[str], kind: type[HookeError], said: str) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        model.capture(ids, sites)


def test_an_edit_that_changes_nothing_changes_nothing(model: Model, ids: torch.Tensor) -> None:
    plain = logits(model, ids)
    for site in model.sites():
        with model.edit(site, lambda acts: acts):
            assert torch.equal(logits(model, ids), plain), site
    assert torch.equal(logits(model, ids), plain)


def test_an_edit_to_zero_is_what_the_model_goes_on_with_and_ends_with_the_block(model: Model, ids: torch.Tensor) -> None:
    plain = logits(model, ids)
    with model.edit("resid_post.1", torch.zeros_like):
        assert torch.count_nonzero(logits(model, ids)) == 0
    for site in model.sites():
        with model.edit(site, torch.zeros_like):
            assert not torch.equal(logits(model, ids), plain), site
    with pytest.raises(ZeroDivisionError), model.edit("resid_post.0", torch.zeros_like):
        raise ZeroDivisionError
    assert torch.equal(logits(model, ids), plain)


def test_an_edit_is_in_force_in_loss_capture_and_generate(model: Model, ids: torch.Tensor) -> None:
    with model.edit("resid_post.0", lambda acts: acts * 0):
        assert torch.count_nonzero(model.capture(ids, ["resid_pre.1"])[Site(1, "resid_pre")]) == 0
        assert not torch.allclose(model.loss(ids), tiny.model().loss(ids))
    with pytest.raises(ShapeMismatch, match="an edit must keep the tensor's shape"), model.edit("resid_post.0", lambda acts: acts[:, 1:]):
        model.loss(ids)


# loss


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_loss_is_cross_entropy_of_the_whole_logits(model: Model, ids: torch.Tensor, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hooke.model.head._LOGIT_VALUES", pieces * len(model.tokenizer))
    expected = torch.nn.functional.cross_entropy(logits(model, ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    assert torch.allclose(model.loss(ids).flatten(), expected, atol=1e-5)
    assert model.loss(ids).shape == (len(ids), ids.shape[1] - 1)


def test_loss_squashes_logits_as_gemma_2_does(ids: torch.Tensor) -> None:
    capped = tiny.model()
    capped.hf.config.final_logit_softcapping = 2.0
    full = 2 * torch.tanh(tiny.model().hf(input_ids=ids).logits / 2)
    expected = torch.nn.functional.cross_entropy(full[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    assert torch.allclose(capped.loss(ids).flatten(), expected, atol=1e-5)


# generate and draw


def test_the_same_seed_gives_the_same_text_and_another_another(model: Model) -> None:
    prompts = torch.tensor(model.tokenizer.encode(["the storm", "the judge"]))
    first = model.generate(prompts, 20, seed=1)
    torch.manual_seed(99)
    assert torch.equal(model.generate(prompts, 20, seed=1), first)
    assert not torch.equal(model.generate(prompts, 20, seed=2), first)
    assert torch.equal(first[:, : prompts.shape[1]], prompts)


def test_at_temperature_0_it_is_the_likeliest_token_each_time(model: Model) -> None:
    prompts = out = torch.tensor(model.tokenizer.encode(["the storm", "the judge"]))
    for _ in range(6):
        out = torch.cat([out, logits(model, out)[:, -1:].argmax(-1)], 1)
    assert torch.equal(model.generate(prompts, 6, temperature=0.0), out)


def test_a_row_that_ended_goes_on_with_padding_and_all_ended_stops(model: Model) -> None:
    prompts = torch.tensor(model.tokenizer.encode(["the storm", "the judge"]))
    plain = model.generate(prompts, 8, temperature=0.0)[:, prompts.shape[1] :]
    config = model.hf.config
    before = config.eos_token_id
    try:
        config.eos_token_id = [int(plain[0, 0])]
        out = model.generate(prompts, 8, temperature=0.0)[:, prompts.shape[1] :]
        assert out[0].tolist() == [int(plain[0, 0])] + [0] * (out.shape[1] - 1)
        config.eos_token_id = [int(plain[0, 0]), int(plain[1, 0])]
        assert model.generate(prompts, 8, temperature=0.0).shape[1] == prompts.shape[1] + 1
        config.eos_token_id = None
        assert torch.equal(model.generate(prompts, 8, temperature=0.0)[:, prompts.shape[1] :], plain)
    finally:
        config.eos_token_id = before


@pytest.mark.parametrize(("tokens", "temperature"), [(5, -1.0), (5, math.nan), (5, math.inf), (-1, 1.0)])
def test_sampling_that_cannot_be_is_refused(model: Model, tokens: int, temperature: float) -> None:
    with pytest.raises(BadConfig, match="cannot sample"):
        model.generate(torch.tensor([[2]]), tokens, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("vocab", [1, 2, 10, 37])
def test_draws_are_distributed_as_softmax(vocab: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(vocab)
    row, n = torch.randn(vocab, generator=generator) * 1.5, 40_000
    counts = torch.bincount(draw(row.expand(n, -1), temperature, generator), minlength=vocab)
    expected = n * (row.double() / temperature).softmax(0)
    chi_square = float(((counts - expected).square() / expected).sum())
    # Mean vocab - 1, variance 2 (vocab - 1); four deviations and some for the tail.
    assert len(counts) == vocab
    assert chi_square < vocab - 1 + 5 * math.sqrt(2 * vocab)


@pytest.mark.parametrize("vocab", [5, 100, 1000])
def test_what_is_impossible_is_never_drawn(vocab: int) -> None:
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(vocab, generator=generator)
    possible = torch.rand(vocab, generator=generator) < 0.2
    possible[2] = True
    drawn = draw(row.masked_fill(~possible, -torch.inf).expand(20_000, -1), 1.0, generator)
    assert possible[drawn].all()
    only = torch.full((vocab,), -torch.inf).index_fill(0, torch.tensor([vocab - 1]), 3.0)
    assert (draw(only.expand(1000, -1), 1.0, generator) == vocab - 1).all()


def test_temperature_0_and_nearly_0_are_the_likeliest() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 300, generator=generator)
    assert torch.equal(draw(rows, 0.0, generator), rows.argmax(1))
    assert torch.equal(draw(rows, 1e-5, generator), rows.argmax(1))
    assert torch.equal(draw(rows.bfloat16() * 1e4, 1.0, generator), (rows.bfloat16() * 1e4).argmax(1))


# batches


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_text_once_longest_first_within_the_limit(lengths: list[int], batch_tokens: int) -> None:
    batches = list(length_batches(lengths, batch_tokens))
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[index] for index in order] == sorted(lengths, reverse=True)
    for batch, after in itertools.zip_longest(batches, batches[1:]):
        assert batch
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= batch_tokens
        if after:  # no room was left for the next, or it would have been mostly padding
            padding = sum(lengths[batch[0]] - lengths[index] for index in [*batch, after[0]])
            assert (len(batch) + 1) * lengths[batch[0]] > batch_tokens or padding > batch_tokens // 25
    assert batches == list(length_batches(lengths, batch_tokens))
