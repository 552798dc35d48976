"""The catalogue's grammars give the names, paths and figures that their publishers use."""

import math
import re

import pytest

from hooke.errors import BadConfig, UnknownName
from hooke.names import SaeName
from hooke.sae.catalogue import KnownSae, find, find_path, near, reads_at, releases, repository, search

# Written down from the published repositories, not from the table.
GEMMA_SCOPE_1 = re.compile(r"(?:layer_\d+|embedding)/width_(?:4k|16k|32k|65k|131k|262k|524k|1m)/average_l0_(?:\d+|\*)")
GEMMA_SCOPE_2 = re.compile(
    r"(?:resid_post|attn_out|mlp_out|transcoder)(?:_all)?/layer_\d+_width_(?:16k|65k|262k|1m)_l0_(?:small|medium|big)(?:_seed_\d+)?(?:_affine)?"
    r"|crosscoder/layer(?:_\d+){4}_width_(?:65k|262k|524k|1m)_l0_(?:medium|big)|clt/width_(?:262k|524k)_l0_(?:medium|big)(?:_affine)?"
)
LAYERS = {"270m": 18, "1b": 26, "4b": 34, "12b": 48, "27b": 62}


def known(ref: str) -> KnownSae:
    found = find(ref)
    assert found is not None, ref
    return found


@pytest.mark.parametrize(
    ("ref", "repo", "path"),
    [
        ("gemma-scope-2b-pt-res/layer_20/width_16k/canonical", "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"),
        ("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"),
        ("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_408", "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_408"),
        ("gemma-scope-2b-pt-res/resid_post.20/16k-l0-408", "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_408"),
        ("gemma-2-2b/20-gemmascope-res-16k", "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"),
        ("gemma-2-2b/12-gemmascope-res-1m", "google/gemma-scope-2b-pt-res", "layer_12/width_1m/average_l0_107"),
        ("gemma-2-2b/12-gemmascope-res-1m__l0-58", "google/gemma-scope-2b-pt-res", "layer_12/width_1m/average_l0_58"),
        ("gemma-2-2b/0-gemmascope-att-65k", "google/gemma-scope-2b-pt-att", "layer_0/width_65k/average_l0_75"),
        ("gemma-2-2b/25-gemmascope-mlp-16k", "google/gemma-scope-2b-pt-mlp", "layer_25/width_16k/average_l0_126"),
        ("gemma-2-2b/11-gemmascope-transcoder-16k", "google/gemma-scope-2b-pt-transcoders", "layer_11/width_16k/average_l0_5"),
        ("gemma-2-9b-it/20-gemmascope-res-16k", "google/gemma-scope-9b-it-res", "layer_20/width_16k/average_l0_91"),
        ("gemma-2-27b/10-gemmascope-res-131k", "google/gemma-scope-27b-pt-res", "layer_10/width_131k/average_l0_106"),
        ("gemma-3-4b/17-gemmascope-2-res-65k", "google/gemma-scope-2-4b-pt", "resid_post/layer_17_width_65k_l0_medium"),
        ("gemma-3-1b-it/7-gemmascope-2-res-1m", "google/gemma-scope-2-1b-it", "resid_post/layer_7_width_1m_l0_medium"),
        (
            "gemma-3-27b-it/61-gemmascope-2-transcoder-262k",
            "google/gemma-scope-2-27b-it",
            "transcoder_all/layer_61_width_262k_l0_small_affine",
        ),
        ("gemma-scope-2-270m-pt-res/layer_5_width_16k_l0_small", "google/gemma-scope-2-270m-pt", "resid_post/layer_5_width_16k_l0_small"),
        (
            "gemma-scope-2-1b-pt-res/layer_13_width_262k_l0_medium_seed_1",
            "google/gemma-scope-2-1b-pt",
            "resid_post/layer_13_width_262k_l0_medium_seed_1",
        ),
        ("gpt2-small-res-jb/blocks.9.hook_resid_pre", "jbloom/GPT2-Small-SAEs-Reformatted", "blocks.9.hook_resid_pre"),
        ("gpt2-small/9-res-jb", "jbloom/GPT2-Small-SAEs-Reformatted", "blocks.9.hook_resid_pre"),
        ("llama_scope_lxr_8x/l19r_8x", "fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L19R-8x"),
        ("llama3.1-8b/3-llamascope-mlp-131k", "fnlp/Llama3_1-8B-Base-LXM-32x", "Llama3_1-8B-Base-L3M-32x"),
        ("llama_scope_lxtc_8x/l8tc_8x", "fnlp/Llama3_1-8B-Base-LXTC-8x", "Llama3_1-8B-Base-L8TC-8x"),
        (
            "deepseek-r1-distill-llama-8b/15-llamascope-slimpj-openr1-res-32k",
            "fnlp/Llama-Scope-R1-Distill",
            "400M-Slimpajama-400M-OpenR1-Math-220k/L15R",
        ),
        ("llama_scope_r1_distill/l0r_800m_slimpajama", "fnlp/Llama-Scope-R1-Distill", "800M-Slimpajama-0-OpenR1-Math-220k/L0R"),
        ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_44", "google/gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_44"),
        (
            "gemma-scope-2-1b-it-crosscoder/layer_7_13_17_22_width_262k_l0_medium",
            "google/gemma-scope-2-1b-it",
            "crosscoder/layer_7_13_17_22_width_262k_l0_medium",
        ),
        ("gemma-scope-2-270m-pt-clt/width_262k_l0_big", "google/gemma-scope-2-270m-pt", "clt/width_262k_l0_big"),
        ("gpt2-small/3-res_post_32k-oai", "jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs", "v5_32k_layer_3.pt"),
        ("gpt2-small-attn-out-v5-128k/blocks.0.hook_attn_out", "jbloom/GPT2-Small-OAI-v5-128k-attn-out-SAEs", "v5_128k_layer_0"),
        ("pythia-70m-deduped/5-att-sm", "ctigges/pythia-70m-deduped__att-sm_processed", "5-att-sm"),
        (
            "gemma-2-2b-res-snap-matryoshka-dc/blocks.24.hook_resid_post",
            "chanind/gemma-2-2b-batch-topk-matryoshka-saes-w-32k-l0-40",
            "snap/blocks.24.hook_resid_post",
        ),
        ("SAE-Res-Qwen3.5-27B-W80K-L0_100/layer63", "Qwen/SAE-Res-Qwen3.5-27B-W80K-L0_100", ""),
    ],
)
def test_names_lead_to_the_published_folders(ref: str, repo: str, path: str) -> None:
    assert (known(ref).repo, known(ref).path) == (repo, path)


@pytest.mark.parametrize(
    "ref",
    [
        "gemma-scope-2b-pt-res/layer_26/width_16k/canonical",  # 26 layers
        "gemma-scope-2b-pt-res/layer_20/width_17k/canonical",
        "gemma-scope-2b-pt-res/layer_20/width_1m/average_l0_58",  # that width is at other layers
        "gemma-scope-9b-pt-att/layer_20/width_16k/canonical",  # nothing says which
        "gemma-scope-2-270m-pt-res/layer_6_width_16k_l0_small",
        "gemma-scope-2-270m-pt-res/layer_5_width_16k_l0_small_seed_1",
        "gemma-scope-2-4b-pt-clt/width_262k_l0_medium",  # only of 270m and 1b
        "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_45",
        "gemma-2-2b-res-matryoshka-dc/blocks.25.hook_resid_post",
        "llama_scope_r1_distill/l0r",
        "gemma-2-2b/20-gemmascope-res-16k__l0-x",
        "gemma-2-2b/20-nothing-16k",
        "gemma-3-270m/resid_post.12/8k",
        "some/where",
        "",
    ],
)
def test_what_is_not_published_is_not_found(ref: str) -> None:
    assert find(ref) is None


def test_every_name_address_and_path_leads_back_to_its_row() -> None:
    rows = search()
    assert len({row.name for row in rows}) == len({row.address for row in rows}) == len(rows) > 10_000
    for row in rows[::97]:
        if row.l0_label == "*":
            continue
        assert find(row.name) == row
        assert find(row.address) == row
        assert str(SaeName.parse(row.address)) == row.address
        assert not row.path or find_path(row.repo, row.path) == row
        assert not row.neuronpedia or find(row.neuronpedia) == row


def test_every_path_is_one_that_the_publishers_grammar_allows() -> None:
    for row in search():
        if row.format == "Gemma Scope 1":
            assert GEMMA_SCOPE_1.fullmatch(row.path), row.path
        elif row.format == "Gemma Scope 2":
            assert GEMMA_SCOPE_2.fullmatch(row.path), row.path


def test_gemma_scope_2_has_as_many_as_its_grammar() -> None:
    count = {release.name: 0 for release in releases()}
    for release in releases():
        count[release.name] += len(release.saes)
    for size, layers in LAYERS.items():
        for tuning in ("pt", "it"):
            of = {kind: count[f"gemma-scope-2-{size}-{tuning}-{kind}"] for kind in ("res", "att", "mlp", "transcoders")}
            assert of == {"res": 52, "att": 36, "mlp": 48 if size == "1b" else 36, "transcoders": 72}
            every = [count[f"gemma-scope-2-{size}-{tuning}-{kind}-all"] for kind in ("res", "att", "mlp", "transcoders")]
            assert every == [4 * layers, 4 * layers, 4 * layers, 8 * layers]


def test_l0_behind_the_words() -> None:
    """floor(lo + (hi − lo) · min(1, 3 L / n)); one real configuration file says 60 for 4b-pt, layer 17, medium."""
    assert known("gemma-scope-2-4b-pt-res/layer_17_width_65k_l0_medium").l0 == 60
    assert known("gemma-scope-2-270m-pt-res/layer_5_width_16k_l0_small").l0 == math.floor(10 + 10 * 15 / 18)
    deep, every = (known(f"gemma-scope-2-270m-pt-res{suffix}/layer_5_width_16k_l0_big") for suffix in ("", "-all"))
    assert (deep.l0, every.l0) == (math.floor(60 + 90 * 15 / 18), math.floor(60 + 60 * 15 / 18))


def test_a_row_says_what_it_is() -> None:
    row = known("gemma-scope-2b-pt-att/layer_3/width_16k/canonical")
    assert (row.model, row.site, row.writes, row.d_in, row.d_sae, row.l0) == ("gemma-2-2b", "attn_z.3", "attn_z.3", 2048, 16384, 117)
    assert (row.address, row.files, row.canonical) == ("gemma-scope-2b-pt-att/attn_z.3/16k-l0-117", ("params.npz",), True)
    wide = known("llama_scope_lxr_32x/l0r_32x")
    assert (wide.d_sae, wide.files) == (131072, ("hyperparams.json", "checkpoints/final.safetensors"))
    assert known("gemma-3-4b-it/3-gemmascope-2-transcoder-16k").writes == "mlp_out.3"
    assert (known("gemma-scope-9b-pt-res/embedding/width_4k/average_l0_14").site, wide.reads) == ("resid_pre.0", ("resid_post.0",))


def test_a_row_of_many_layers() -> None:
    """Widths, features and L0 as two published configuration files say them."""
    joint = known("gemma-scope-2-270m-pt-crosscoder/layer_5_9_12_15_width_1m_l0_big")
    assert joint.reads == ("resid_post.5", "resid_post.9", "resid_post.12", "resid_post.15")
    assert (joint.address, joint.site, joint.d_in) == ("gemma-scope-2-270m-pt-crosscoder/resid_post.5/1m-l0-big", "resid_post.5", 4 * 640)
    assert (joint.d_sae, joint.l0, joint.files[0], joint.files[4]) == (1048576, 150, "config.json", "params_layer_3.safetensors")
    clt = known("gemma-scope-2-270m-pt-clt/width_262k_l0_big")
    assert (clt.d_sae, clt.l0, len(clt.files), clt.reads[17], clt.writes) == (262080, 150, 19, "mlp_in.17", "mlp_out.0")
    assert clt in search(model="gemma-3-270m", site="mlp_in.7")
    assert joint in search(model="gemma-3-270m", site="resid_post.12", width="1m")
    assert joint.to_json()["reads"] == list(joint.reads)


def test_searching() -> None:
    def names(**wanted: str) -> list[str]:
        return [row.name for row in search(**wanted)]

    assert names(model="gemma-2-2b", site="resid_post.20", width="16k") == ["gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"]
    assert names(model="google/gemma-2-2b", site="blocks.20.hook_resid_post", width="65536") == [
        "gemma-scope-2b-pt-res/layer_20/width_65k/average_l0_114"
    ]
    assert len(names(model="gemma-2-2b", site="attn_z")) == 52
    assert names(model="nothing") == []
    with pytest.raises(BadConfig, match="as a width"):
        search(width="wide")
    with pytest.raises(UnknownName, match="Did you mean 'resid_post'"):
        search(model="gemma-2-2b", site="resid_pst.3")


def test_reading_at() -> None:
    assert reads_at("resid_post.3", None)
    assert reads_at("resid_post.3", "resid_post")
    assert reads_at("resid_post.3", "model.layers.3")
    assert not reads_at("resid_post.3", "resid_post.4")
    assert not reads_at("resid_post.3", "attn_z")
    with pytest.raises(UnknownName, match="Did you mean 'resid_post'"):
        reads_at("resid_post.3", "resid_pst")


def test_near_names_and_repositories() -> None:
    assert near("gemma-scope-2b-pt-rse/layer_20/width_16k/canonical")[0] == "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"
    assert near("nothing at all") == []
    assert repository("gemma-scope-2-4b-pt") == "google/gemma-scope-2-4b-pt"
    assert repository("nothing") is None
    assert find_path("google/gemma-scope-2b-pt-res", "README.md") is None
