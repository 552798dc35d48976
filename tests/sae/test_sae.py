"""An SAE's arithmetic equals its formula written out, and its file gives back what was put in or says what is wrong with it."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from hooke import tiny
from hooke.codes import Codes
from hooke.errors import BadConfig, BadFile, Missing, ShapeMismatch, UnknownName
from hooke.files import read_safetensors, write_safetensors
from hooke.names import Site
from hooke.sae import Sae, SaeFacts

WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
FACTS = SaeFacts(
    "tiny/resid_post.1/40", "tiny", context=64, bos=True, metrics={"l0": 3.5, "fvu": 0.25}, training={"seed": 1, "corpus": ["ä"]}
)


def random_sae(seed: int = 0, d_in: int = 6, d_sae: int = 40, d_out: int = 6, k: int | None = None) -> Sae:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    facts = FACTS if k is None else dataclasses.replace(FACTS, activation="topk", k=k)
    threshold = torch.zeros(d_sae) if k else random(d_sae).abs()
    return Sae(random(d_in, d_sae), random(d_sae) * 0.1, random(d_sae, d_out), random(d_out), threshold, facts)


def random_acts(tokens: int, seed: int = 1, d_in: int = 6) -> torch.Tensor:
    return torch.randn(tokens, d_in, generator=torch.Generator().manual_seed(seed))


def naive_encode(sae: Sae, acts: torch.Tensor) -> torch.Tensor:
    """The formula, token by token and feature by feature."""
    pre = acts.float() @ sae.W_enc + sae.b_enc
    out = torch.zeros_like(pre)
    for token in range(len(pre)):
        best = pre[token].argsort(descending=True)[: sae.facts.k or 0].tolist()
        for feature in range(sae.d_sae):
            value = float(pre[token, feature])
            on = (feature in best and value > 0) if sae.facts.activation == "topk" else value > float(sae.threshold[feature])
            out[token, feature] = value if on else 0
    return out


def assert_same(one: Sae, other: Sae) -> None:
    assert one.facts == other.facts
    for name in WEIGHTS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


# encode, decode, reconstruct


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(0, 6), st.sampled_from([None, 1, 3, 40, 99]))
def test_encode_is_the_formula(seed: int, tokens: int, k: int | None) -> None:
    sae, acts = random_sae(seed, k=k), random_acts(tokens, seed)
    found, expected = sae.encode(acts).dense(), naive_encode(sae, acts)
    assert torch.equal(found > 0, expected > 0)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_feature_at_its_very_threshold_is_off() -> None:
    eye = torch.eye(3)
    sae = Sae(eye, torch.zeros(3), eye, torch.zeros(3), torch.tensor([1.0, 0.0, 2.0]), FACTS)
    next_up = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    acts = torch.tensor([[1.0, 0.0, 2.0], [float(next_up), 1e-30, 1.0], [-5.0, -1.0, 3.0]])
    assert sae.encode(acts).dense().tolist() == [[0, 0, 0], [float(next_up), acts[1, 1].item(), 0], [0, 0, 3]]


def test_topk_keeps_the_largest_and_only_positive_ones() -> None:
    eye = torch.eye(4)
    sae = Sae(eye, torch.zeros(4), eye, torch.zeros(4), torch.zeros(4), dataclasses.replace(FACTS, activation="topk", k=2))
    codes = sae.encode(torch.tensor([[3.0, 1.0, 2.0, 0.5], [-1.0, 4.0, -2.0, 0.0], [-1.0, -1.0, -1.0, -1.0]]))
    assert codes.dense().tolist() == [[3, 0, 2, 0], [0, 4, 0, 0], [0, 0, 0, 0]]
    assert codes.l0.tolist() == [2, 1, 0]


@pytest.mark.parametrize("k", [None, 5])
def test_encoding_in_pieces_changes_nothing(k: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    sae, acts = random_sae(k=k), random_acts(23)
    whole = sae.encode(acts)
    monkeypatch.setattr("hooke.sae.autoencoder._DENSE_VALUES", 4 * sae.d_sae)
    pieces = sae.encode(acts)
    assert torch.equal(pieces.indptr, whole.indptr)
    assert torch.equal(pieces.feature, whole.feature)
    assert torch.allclose(pieces.value, whole.value, atol=1e-6)


def test_acts_in_bfloat16_are_encoded_in_float32() -> None:
    sae, acts = random_sae(), random_acts(9).bfloat16()
    assert torch.equal(sae.encode(acts).dense(), sae.encode(acts.float()).dense())
    assert sae.encode(acts).value.dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(0, 6), st.sampled_from([0.0, 1.0, 1e9]))
def test_decode_is_the_matrix_product(seed: int, tokens: int, threshold: float) -> None:
    sae = dataclasses.replace(random_sae(seed, d_out=5), threshold=torch.full((40,), threshold))
    codes = sae.encode(random_acts(tokens, seed))
    assert threshold < 1e9 or len(codes.feature) == 0
    found = sae.decode(codes)
    assert found.shape == (tokens, 5)
    assert torch.allclose(found, codes.dense() @ sae.W_dec + sae.b_dec, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (0, 6), (2, 0, 6)])
def test_reconstruct_keeps_shape_and_dtype(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    sae, acts = random_sae(), torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = sae.reconstruct(acts)
    assert (found.shape, found.dtype) == (acts.shape, dtype)
    flat = acts.reshape(-1, 6)
    assert torch.equal(found.reshape(-1, 6), sae.decode(sae.encode(flat)).to(dtype))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=3))
def test_codes_remember_the_leading_shape(leading: list[int]) -> None:
    sae, acts = random_sae(d_out=5), torch.randn(*leading, 6, generator=torch.Generator().manual_seed(0))
    codes, flat = sae.encode(acts), sae.encode(acts.reshape(-1, 6))
    assert codes.shape == codes.dense().shape == (*leading, 40)
    assert torch.equal(codes.dense(), flat.dense().reshape(*leading, 40))
    assert torch.equal(sae.decode(codes), sae.decode(flat).reshape(*leading, 5))
    assert len(codes) == len(flat) == acts[..., 0].numel()
    assert codes.only(torch.arange(40) < 9).shape == codes.shape
    assert Codes.cat([codes, codes]).shape == (2 * len(codes), 40)


def test_an_sae_and_its_codes_say_what_they_are() -> None:
    assert repr(random_sae()) == "Sae('tiny/resid_post.1/40': jumprelu, 40 features, 4 active, resid_post.1, d_in 6, cpu)"
    codes = Codes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
    assert repr(codes) == "Codes(2 tokens of 2 features, 1.5 active on average)"
    assert repr(dataclasses.replace(codes, leading=(1, 2))) == "Codes(1 × 2 tokens of 2 features, 1.5 active on average)"


def test_reconstruct_is_ready_for_an_edit() -> None:
    model, sae = tiny.model(), tiny.sae()
    ids = torch.tensor(model.tokenizer.encode(["the judge", "old storm"]))
    with model.edit(sae.site, sae.reconstruct):
        after = model.capture(ids, [sae.site])[sae.site]
    assert torch.allclose(after, sae.reconstruct(model.capture(ids, [sae.site])[sae.site]), atol=1e-5)


def test_what_does_not_fit_is_said_with_both_sizes() -> None:
    sae = random_sae()
    with pytest.raises(ShapeMismatch, match=r"tiny/resid_post\.1/40 reads activations of width 6 at resid_post\.1; these have width 7"):
        sae.encode(torch.zeros(2, 7))
    with pytest.raises(BadConfig, match=r"tiny/resid_post\.1/40 reads a torch tensor of activations, not ndarray"):
        inspect.unwrap(Sae.encode)(sae, np.zeros((2, 6), np.float32))
    with pytest.raises(ShapeMismatch, match="has 40 features; these codes have 41"):
        sae.decode(Codes.from_dense(torch.zeros(1, 41)))


@pytest.mark.parametrize(("name", "wanted"), [("b_enc", "[40]"), ("W_dec", "[40, 7]"), ("b_dec", "[6]"), ("threshold", "[40]")])
def test_weights_that_do_not_fit_each_other_are_refused_by_name_of_the_file(name: str, wanted: str, tmp_path: Path) -> None:
    wrong = torch.zeros([n + 1 for n in getattr(random_sae(), name).shape])
    path = harmed(tmp_path / "x", **{name: wrong})
    with pytest.raises(ShapeMismatch) as caught:
        Sae.load(path)
    said = f"{path} (tiny/resid_post.1/40): {name} has shape {list(wrong.shape)}; with W_enc [6, 40] it must be {wanted}."
    assert str(caught.value) == said


def test_a_device_that_is_none_is_said() -> None:
    with pytest.raises(BadConfig, match="only `hooke harvest` reads with a model that is spread"):
        tiny.sae().to("auto")
    with pytest.raises(BadConfig, match="cannot compute on 'gpu'"):
        tiny.sae().to("gpu")


def test_its_faces() -> None:
    sae = random_sae(d_out=7)
    assert (sae.name, sae.site, sae.d_in, sae.d_sae) == ("tiny/resid_post.1/40", Site(1, "resid_post"), 6, 40)
    assert_same(sae.to("cpu"), sae)


# files


@pytest.mark.parametrize("k", [None, 4])
def test_float32_is_bit_identical_and_so_are_the_bytes(k: int | None, tmp_path: Path) -> None:
    sae = random_sae(k=k, d_out=5)
    sae.save(tmp_path / "a.safetensors")
    assert_same(Sae.load(tmp_path / "a.safetensors"), sae)
    Sae.load(tmp_path / "a.safetensors").save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert Sae.read_facts(tmp_path / "a.safetensors") == (sae.facts, 6, 40)


def test_groups_of_features_are_kept_and_cannot_reach_beyond_the_features(tmp_path: Path) -> None:
    sae = random_sae()
    grouped = dataclasses.replace(sae, facts=dataclasses.replace(sae.facts, groups={"about": [0, 8], "word": [8, 40]}))
    grouped.save(tmp_path / "x")
    found = Sae.load(tmp_path / "x").facts
    assert found.groups == {"about": [0, 8], "word": [8, 40]}
    assert [found.group_of(feature) for feature in (0, 7, 8, 39, 40)] == ["about", "about", "word", "word", None]
    assert sae.facts.group_of(0) is None
    with pytest.raises(ShapeMismatch, match="40 features; its groups reach beyond"):
        dataclasses.replace(sae, facts=dataclasses.replace(sae.facts, groups={"about": [0, 41]}))


def test_bfloat16_rounds_the_matrices_and_nothing_else(tmp_path: Path) -> None:
    sae = random_sae(d_out=5)
    sae.save(tmp_path / "x", weights="bfloat16")
    rounded = {name: getattr(sae, name).bfloat16().float() for name in ("W_enc", "W_dec")}
    assert_same(Sae.load(tmp_path / "x"), dataclasses.replace(sae, **rounded))
    assert {tensor.dtype for name, tensor in read_safetensors(tmp_path / "x")[0].items() if name[0] == "W"} == {torch.bfloat16}


def test_int8_is_within_half_a_step_of_every_features_and_every_coordinates_scale(tmp_path: Path) -> None:
    sae = random_sae(d_out=5)
    scales = torch.logspace(-6, 6, 40)
    spread = torch.tensor([1e-3, 1, 1e3, 1, 1])  # coordinates of a residual stream differ so
    sae = dataclasses.replace(sae, W_enc=sae.W_enc * scales, W_dec=sae.W_dec * scales[:, None] * spread)
    sae.W_dec[3] = 0
    sae.save(tmp_path / "x", weights="int8")
    found = Sae.load(tmp_path / "x")
    for before, after in ((sae.W_enc.mT, found.W_enc.mT), (sae.W_dec, found.W_dec)):
        column = (before / before.abs().amax(1, keepdim=True).clamp_min(1e-38)).square().mean(0).sqrt().log2().round().exp2()
        step = (before / column).abs().amax(1, keepdim=True) * column / 127
        assert ((after - before).abs() <= step / 2 * (1 + 1e-4)).all()
    small = found.W_dec[10:, 0] / sae.W_dec[10:, 0] - 1
    assert small.abs().median() < 0.05  # with one scale for a row all of these were zero
    assert torch.count_nonzero(found.W_dec[3]) == 0
    for name in ("b_enc", "b_dec", "threshold"):
        assert torch.equal(getattr(found, name), getattr(sae, name))
    assert Sae.read_facts(tmp_path / "x") == (sae.facts, 6, 40)
    found.save(tmp_path / "y", weights="int8")
    assert torch.allclose(Sae.load(tmp_path / "y").W_dec, found.W_dec)


def test_int8_without_scales_for_coordinates_still_opens(tmp_path: Path) -> None:
    rows = torch.randint(-127, 128, (40, 6), dtype=torch.int8)
    found = Sae.load(harmed(tmp_path / "x", drop="W_enc", **{"W_enc.int8": rows, "W_enc.scale": torch.full((40,), 0.5)}))
    assert torch.equal(found.W_enc, rows.float().mT / 2)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["W_dec", "b_enc", "threshold"])
def test_values_that_are_not_finite_are_refused(name: str, value: float, weights: Any, tmp_path: Path) -> None:
    sae = random_sae()
    getattr(sae, name).flatten()[5:6].fill_(value)
    sae.save(tmp_path / "x", weights=weights)
    with pytest.raises(BadFile, match=f"{re.escape(str(tmp_path / 'x'))}: {name} holds values that are not finite"):
        Sae.load(tmp_path / "x")


def harmed(path: Path, drop: str = "", **changes: torch.Tensor) -> Path:
    """A sound SAE's file with one tensor taken out, or others put in."""
    random_sae().save(path)
    tensors, metadata = read_safetensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items() if name != drop}
    write_safetensors(path, tensors | changes, metadata)
    return path


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_tensor_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    path = harmed(tmp_path / "x", drop=name)
    with pytest.raises(BadFile, match=f"lacks the tensor '{name}'; it holds ") as caught:
        Sae.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"W_enc": torch.zeros(6)}, BadFile, "W_enc has shape [6]"),
        ({"b_enc": torch.zeros(40, 1)}, BadFile, "b_enc has shape [40, 1]"),
        ({"threshold": torch.zeros(())}, BadFile, "threshold has shape []"),
        ({"W_enc.int8": torch.zeros(40, 6), "W_enc.scale": torch.ones(40)}, BadFile, "int8 rows of shape [40, 6]"),
        (
            {"W_enc.int8": torch.zeros(40, 6, dtype=torch.int8), "W_enc.scale": torch.ones(39)},
            BadFile,
            "with scales of shape [39] and [6] do not fit",
        ),
        ({"W_enc.int8": torch.zeros(40, 6, dtype=torch.int8)}, BadFile, "lacks the tensor 'W_enc.scale'"),
        (
            {"W_enc.int8": torch.zeros(40, 6, dtype=torch.int8), "W_enc.scale": torch.ones(40), "W_enc.column": torch.ones(5)},
            BadFile,
            "with scales of shape [40] and [5] do not fit",
        ),
    ],
)
def test_tensors_of_the_wrong_shape_are_refused(changes: dict[str, torch.Tensor], kind: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(kind) as caught:
        Sae.load(harmed(tmp_path / "x", **changes))
    assert said in str(caught.value)


GOOD = {"schema": 1, "name": "tiny/resid_post.1/40", "model": "tiny"}
BAD_FACTS = {
    "unknown key": (GOOD | {"colour": "red"}, "the SAE's facts cannot be read ('colour'). Known: schema, name, model, activation, "),
    "newer schema": (GOOD | {"schema": 2, "colour": "red"}, "was written with SAE schema 2; this version reads 1"),
    "no schema": ({"name": "tiny/resid_post.1/40", "model": "tiny"}, "cannot be read ('schema')"),
    "no name": ({"schema": 1, "model": "tiny"}, "name"),
    "no object": ([1], "cannot be read"),
    "a name that is none": (GOOD | {"name": "tiny"}, "cannot read 'tiny' as an SAE's name"),
    "an unknown site": (GOOD | {"name": "tiny/resid_pst.1/40"}, "unknown site kind 'resid_pst'"),
    "a name that is a number": (GOOD | {"name": 5}, "name is a int"),
    "a model that is a list": (GOOD | {"model": []}, "model is a list"),
    "metrics that are a list": (GOOD | {"metrics": [1]}, "metrics is a list"),
    "a metric in words": (GOOD | {"metrics": {"l0": "many"}}, "metrics"),
    "a group in words": (GOOD | {"groups": {"about": "first"}}, "the group about='first' is no run of features"),
    "a group that is empty": (GOOD | {"groups": {"about": [3, 3]}}, "the group about=[3, 3] is no run"),
    "groups that overlap": (GOOD | {"groups": {"about": [0, 3], "word": [2, 9]}}, "overlap"),
    "an unknown activation": (
        GOOD | {"activation": "relu"},
        "activation 'relu' with k=None; known are jumprelu, topk, groupmax (topk and groupmax need k)",
    ),
    "topk without k": (GOOD | {"activation": "topk"}, "activation 'topk' with k=None"),
    "topk of nothing": (GOOD | {"activation": "topk", "k": 0}, "activation 'topk' with k=0"),
    "topk of fewer than nothing": (GOOD | {"activation": "topk", "k": -1}, "activation 'topk' with k=-1"),
    "topk in words": (GOOD | {"activation": "topk", "k": "two"}, "k is a str"),
}


@pytest.mark.parametrize("case", BAD_FACTS)
def test_facts_that_cannot_be_are_refused_by_name_of_the_file(case: str, tmp_path: Path) -> None:
    facts, said = BAD_FACTS[case]
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"W_dec": torch.zeros(2, 2)}, {"hooke_sae": json.dumps(facts)})
    for read in (Sae.load, Sae.read_facts):
        with pytest.raises(BadFile) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 50_000, "null", '"x"', "\ud7ff"])
def test_facts_that_are_no_json_object_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="the SAE's facts cannot be read"):
        SaeFacts.from_json(text, tmp_path)


def test_a_file_that_is_no_sae_is_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", {"W_dec": torch.zeros(2, 2)}, {"format": "pt"})
    with pytest.raises(BadFile, match="but no SAE that Hooke wrote"):
        Sae.read_facts(tmp_path / "x")
    with pytest.raises(BadFile, match=r"is a safetensors file, but no SAE that Hooke knows; it holds W_dec\. Known: native"):
        Sae.load(tmp_path / "x")
    write_safetensors(tmp_path / "y", {"other": torch.zeros(2)}, {"hooke_sae": json.dumps(GOOD)})
    with pytest.raises(BadFile, match="holds no W_enc; it is no SAE"):
        Sae.read_facts(tmp_path / "y")
    (tmp_path / "z").write_bytes(b"PK\3\4 an archive")
    with pytest.raises(BadFile, match="is no SAE in a form that Hooke knows"):
        Sae.load(tmp_path / "z")


def test_from_pretrained_takes_a_file_and_says_what_else_it_was_given(tmp_path: Path) -> None:
    sae = random_sae()
    sae.save(tmp_path / "x.safetensors")
    sae.save(tmp_path / "plain")
    assert_same(Sae.from_pretrained(str(tmp_path / "x.safetensors")), sae)
    assert_same(Sae.from_pretrained(str(tmp_path / "plain")), sae)
    with pytest.raises(BadFile, match=r"holds 2 SAEs; name one with member=\.\.\. \(--member\): plain, x\.safetensors"):
        Sae.from_pretrained(str(tmp_path))
    with pytest.raises(Missing, match=r"no file .*none\.safetensors"):
        Sae.from_pretrained(str(tmp_path / "none.safetensors"))
    with pytest.raises(UnknownName, match=r"unknown SAE 'no/resid_post\.1/such'"):
        Sae.from_pretrained("no/resid_post.1/such")


def test_a_transposed_weight_is_caught_by_the_live_shapes() -> None:
    sae = random_sae()
    with pytest.raises(TypeCheckError, match="W_dec"):
        dataclasses.replace(sae, W_dec=sae.W_dec.mT)


def test_skip_transcoder_adds_its_linear_part_and_survives_its_file(tmp_path) -> None:
    plain = random_sae(d_out=4)
    facts = dataclasses.replace(plain.facts, name="tiny/mlp_in.1/40", writes=["mlp_out.1"])
    skip = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    sae, acts = dataclasses.replace(plain, facts=facts, W_skip=skip), random_acts(5)
    torch.testing.assert_close(sae.reconstruct(acts), plain.reconstruct(acts) + acts @ skip)
    sae.save(tmp_path / "t.safetensors")
    back = Sae.load(tmp_path / "t.safetensors")
    assert_same(back, sae)
    assert back.W_skip is not None
    assert torch.equal(back.W_skip, skip)
    assert (back.facts.input_sites, back.facts.output_sites) == ((Site(1, "mlp_in"),), (Site(1, "mlp_out"),))
    with pytest.raises(BadConfig, match="needs the activations"):
        sae.decode(sae.encode(acts))
    with pytest.raises(TypeCheckError):
        dataclasses.replace(sae, W_skip=skip.T.contiguous())
