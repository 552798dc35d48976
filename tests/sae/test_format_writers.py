"""What Hooke writes in other formats is read back the same, or is refused with the reason."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.errors import BadConfig, BadFile, HookeError, UnknownName
from hooke.sae import Sae, SaeFacts
from hooke.sae.formats import open_sae, write_sae

WRITERS = ("native", "saelens", "gemma-scope", "gemma-scope-2", "sparsify")
KINDS = ("resid_pre", "resid_mid", "resid_post", "attn_z", "attn_out", "mlp_in", "mlp_out")
MODELS = ("google/gemma-2-2b", "google/gemma-3-270m", "meta-llama/Llama-3.1-8B", "gpt2")


def build(
    seed: int,
    d_in: int,
    d_sae: int,
    kind: str,
    model: str,
    activation: str,
    normalize: str,
    writes: list[str],
    relu: bool,
    skip: bool,
    l0: bool,
    groups: bool,
) -> Sae:
    """An SAE of any kind that Hooke knows."""
    g = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g)

    if writes:
        normalize = "rms_in" if kind == "resid_mid" and "gpt2" not in model else "none"
    facts = SaeFacts(
        f"some/{kind}.4/8",
        model,
        activation=activation,
        k=None if activation == "jumprelu" else 2,
        normalize=normalize,
        norm_eps=0.0 if normalize != "rms_in" else 1e-5 if "llama" in model.lower() else 1e-6,
        context=128,
        writes=writes,
        metrics={"l0": 3.0} if l0 else {},
        groups={"about": [0, 1], "word": [1, d_sae]} if groups else {},
    )
    threshold = drawn(d_sae).abs() if activation == "jumprelu" and not relu else torch.zeros(d_sae)
    W_skip = drawn(d_in, d_in) if skip and writes else None
    return Sae(drawn(d_in, d_sae), drawn(d_sae), drawn(d_sae, d_in), drawn(d_in), threshold, facts, W_skip)


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `build`."""
    kind = draw(st.sampled_from(KINDS))
    transcoder = kind in ("mlp_in", "resid_mid") and draw(st.booleans())
    return {
        "seed": draw(st.integers(0, 9)),
        "d_in": draw(st.integers(2, 5)),
        "d_sae": draw(st.sampled_from([4, 8, 12])),
        "kind": kind,
        "model": draw(st.sampled_from(MODELS)),
        "activation": draw(st.sampled_from(["jumprelu", "jumprelu", "topk", "groupmax"])),
        "normalize": draw(st.sampled_from(["none", "none", "layer_norm", "rms", "centre"])),
        "writes": ["mlp_out.4"] if transcoder else [],
        **{name: draw(st.booleans()) for name in ("relu", "skip", "l0", "groups")},
    }


@pytest.mark.parametrize("dialect", WRITERS)
@settings(max_examples=25)
@given(chosen=choices())
def test_what_is_written_is_read_back(dialect: str, chosen: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    sae = build(**chosen)
    folder = tmp_path_factory.mktemp("w")
    try:
        path = write_sae(sae, folder / "a", dialect)
    except (BadConfig, UnknownName):  # the messages are tested below
        assert not (folder / "a").exists()
        assert dialect != "native"
        return
    back = open_sae(path)
    x = torch.randn(9, sae.d_in, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(back.encode(x).dense(), sae.encode(x).dense(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back.reconstruct(x), sae.reconstruct(x), atol=1e-4, rtol=1e-4)
    assert (back.site, back.facts.output_sites) == (sae.site, sae.facts.output_sites)
    if dialect != "gemma-scope":  # whose files name no model: all of them are Google's
        assert back.facts.model == sae.facts.model
        assert back.facts.groups == sae.facts.groups
    assert (back.facts.activation, back.facts.normalize, back.facts.norm_eps) == (
        sae.facts.activation,
        sae.facts.normalize,
        sae.facts.norm_eps,
    )
    if dialect == "native":
        assert back.facts == sae.facts
    again = write_sae(sae, folder / "b", dialect)
    assert tree(folder / "a", path) == tree(folder / "b", again)


@pytest.mark.parametrize("groups", [5, {"about": [0, 9]}, {"about": [0, 2], "word": [1, 4]}, {"about": "all"}])
def test_groups_that_cannot_be_are_refused(groups: Any, tmp_path: Path) -> None:
    made = dataclasses.replace(sae(groups={"about": [0, 1], "word": [1, 4]}), W_dec=torch.eye(4))
    path = write_sae(made, tmp_path / "a", "saelens")
    config = json.loads((path / "cfg.json").read_text())
    assert config["metadata"]["hooke_groups"] == {"about": [0, 1], "word": [1, 4]}
    config["metadata"]["hooke_groups"] = groups
    (path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(BadFile, match="group"):
        open_sae(path)


def tree(root: Path, path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def sae(site: str = "resid_post.4", **facts: object) -> Sae:
    eye = torch.eye(4)
    made = SaeFacts(f"some/{site}/4", "google/gemma-2-2b", **facts)  # pyright: ignore[reportArgumentType]
    return Sae(eye, torch.zeros(4), eye, torch.zeros(4), torch.ones(4) if made.k is None else torch.zeros(4), made)


@pytest.mark.parametrize(
    ("dialect", "made", "said"),
    [
        ("sparsify", sae(), "has a threshold for every feature; sparsify files hold only a k"),
        ("sparsify", sae(activation="topk", k=2, normalize="rms"), "normalises its input"),
        ("gemma-scope", sae(activation="topk", k=2), "is topk with k=2; Gemma Scope files hold thresholds and no k"),
        ("gemma-scope", dataclasses.replace(sae(), W_skip=torch.eye(4)), "has a linear skip, which Gemma Scope files cannot hold"),
        ("gemma-scope", sae(normalize="layer_norm"), r"\(normalize layer_norm\)"),
        (
            "gemma-scope",
            sae("resid_mid.4", writes=["mlp_out.4"], normalize="rms_in", norm_eps=1e-5),
            "adds 1e-05 to the mean square it divides by; Gemma Scope files do not say it, and mean 1e-06",
        ),
        ("gemma-scope-2", sae(activation="groupmax", k=2), "Gemma Scope 2 files hold plain JumpReLU"),
        ("saelens", sae(activation="groupmax", k=2), "SAELens has no architecture for it"),
        ("saelens", sae(reads=["resid_post.4", "resid_post.5"]), "reads or writes several sites"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_the_reason(dialect: str, made: Sae, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=said):
        write_sae(made, tmp_path / "x", dialect)
    assert not (tmp_path / "x").exists()


def test_an_unknown_dialect_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown dialect to write 'saelense'\. Did you mean 'saelens'\?"):
        write_sae(sae(), tmp_path, "saelense")
    with pytest.raises(HookeError, match="openai is only read"):
        write_sae(sae(), tmp_path, "openai")
