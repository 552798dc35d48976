"""Single `.pt` files that say nothing about themselves but their name: Goodfire, qresearch, and the hook_z SAEs for GPT-2 small."""

import re

from hooke.errors import BadFile
from hooke.sae import Sae
from hooke.sae.formats.parts import Parts, asked_site, check_parts, finish, weight
from hooke.sae.formats.source import Source

_LINEAR = {"encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias"}
_BARE = {"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"}
_PLAIN = {"W_enc", "W_dec", "b_enc", "b_dec"}
_NAME = re.compile(r"(?P<model>.+)-SAE-l(?P<layer>\d{1,3})\.pth?$")
_HOOK_Z = re.compile(r"(?P<model>[\w-]+?)_L(?P<layer>\d{1,3})_Hcat_z_.*\.pt$")
_OWNERS = {"Llama": "meta-llama/", "DeepSeek": "deepseek-ai/"}


def _content(source: Source) -> set[str]:
    return set(map(str, source.content(source.file))) if source.file.endswith((".pt", ".pth")) else set()


def sniff_linear(source: Source) -> bool:
    """A `.pt` with exactly the four tensors of two linear layers."""
    found = _content(source)
    return found >= _LINEAR or found == _BARE


def read_linear(source: Source) -> Sae:
    """Goodfire's and qresearch's: ReLU, no `b_dec` subtracted, the block's output; model and layer are in the file's name."""
    found = source.tensors(source.file)
    ends = ("_linear", "_linear") if "encoder_linear.weight" in found else ("", "")
    parts = Parts(
        weight(source, found, f"encoder{ends[0]}.weight", 2).T,
        weight(source, found, f"encoder{ends[0]}.bias", 1),
        weight(source, found, f"decoder{ends[1]}.weight", 2).T.contiguous(),
        weight(source, found, f"decoder{ends[1]}.bias", 1),
    )
    said = _NAME.search(source.file)
    model = source.model or _model(said["model"] if said else "")
    reads = asked_site(source, f"resid_post.{int(said['layer'])}" if said else "", model)
    return finish(source, parts, reads, model.rpartition("/")[2] or "sae", "", model=model, training={"format": "linear"})


def _model(name: str) -> str:
    return next((owner + name for start, owner in _OWNERS.items() if name.startswith(start)), name)


def sniff_hook_z(source: Source) -> bool:
    """A `.pt` with W_enc, W_dec, b_enc, b_dec and `Hcat_z` in its name, with a `_cfg.json` beside it."""
    return _content(source) >= _PLAIN and bool(_HOOK_Z.search(source.file))


def read_hook_z(source: Source) -> Sae:
    """ReLU on the heads side by side, `b_dec` subtracted."""
    found, said = source.tensors(source.file), _HOOK_Z.search(source.file)
    if said is None:
        raise BadFile(f"{source.where}: its name does not say the layer (gpt2-small_L5_Hcat_z_...).")
    parts = Parts(*(weight(source, found, name, 1 + name.startswith("W")) for name in ("W_enc", "b_enc", "W_dec", "b_dec")))
    check_parts(source, parts)
    return finish(
        source,
        parts.minus_b_dec(),
        asked_site(source, f"attn_z.{int(said['layer'])}", "gpt2"),
        "gpt2",
        "hook-z",
        model=source.model or "gpt2",
        context=128,
        bos=True,
        training={"format": "hook-z", "dataset": "openwebtext"},
    )
