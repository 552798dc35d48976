"""The table of architectures: where each kind of site lives in a Hugging Face model, and the arithmetic that proves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hooke.errors import BadConfig, BadFile, ShapeMismatch, UnknownName, unknown
from hooke.model.hooks import Located, Placed, run_until
from hooke.names import SITE_KINDS, Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Module path within the block, and side. Two rules that `verify` relies on: attn_z goes into the attention's output
# projection, mlp_in goes into the whole MLP. attn_out and mlp_out are what is added to the residual.
_LLAMA = {
    "resid_pre": ("", "input"),
    "attn_z": ("self_attn.o_proj", "input"),
    "attn_out": ("self_attn", "output"),
    "resid_mid": ("post_attention_layernorm", "input"),
    "mlp_in": ("mlp", "input"),
    "mlp_out": ("mlp", "output"),
    "resid_post": ("", "output"),
}
# Gemma 2 and 3 normalise what attention and MLP give before it is added.
_GEMMA = _LLAMA | {
    "attn_out": ("post_attention_layernorm", "output"),
    "resid_mid": ("pre_feedforward_layernorm", "input"),
    "mlp_out": ("post_feedforward_layernorm", "output"),
}
_GPT2 = _LLAMA | {
    "attn_z": ("attn.c_proj", "input"),
    "attn_out": ("attn", "output"),
    "resid_mid": ("ln_2", "input"),
}
_GPT_NEOX = _LLAMA | {
    "attn_z": ("attention.dense", "input"),
    "attn_out": ("attention", "output"),
}

# The order in which one block computes its sites; the same for parallel blocks, which run attention first.
_STEPS = ("resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in", "mlp_out", "resid_post")

# Largest difference, relative to the terms, that rounding alone explains in `verify`.
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


@dataclass(frozen=True)
class Architecture:
    """One row of the table: where a family of models keeps its blocks, and each kind of site within a block."""

    model_type: str
    """``config.model_type`` of the models it is about."""
    trunk: str
    """Module that holds everything but the LM head, as a dotted path from the causal LM."""
    blocks: str
    """The list of blocks, as a dotted path from the trunk."""
    places: Mapping[str, tuple[str, str]]
    """Site kind to module path within the block and side, ``input`` or ``output``."""
    post_norms: bool = False
    """Whether attention and MLP outputs are normalised before they are added."""
    parallel_flag: str = ""
    """The config field that makes attention and MLP read the same residual; empty if there is none."""

    def n_layers(self, config: Any) -> int:
        """Number of blocks."""
        return config.get_text_config().num_hidden_layers

    def parallel(self, config: Any) -> bool:
        """Whether attention and MLP of a block both read ``resid_pre``."""
        return bool(self.parallel_flag) and getattr(config.get_text_config(), self.parallel_flag)

    def sites(self, config: Any) -> list[Site]:
        """Every site of such a model, in the order in which they are computed."""
        kinds = [kind for kind in _STEPS if not (kind == "resid_mid" and self.parallel(config))]
        return [Site(layer, kind) for layer in range(self.n_layers(config)) for kind in kinds]

    def width(self, config: Any, site: Site) -> int:
        """Number of values per token at `site`: d_model, or heads × d_head for ``attn_z``."""
        text = config.get_text_config()
        if site.kind != "attn_z":
            return text.hidden_size
        d_head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return text.num_attention_heads * d_head

    def order(self, site: Site) -> tuple[int, int]:
        """A key that sorts sites by when they are computed."""
        return site.layer, _STEPS.index(site.kind)

    def one_pass(self, placed: Placed) -> tuple[Site, Site]:
        """The last site that `placed` reads and the first that it writes; raises `BadConfig` where one pass cannot hold it."""
        last, first = max(placed.input_sites, key=self.order), min(placed.output_sites, key=self.order)
        if self.order(last) > self.order(first):
            raise BadConfig(f"an SAE that writes {first} and reads {last} above it cannot be put in: one forward pass cannot hold it.")
        return last, first

    def base(self, model: nn.Module) -> nn.Module:
        """The module to run where no logits are wanted."""
        return self._submodule(model, self.trunk)

    def block(self, model: nn.Module, layer: int) -> nn.Module:
        """Block `layer` of `model`."""
        return self._submodule(self.base(model), f"{self.blocks}.{layer}")

    def locate(self, model: nn.Module, site: Site) -> Located:
        """Where `site` is in `model`."""
        self._check(model.config, site)
        path, side = self.places[site.kind]
        module = self._submodule(self.block(model, site.layer), path)
        return Located(module, "input" if side == "input" else "output", shared=site.kind == "resid_mid")

    def _check(self, config: Any, site: Site) -> None:
        if site.kind not in _STEPS:
            raise unknown("site kind", site.kind, SITE_KINDS)
        if not 0 <= site.layer < self.n_layers(config):
            last = self.n_layers(config) - 1
            raise UnknownName(f"unknown site {str(site)!r}: this {self.model_type} model has layers 0 to {last}.")
        if site.kind == "resid_mid" and self.parallel(config):
            raise UnknownName(
                f"unknown site {str(site)!r}: this {self.model_type} model has {self.parallel_flag}=True, its attention and MLP both read "
                f"resid_pre.{site.layer}, so nothing lies between them. Ask for resid_pre.{site.layer} or resid_post.{site.layer}."
            )

    def _submodule(self, root: nn.Module, path: str) -> nn.Module:
        try:
            return root.get_submodule(path)
        except AttributeError as error:
            raise ShapeMismatch(f"a {self.model_type} model should have a module {path!r} in {type(root).__name__}: {error}.") from error


ARCHITECTURES = {
    "gemma2": Architecture("gemma2", "model", "layers", _GEMMA, post_norms=True),
    "gemma3": Architecture("gemma3", "model.language_model", "layers", _GEMMA, post_norms=True),
    "gemma3_text": Architecture("gemma3_text", "model", "layers", _GEMMA, post_norms=True),
    "gpt2": Architecture("gpt2", "transformer", "h", _GPT2),
    "gpt_neox": Architecture("gpt_neox", "gpt_neox", "layers", _GPT_NEOX, parallel_flag="use_parallel_residual"),
    "llama": Architecture("llama", "model", "layers", _LLAMA),
    "mistral": Architecture("mistral", "model", "layers", _LLAMA),
    "qwen2": Architecture("qwen2", "model", "layers", _LLAMA),
    "qwen3": Architecture("qwen3", "model", "layers", _LLAMA),
}


def architecture_of(config: Any) -> Architecture:
    """The row for models of this configuration.

    >>> from transformers import GPT2Config
    >>> architecture_of(GPT2Config()).places["attn_z"]
    ('attn.c_proj', 'input')
    """
    if config.model_type not in ARCHITECTURES:
        raise unknown("architecture", config.model_type, ARCHITECTURES, "A new one takes one row in hooke/model/architectures.py.")
    return ARCHITECTURES[config.model_type]


def verify(model: "PreTrainedModel", architecture: Architecture) -> None:
    """Raise ShapeMismatch unless `architecture` is right for `model`, judged by one pass over four tokens.

    In the first, the middle and the last block: every width; ``resid_pre[l] = resid_post[l-1]``;
    ``resid_mid = resid_pre + attn_out``; ``resid_post = resid_mid + mlp_out`` (parallel blocks:
    ``resid_pre + attn_out + mlp_out``); ``attn_out`` made from ``attn_z``; ``mlp_out`` made from ``mlp_in``.
    """
    config, n_layers = model.config, architecture.n_layers(model.config)
    checked = {0, n_layers // 2, n_layers - 1}
    below = {layer - 1 for layer in checked}
    sites = [s for s in architecture.sites(config) if s.layer in checked or (s.kind == "resid_post" and s.layer in below)]
    located = {site: architecture.locate(model, site) for site in sites}
    base, training = architecture.base(model), model.training
    vocab = config.get_text_config().vocab_size
    tokens = torch.tensor([[vocab * i // 5 for i in range(1, 5)]], device=model.device)  # spread out, so neither padding nor each other
    model.eval()  # dropout would come between the terms
    try:
        with torch.no_grad():
            acts = run_until(base, located, max(sites, key=architecture.order), input_ids=tokens, use_cache=False)
            parts = getattr(model, "tp_size", None) or 1  # of a model that is cut over processes each has some of the heads
            for site in sites:
                _check_width(site, acts[site], architecture.width(config, site) // (parts if site.kind == "attn_z" else 1), tokens)
            for layer in sorted(checked):
                _check_block(architecture, architecture.parallel(config), layer, acts, located)
    except ShapeMismatch as error:
        if name := spoilt_weight(model):
            raise BadFile(f"the weight {name!r} of this model holds values that are not finite; its file is damaged.") from error
        raise
    finally:
        model.train(training)


def spoilt_weight(model: "PreTrainedModel") -> str | None:
    """The name of the first weight that holds NaN or infinity, of what is in memory here; None where all is well."""
    here = ((name, getattr(weight, "to_local", lambda own=weight: own)()) for name, weight in model.named_parameters())
    bounds = ((name, weight.aminmax()) for name, weight in here if weight.numel() and not weight.is_meta)
    return next((name for name, (low, high) in bounds if not (low.isfinite() and high.isfinite())), None)


def _check_width(site: Site, acts: Tensor, width: int, tokens: Tensor) -> None:
    wanted = [*tokens.shape, width]
    if list(acts.shape) != wanted:
        raise ShapeMismatch(f"{site} should have the shape {wanted} [batch, token, value], but {list(acts.shape)} was found there.")


def _check_block(
    architecture: Architecture, parallel: bool, layer: int, acts: Mapping[Site, Tensor], located: Mapping[Site, Located]
) -> None:
    at = {site.kind: value for site, value in acts.items() if site.layer == layer}
    if layer > 0:
        _assert_sum(Site(layer, "resid_pre"), at["resid_pre"], {f"resid_post.{layer - 1}": acts[Site(layer - 1, "resid_post")]})
    for source, out in (("attn_z", "attn_out"), ("mlp_in", "mlp_out")):
        through = [located[Site(layer, source)].module] + [located[Site(layer, out)].module] * architecture.post_norms
        _assert_made_from(Site(layer, source), at[source], Site(layer, out), at[out], through)
    sums = {"resid_post": ("resid_pre", "attn_out", "mlp_out")}
    if not parallel:
        sums = {"resid_mid": ("resid_pre", "attn_out"), "resid_post": ("resid_mid", "mlp_out")}
    for total, terms in sums.items():
        _assert_sum(Site(layer, total), at[total], {f"{term}.{layer}": at[term] for term in terms})


def _assert_sum(site: Site, found: Tensor, terms: Mapping[str, Tensor]) -> None:
    stacked = torch.stack([term.cpu().double() for term in terms.values()])
    off = (found.cpu().double() - stacked.sum(0)).abs()
    _assert_close(f"{site} should equal {' + '.join(terms)}", off, _tolerance(found) * stacked.abs().sum(0))


def _assert_made_from(source: Site, given: Tensor, out: Site, found: Tensor, through: list[nn.Module]) -> None:
    claim = f"{out} should be what {' then '.join(type(module).__name__ for module in through)} makes of {source}"
    value = given
    try:
        for module in through:
            value = module(value)
    except (RuntimeError, TypeError) as error:
        raise ShapeMismatch(f"{claim}, which cannot take it: {error}.") from error
    if isinstance(value, tuple) or value.shape != found.shape:
        raise ShapeMismatch(f"{claim}, but what that makes is not of its shape, {list(found.shape)}.")
    wanted = value.cpu().double()
    off = (found.cpu().double() - wanted).abs()
    _assert_close(claim, off, _tolerance(found) * (wanted.abs() + wanted.abs().amax(-1, keepdim=True)))


def _assert_close(claim: str, off: Tensor, allowed: Tensor) -> None:
    if not bool((off <= allowed).all()):
        worst = int((off - allowed).argmax())
        raise ShapeMismatch(
            f"{claim}, but a difference of {off.flatten()[worst].item():.3g} was found where rounding explains "
            f"{allowed.flatten()[worst].item():.3g}: the row of this architecture does not fit the loaded model."
        )


def _tolerance(acts: Tensor) -> float:
    return _TOLERANCE.get(acts.dtype, _TOLERANCE[torch.bfloat16])
