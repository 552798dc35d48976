"""Every published format gives the activations its authors meant, and says what it is before its weights are read."""

import hashlib
import json
import re
import sys
from pathlib import Path

import published
import pytest
import torch
from published import CASES, D, F, gemma_scope, gemma_scope_2, put, saelens, text, weights

from hooke import tiny
from hooke.errors import BadConfig, BadFile, HookeError, Missing, ShapeMismatch, UnknownName
from hooke.files import write_safetensors
from hooke.sae import Sae
from hooke.sae.formats import DIALECTS, inspect, open_sae
from hooke.sae.formats.gemma_scope import write_npz
from hooke.sae.formats.sites import lens_hook, model_id, module_path, parse_hook


def acts(width: int, tokens: int = 40) -> torch.Tensor:
    return 2 * torch.randn(tokens, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("case", CASES)
def test_a_published_sae_gives_what_its_authors_meant(case: str, tmp_path: Path) -> None:
    made = CASES[case](tmp_path)
    sae = open_sae(made.path, member=made.member)
    x = acts(sae.d_in)
    codes, rebuilt = made.formula(x)
    torch.testing.assert_close(sae.encode(x).dense(), codes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sae.reconstruct(x), rebuilt, atol=5e-5, rtol=1e-5)
    assert (str(sae.site), sae.facts.model) == (made.site, made.model)
    assert not made.writes or sae.facts.writes == [made.writes]


@pytest.mark.parametrize("case", CASES)
def test_inspect_says_the_same_without_reading_weights(case: str, tmp_path: Path) -> None:
    made = CASES[case](tmp_path)
    sae, found = open_sae(made.path, member=made.member), inspect(made.path, member=made.member)
    assert (found.dialect, found.name, found.model) == (made.dialect, sae.name, sae.facts.model)
    assert (found.d_in, found.d_sae, found.d_out) == (sae.d_in, sae.d_sae, len(sae.b_dec))
    assert found.reads == [str(site) for site in sae.facts.input_sites]
    assert found.writes == [str(site) for site in sae.facts.output_sites]
    assert found.bytes > 0
    assert json.loads(json.dumps(found.to_json()))["kind"] == found.kind


MANY = {
    "clt": published.gemma_scope_2_many,
    "crosscoder": lambda root: published.gemma_scope_2_many(root, "crosscoder"),
    "circuit-tracer": published.circuit_tracer_cross,
    "openmoss": published.openmoss_cross,
}


@pytest.mark.parametrize("kind", MANY)
def test_the_shares_of_many_layers_add_up_to_the_whole(kind: str, tmp_path: Path) -> None:
    made = MANY[kind](tmp_path)
    whole, members = open_sae(made.path), inspect(made.path).members
    x = acts(whole.d_in)
    parts = [open_sae(made.path, member=member) for member in members]
    assert [str(part.site) for part in parts] == [str(site) for site in whole.facts.input_sites]
    places = {site: torch.zeros(len(x), D) for site in whole.facts.output_sites}
    for part, block in zip(parts, x.split(D, 1), strict=True):
        for site, share in zip(part.facts.output_sites, part.reconstruct(block.contiguous()).split(D, 1), strict=True):
            places[site] += share
    torch.testing.assert_close(torch.cat(list(places.values()), 1), made.formula(x)[1], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["clt", "crosscoder", "circuit-tracer"])
def test_a_share_is_read_though_the_others_are_not_here(kind: str, tmp_path: Path) -> None:
    made = MANY[kind](tmp_path)
    member = inspect(made.path).members[1]
    before = open_sae(made.path, member=member)
    own = {member, member.replace("W_enc", "W_dec")}
    for file in made.path.glob("*.safetensors"):
        if file.stem not in own:
            file.unlink()
    after = open_sae(made.path, member=member)
    assert after.facts == before.facts
    assert torch.equal(after.W_dec, before.W_dec)
    with pytest.raises(BadFile, match="numbered from 0 without a gap"):
        open_sae(made.path)


def test_a_set_that_cannot_be_is_refused(tmp_path: Path) -> None:
    made = published.gemma_scope_2_many(tmp_path)
    path = made.path / "params_layer_2.safetensors"
    path.rename(made.path / "params_layer_7.safetensors")
    with pytest.raises(BadFile, match=r"params_layer_7\.safetensors is file 7 of a set that writes 3 layers"):
        open_sae(made.path, member="params_layer_7")
    wide = {"w_enc": torch.ones(900, 1), "w_dec": torch.ones(1, 900, 900), "affine_skip_connection": torch.ones(900, 900)}
    put(made.path / "params_layer_0.safetensors", wide | {"b_enc": torch.ones(1), "threshold": torch.ones(1), "b_dec": torch.ones(900)})
    with pytest.raises(BadFile, match=r"a skip of shape \[900, 900\] does not go with w_dec \[1, 900, 900\]"):
        open_sae(made.path, member="params_layer_0")


# golden files


def fill(start: int, *shape: int) -> torch.Tensor:
    i = torch.arange(start, start + int(torch.tensor(shape).prod()))
    return (((i * 7 + 3) % 11 - 5) / 8).reshape(shape).float()


GOLDEN = {
    "W_enc": fill(0, 4, 8),
    "W_dec": fill(100, 8, 4),
    "b_enc": fill(200, 8),
    "b_dec": fill(300, 4),
    "threshold": fill(400, 8).abs() + 0.125,
}
SKIP = fill(600, 4, 4)
LOWER = {"W_enc": "w_enc", "W_dec": "w_dec", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}
X = 4 * fill(500, 3, 4)
SPARSIFY = {"encoder.weight": GOLDEN["W_enc"].T, "encoder.bias": GOLDEN["b_enc"], "W_dec": GOLDEN["W_dec"], "b_dec": GOLDEN["b_dec"]}
DIGESTS = [
    ({LOWER[n]: t for n, t in GOLDEN.items()}, 656, "d511b6193122808ea0419487019082e4b2945a4b96e5380d93d880fd6ab5ffd3"),
    (
        {LOWER[n]: t for n, t in GOLDEN.items()} | {"affine_skip_connection": SKIP},
        800,
        "1b6d14bbb81f58b9b68e3da1548035440ec973262677bdf4b22e196c34586a3e",
    ),
    (GOLDEN, 656, "fb1907b00c81019d607f453c9794ae5095e4ea476ebf934c6c9fe57695781658"),
    ({"sparsity": torch.full((8,), -2.0)}, 104, "188d491f0318ab9e00270e1bc31192e656ae3f5cac67112b3da548dd28b03607"),
    (SPARSIFY, 576, "98c3b5fdad3d6d6ae4892b0a47d1c39fe998721f85cf6be2f1d6bd91f866415b"),
]


@pytest.mark.parametrize(("tensors", "size", "digest"), DIGESTS)
def test_safetensors_are_written_byte_for_byte_as_the_reference_does(tensors, size: int, digest: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", tensors, {})
    data = (tmp_path / "x").read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)


NPZ_BEFORE_3_11_4 = "f1f75da4821799f03ca7ec5c45e5ff888d089c87dcb92cabc7311bbbe54af2b5"


def test_npz_is_written_byte_for_byte_as_numpy_does(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", {name: tensor.numpy() for name, tensor in GOLDEN.items()})
    data = (tmp_path / "x.npz").read_bytes()
    # Python's zipfile names another version of the format in its headers since 3.11.4; all else is the same.
    fixed = sys.version_info >= (3, 11, 4)
    digest = "2f6223bad7567bfb22269824dcb5ff84eac3724bc09c9da7d65d6b8dc33a81c3" if fixed else NPZ_BEFORE_3_11_4
    assert (len(data), hashlib.sha256(data).hexdigest()) == (1576, digest)


CODES = [[0, 0.3125, 0, 0, 0, 0, 0, 0], [0.9375, 0, 1.3125, 0.8125, 0, 1.1875, 0.6875, 0], [0, 0, 0.9375, 0, 0, 0, 0, 0]]
REBUILT = [[-0.375, 0.34375, 0.1171875, -0.5390625], [-0.46875, 0.6875, 0.46875, 0.59375], [-0.9609375, 0.734375, -0.234375, 0.0859375]]
WITH_SKIP = [
    [-1.625, 1.65625, -0.8203125, -1.6640625],
    [2.34375, -1.3125, -0.15625, 3.40625],
    [-2.3359375, 2.296875, -1.234375, -1.4140625],
]


@pytest.mark.parametrize("skip", [False, True])
def test_the_golden_gemma_scope_2_gives_the_golden_numbers(skip: bool, tmp_path: Path) -> None:
    folder = tmp_path / "transcoder" / f"layer_5_width_16k_l0_small{'_affine' if skip else ''}"
    put(folder / "params.safetensors", {LOWER[n]: t for n, t in GOLDEN.items()} | ({"affine_skip_connection": SKIP} if skip else {}))
    sae = open_sae(folder)
    assert sae.encode(X).dense().tolist() == CODES
    assert sae.reconstruct(X).tolist() == (WITH_SKIP if skip else REBUILT)
    strict = Sae(sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, sae.threshold.clone(), sae.facts, sae.W_skip)
    strict.threshold[0] = 0.3125
    assert float(strict.encode(X).dense()[0, 0]) == 0


def test_the_golden_sparsify_gives_the_golden_numbers(tmp_path: Path) -> None:
    put(tmp_path / "layers.0" / "sae.safetensors", SPARSIFY)
    text(tmp_path / "layers.0" / "cfg.json", {"k": 2, "num_latents": 8, "d_in": 4})
    sae = open_sae(tmp_path / "layers.0")
    codes = sae.encode(X)
    assert codes.feature.tolist() == [1, 2, 2, 5, 2, 5]
    assert codes.value.tolist() == [0.671875, 0.484375, 1.484375, 1.3125, 1.109375, 0.8125]
    assert sae.decode(codes)[0].tolist() == [-0.677734375, 0.28515625, 0.130859375, -0.28125]


# what is told from where


def test_a_folder_of_several_lists_them_and_a_name_picks_one(tmp_path: Path) -> None:
    gemma_scope(tmp_path / "repo")
    gemma_scope_2(tmp_path / "repo")
    found = inspect(tmp_path / "repo")
    assert found.dialect == ""
    assert found.members == [
        "gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_small",
        "models--google--gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_7",
    ]
    assert open_sae(tmp_path / "repo", member=found.members[0]).facts.model == "google/gemma-3-270m"
    with pytest.raises(BadFile, match=r"holds 2 SAEs; name one with member=\.\.\. \(--member\): gemma-scope-2"):
        open_sae(tmp_path / "repo")
    with pytest.raises(UnknownName, match="unknown member 'layer_5'"):
        open_sae(tmp_path / "repo", member="layer_5")


def test_what_the_path_does_not_say_is_asked_for(tmp_path: Path) -> None:
    made = gemma_scope(tmp_path)
    bare = tmp_path / "params.npz"
    bare.write_bytes((made.path / "params.npz").read_bytes())
    with pytest.raises(BadFile, match="Gemma Scope files say nothing about themselves"):
        open_sae(bare)
    assert str(open_sae(bare, site="resid_post.7", model="google/gemma-2-2b").site) == "resid_post.7"
    assert "taken for residual stream SAEs (-res)" in inspect(bare, site="resid_post.7").warnings[0]
    with pytest.raises(Missing, match="no file"):
        open_sae(tmp_path / "none")
    text(tmp_path / "notes.txt", "hello")
    with pytest.raises(BadFile, match=r"is no SAE in a form that Hooke knows\. Known: native"):
        open_sae(tmp_path / "notes.txt")


def test_an_option_on_our_own_file_works_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sae.safetensors"
    tiny.sae().save(path)
    assert open_sae(path, model="other").facts.model == inspect(path, model="other").model == "other"
    assert open_sae(path, site="resid_post.0").facts == tiny.sae().facts
    with pytest.raises(BadConfig, match=r"says itself that it reads resid_post\.0; the site resid_post\.1 cannot"):
        open_sae(path, site="resid_post.1")


def test_a_transposed_matrix_is_named(tmp_path: Path) -> None:
    made = gemma_scope_2(tmp_path)
    w = weights(3)
    put(made.path / "params.safetensors", {LOWER[n]: w[n] for n in LOWER} | {"w_enc": w["W_enc"].T})
    with pytest.raises(ShapeMismatch, match=r"W_enc has shape \[20, 6\] in our orientation.*it is transposed"):
        open_sae(made.path)
    with pytest.raises(ShapeMismatch, match="it is transposed"):
        inspect(made.path)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"architecture": "temporal"}, BadFile, "it attends over whole sequences"),
        ({"architecture": "matching_pursuit"}, BadFile, "no encoder but a search"),
        ({"architecture": "jumprellu"}, UnknownName, "Did you mean 'jumprelu'"),
        ({"normalize_activations": "covariance_whitening"}, UnknownName, "unknown normalize_activations"),
        (
            {"metadata": {"sae_lens_version": "6.0", "hook_name": "blocks.1.attn.hook_q"}},
            UnknownName,
            "unknown site 'blocks.1.attn.hook_q'",
        ),
        ({"metadata": {"sae_lens_version": "6.0", "hook_name": "blocks.1.hook_resid_pre", "hook_head_index": 3}}, BadFile, "reads head 3"),
        ({"metadata": {"sae_lens_version": "6.0"}}, BadFile, "does not say which site it reads"),
        ({"architecture": "topk", "k": "many"}, BadFile, "k is 'many'; it must be a number"),
        ({"architecture": "topk", "k": 10**9}, BadFile, "k=1000000000 cannot be with 20 features"),
    ],
)
def test_what_has_no_faithful_form_is_refused_with_a_reason(change, kind: type[HookeError], said: str, tmp_path: Path) -> None:
    folder = saelens(tmp_path, "jumprelu").path
    text(folder / "cfg.json", json.loads((folder / "cfg.json").read_text()) | change)
    with pytest.raises(kind, match=said):
        open_sae(folder)


def test_a_pickle_that_is_more_than_tensors_is_not_run(tmp_path: Path) -> None:
    made = published.goodfire(tmp_path)
    torch.save({"encoder_linear.weight": torch.zeros(2), "call": Path("x")}, made.path)
    with pytest.raises(BadFile, match=r"its pickle has the name pathlib\..*Nothing was run.*save its tensors alone"):
        open_sae(made.path)
    torch.save({"a": torch.zeros(2)}, made.path, _use_new_zipfile_serialization=False)
    with pytest.raises(BadFile, match="not a zip file as torch"):
        open_sae(made.path)


def anonymous_memory() -> int:
    """Bytes of this process that are no file's."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by /proc")
def test_safetensors_are_mapped_and_not_copied(tmp_path: Path) -> None:
    w = weights(5, d_in=512, f=8192)  # 32 MiB
    put(tmp_path / "resid_post/layer_5_width_16k_l0_small/params.safetensors", {LOWER[n]: w[n] for n in LOWER})
    open_sae(gemma_scope_2(tmp_path).path)  # whatever is imported on first use
    before = anonymous_memory()
    sae = open_sae(tmp_path / "resid_post/layer_5_width_16k_l0_small")
    assert anonymous_memory() - before < 8 << 20
    assert torch.equal(sae.W_enc, w["W_enc"])


# sites


def test_sites_of_every_grammar() -> None:
    gemma, llama, pythia = "google/gemma-2-2b", "meta-llama/Llama-3.1-8B", "EleutherAI/pythia-70m-deduped"
    rows = [
        ("blocks.12.hook_resid_post", gemma, "resid_post.12"),
        ("hook_embed", gemma, "resid_pre.0"),
        ("blocks.3.attn.hook_z", gemma, "attn_z.3"),
        ("blocks.3.mlp.hook_out", llama, "mlp_out.3"),
        ("model.layers.17.self_attn.o_proj.input", gemma, "attn_z.17"),
        ("model.layers.5", llama, "resid_post.5"),
        ("model.layers.5.mlp", llama, "mlp_out.5"),
        ("layers.5.attention", pythia, "attn_out.5"),
        ("h.3.attn", "gpt2", "attn_out.3"),
        ("resid_post_layer_8", pythia, "resid_post.8"),
        ("mlp_out_layer1", pythia, "mlp_out.1"),
    ]
    assert [parse_hook(hook, model).site for hook, model, _ in rows] == [site for _, _, site in rows]
    assert parse_hook("layers.5.mlp", llama, side="input").site == "mlp_in.5"
    for hook, model in [("blocks.3.mlp.hook_out", gemma), ("model.layers.5.mlp", gemma), ("hook_embed", "gpt2"), ("nonsense", gemma)]:
        with pytest.raises(UnknownName, match="unknown site"):
            parse_hook(hook, model)
    assert model_id("pythia-70m-deduped") == pythia


@pytest.mark.parametrize("model", ["google/gemma-2-2b", "meta-llama/Llama-3.1-8B", "gpt2", "EleutherAI/pythia-70m-deduped"])
@pytest.mark.parametrize("kind", ["resid_pre", "resid_mid", "resid_post", "attn_z", "attn_out", "mlp_in", "mlp_out"])
def test_a_site_written_as_a_module_or_hook_is_read_back(kind: str, model: str) -> None:
    from hooke.names import Site

    site = Site(4, kind)
    path, side = module_path(site, model)
    if not (kind == "resid_mid" and "pythia" in model):  # GPT-NeoX has no such place
        assert parse_hook(f"{path}.{side}", model).site == str(site)
    assert parse_hook(lens_hook(site, "none"), model).site == str(site)


def test_the_table_of_dialects_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
    assert [name for name in DIALECTS if f"`{name}`" not in page] == []
    assert F == 20
