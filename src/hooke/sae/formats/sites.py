"""Sites as published files write them: TransformerLens hooks, Hugging Face modules, folder words; and the models they belong to."""

import re
from dataclasses import dataclass

from hooke.errors import UnknownName, unknown
from hooke.names import SITE_KINDS, Site
from hooke.sae.facts import Normalize

_ALIASES = {
    "gpt2-small": "gpt2",
    "openai-community/gpt2": "gpt2",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "google/gemma-3-270m-pt": "google/gemma-3-270m",
}
_OWNERS = {"pythia-": "EleutherAI/", "gemma-": "google/", "qwen3": "Qwen/", "Qwen": "Qwen/", "Llama-3": "meta-llama/"}
# TransformerLens hooks whose name is not the place it seems to be. `ln2.hook_normalized` is what the MLP's norm gives before its gain.
_NORMALIZED = {"ln1.hook_normalized": "resid_pre", "ln2.hook_normalized": "resid_mid"}
_RMS_MODELS = re.compile(r"gemma|llama|qwen|mistral|olmo", re.IGNORECASE)
_POST_NORM_MODELS = re.compile(r"gemma-?[23]", re.IGNORECASE)
# What a module path within the block is, where the block is not one that normalises what its parts give.
_MODULES = {
    "": ("resid_pre", "resid_post"),
    "mlp": ("mlp_in", "mlp_out"),
    "self_attn": ("", "attn_out"),
    "attention": ("", "attn_out"),
    "attn": ("", "attn_out"),
    "self_attn.o_proj": ("attn_z", "attn_out"),
    "attention.dense": ("attn_z", "attn_out"),
    "attn.c_proj": ("attn_z", "attn_out"),
    "ln_2": ("resid_mid", "mlp_in"),
    "input_layernorm": ("resid_pre", ""),
    "post_attention_layernorm": ("resid_mid", "mlp_in"),
    "mlp.down_proj": ("", "mlp_out"),
}
_POST_NORM_MODULES = {
    "mlp": ("mlp_in", ""),
    "self_attn": ("", ""),
    "self_attn.o_proj": ("attn_z", ""),
    "post_attention_layernorm": ("", "attn_out"),
    "pre_feedforward_layernorm": ("resid_mid", "mlp_in"),
    "post_feedforward_layernorm": ("", "mlp_out"),
    "mlp.down_proj": ("", ""),
}
_BLOCK = re.compile(r"(?:(?:model|transformer|gpt_neox|base_model)\.)?(?:language_model\.)?(?:layers|h)\.(\d{1,4})(?:\.(.+))?")
_FOLDER = re.compile(r"(resid_post|resid_pre|resid_mid|mlp_out|attn_out|resid|attn|mlp)_(?:layer_?)?(\d{1,4})")
_FOLDER_KINDS = {"resid": "resid_post", "attn": "attn_out", "mlp": "mlp_out"}


@dataclass(frozen=True)
class NormalizedSite:
    """A site, and what is done to its activations before they are encoded."""

    site: str
    """Our name of it."""
    normalize: Normalize = "none"
    """See `SaeFacts.normalize`."""
    eps: float = 0.0
    """See `SaeFacts.norm_eps`."""


def model_id(name: str) -> str:
    """The hub's id of the model that a file calls `name`.

    >>> model_id("gemma-2-2b"), model_id("gemma-v3-270m-pt"), model_id("gpt2-small")
    ('google/gemma-2-2b', 'google/gemma-3-270m', 'gpt2')
    """
    text = "".join(c for c in name if c.isprintable())[:200].strip().replace("gemma-v3", "gemma-3")
    if "/" not in text and text not in _ALIASES:
        text = next((owner + text for start, owner in _OWNERS.items() if text.startswith(start)), text)
    return _ALIASES.get(text, text)


def parse_hook(hook: str, model: str, *, side: str = "output") -> NormalizedSite:
    """Where `hook` is, in any grammar of section 2 of the field's formats; `side` is meant where a module path does not say.

    >>> parse_hook("blocks.3.hook_mlp_in", "google/gemma-2-2b").site
    'resid_mid.3'
    >>> parse_hook("model.layers.5.post_feedforward_layernorm.output", "google/gemma-3-1b-pt").site
    'mlp_out.5'
    """
    hook = hook.strip()[:200]
    if m := re.fullmatch(r"blocks\.(\d{1,4})\.(.+)", hook):
        return _lens(hook, int(m[1]), m[2], model)
    if hook in ("hook_embed", "embed", "embed_tokens", "embed_in", "model.embed_tokens", "gpt_neox.embed_in") and "gpt2" not in model:
        return NormalizedSite("resid_pre.0")
    path, _, last = hook.rpartition(".")
    path, side = (path, last) if last in ("input", "output") else (hook, side)
    if m := _BLOCK.fullmatch(path):
        post_norms = _POST_NORM_MODELS.search(model) or "feedforward_layernorm" in hook
        modules = _MODULES | (_POST_NORM_MODULES if post_norms else {})
        kind = modules.get(m[2] or "", ("", ""))[side == "output"]
        if kind:
            return NormalizedSite(f"{kind}.{int(m[1])}")
        raise _no_place(hook, model)
    if m := _FOLDER.search(hook):
        return NormalizedSite(f"{_FOLDER_KINDS.get(m[1], m[1])}.{int(m[2])}")
    if re.fullmatch(r"\w+\.\d{1,4}", hook):
        return NormalizedSite(str(Site.parse(hook)))
    raise _no_place(hook, model)


def _lens(hook: str, layer: int, inner: str, model: str) -> NormalizedSite:
    if inner in _NORMALIZED:
        if not _RMS_MODELS.search(model):
            raise _no_place(hook, model)
        return NormalizedSite(f"{_NORMALIZED[inner]}.{layer}", "rms_in", _eps(model))
    if inner == "hook_mlp_in":  # the residual that the MLP's norm reads, not what the MLP reads
        return NormalizedSite(f"resid_mid.{layer}")
    if inner == "mlp.hook_out" and not _POST_NORM_MODELS.search(model):
        return NormalizedSite(f"mlp_out.{layer}")
    try:
        return NormalizedSite(str(Site.parse(hook)))
    except UnknownName as error:
        raise _no_place(hook, model) from error


def _eps(model: str) -> float:
    return 1e-5 if re.search("llama|mistral", model, re.IGNORECASE) else 1e-6


def _no_place(hook: str, model: str) -> UnknownName:
    return unknown("site", hook, SITE_KINDS, f"Hooke has no site there in {model or 'a model it was not told'}.")


def lens_hook(site: Site, normalize: str) -> str:
    """The TransformerLens hook whose activations an SAE with this site and normalisation is fed."""
    if normalize == "rms_in":
        return f"blocks.{site.layer}.{'ln2' if site.kind == 'resid_mid' else 'ln1'}.hook_normalized"
    inner = {"attn_z": "attn.hook_z", "mlp_in": "mlp.hook_in"}.get(site.kind, f"hook_{site.kind}")
    return f"blocks.{site.layer}.{inner}"


def module_path(site: Site, model: str) -> tuple[str, str]:
    """Module within the trunk, and side, that hold `site` in models of the Llama, Gemma, GPT-NeoX and GPT-2 kind.

    >>> module_path(Site(3, "mlp_out"), "google/gemma-2-2b")
    ('layers.3.post_feedforward_layernorm', 'output')
    """
    neox, gpt2 = "pythia" in model.lower(), "gpt2" in model.lower()
    post = bool(_POST_NORM_MODELS.search(model))
    attention = "attention" if neox else "attn" if gpt2 else "self_attn"
    projection = {"attention": "dense", "attn": "c_proj", "self_attn": "o_proj"}[attention]
    inner, side = {
        "resid_pre": ("", "input"),
        "resid_post": ("", "output"),
        "resid_mid": ("pre_feedforward_layernorm" if post else "ln_2" if gpt2 else "post_attention_layernorm", "input"),
        "attn_z": (f"{attention}.{projection}", "input"),
        "attn_out": ("post_attention_layernorm" if post else attention, "output"),
        "mlp_in": ("pre_feedforward_layernorm", "output") if post else ("mlp", "input"),
        "mlp_out": ("post_feedforward_layernorm" if post else "mlp", "output"),
    }[site.kind]
    return f"{'h' if gpt2 else 'layers'}.{site.layer}{'.' if inner else ''}{inner}", side
