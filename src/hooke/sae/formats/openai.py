"""OpenAI's GPT-2 small SAEs: one `.pt` per layer, the place in the path (``resid_post_mlp_v5_32k/autoencoders/8.pt``).

Where the activation is TopK, and only there, each token is layer-normalised first and brought back after decoding. ``pre_bias`` is
subtracted from the normalised input.
"""

import re
from typing import Any

from hooke.errors import BadFile, UnknownName, unknown
from hooke.sae import Sae
from hooke.sae.formats.parts import Parts, asked_site, check_parts, finish, number, weight, word
from hooke.sae.formats.sites import NormalizedSite
from hooke.sae.formats.source import Source

_LOCATIONS = {
    "resid_delta_attn": "attn_out",
    "resid_post_attn": "resid_mid",
    "resid_delta_mlp": "mlp_out",
    "resid_post_mlp": "resid_post",
}
_PATH = re.compile(
    r"(?P<location>mlp_post_act|resid_(?:delta|post)_(?:attn|mlp))(?P<version>_v\d\w*)?/(?:autoencoders/)?(?P<layer>\d{1,4})\.pt$"
)


def sniff(source: Source) -> bool:
    """A `.pt` with ``pre_bias`` and ``latent_bias``."""
    return source.file.endswith(".pt") and {"pre_bias", "latent_bias"} <= set(source.content(source.file))


def members(source: Source) -> list[str]:
    """The layers in a folder ``autoencoders``."""
    found = [name for name in source.names if re.fullmatch(r"\d{1,4}\.pt", name)]
    return sorted((name.removesuffix(".pt") for name in found), key=int)


def read(source: Source) -> Sae:
    """The SAE of one layer."""
    content, found = source.content(source.file), source.tensors(source.file)
    parts = Parts(
        weight(source, found, "encoder.weight", 2).T,
        weight(source, found, "latent_bias", 1),
        weight(source, found, "decoder.weight", 2).T.contiguous(),
        weight(source, found, "pre_bias", 1),
    )
    check_parts(source, parts)
    activation = word(source, content, "activation", "ReLU")
    if activation not in ("ReLU", "TopK"):
        raise BadFile(f"{source.where}: activation {activation!r}; known are ReLU and TopK.")
    k = _k(source, content) if activation == "TopK" else None
    said = _PATH.search(source.where.absolute().as_posix())
    site = asked_site(source, _hook(said), "gpt2").site
    return finish(
        source,
        parts.minus_b_dec(),
        NormalizedSite(site, "layer_norm" if k else "none"),
        "gpt2",
        f"openai{said['version'] or ''}" if said else "openai",
        model="gpt2",
        activation="topk" if k else "jumprelu",
        k=k,
        context=64,
        bos=False,
        metrics={"l0": k},
        training={"format": "openai"},
    )


def _k(source: Source, content: dict[str, Any]) -> int:
    state = content.get("activation_state_dict")
    if not isinstance(state, dict) or state.get("postact_fn", "ReLU") != "ReLU":
        raise BadFile(f"{source.where}: a TopK needs activation_state_dict with k and postact_fn ReLU.")
    return int(number(source, state, "k"))


def _hook(said: re.Match[str] | None) -> str:
    if said is None:
        return ""
    if said["location"] not in _LOCATIONS:
        raise _no_site(said["location"])
    return f"{_LOCATIONS[said['location']]}.{int(said['layer'])}"


def _no_site(location: str) -> UnknownName:
    return unknown("OpenAI location", location, _LOCATIONS, "mlp_post_act lies inside the MLP, where Hooke has no site.")
