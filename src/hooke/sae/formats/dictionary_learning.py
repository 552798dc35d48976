"""dictionary_learning: `ae.pt` and `config.json`; which formula holds stands under `trainer.dict_class`.

`submodule_name` says the site. BatchTopK and Matryoshka SAEs run with their scalar threshold, TopK ones with k per token. `AutoEncoder`
is brought to decoder rows of length 1, as its own loader does; `AutoEncoderNew` reports activations times decoder norms.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadFile, unknown
from hooke.sae import Sae
from hooke.sae.formats.parts import Parts, asked_site, check_parts, finish, gated, number, weight, word
from hooke.sae.formats.sites import model_id
from hooke.sae.formats.source import Source

FILE, CONFIG = "ae.pt", "config.json"


def sniff(source: Source) -> bool:
    """An `ae.pt` whose `config.json` has `trainer.dict_class`."""
    return _file(source) in source.names and CONFIG in source.names and isinstance(source.json(CONFIG).get("trainer"), dict)


def _file(source: Source) -> str:
    return source.file if source.file.endswith(".pt") else FILE


def read(source: Source) -> Sae:
    """The SAE in ``trainer_i/``."""
    settings = source.json(CONFIG)
    trainer, buffer = settings["trainer"], settings.get("buffer")
    kind = word(source, trainer, "dict_class")
    if kind not in _CLASSES:
        raise unknown("dict_class", kind, _CLASSES, f"Asked by {source.where}. IdentityDict has no features.")
    name = _file(source)
    under = "ae" if isinstance(source.content(name).get("ae"), dict) else ""
    found = source.tensors(name, under)
    parts = _CLASSES[kind](source, found, under)
    k = None
    if kind == "AutoEncoderTopK":
        k = int(source.scalar(name, "k", found, under) if "k" in found else number(source, trainer, "k"))
    model = source.model or model_id(word(source, trainer, "lm_name"))
    context = buffer.get("ctx_len") if isinstance(buffer, dict) else 0
    return finish(
        source,
        parts,
        asked_site(source, _hook(source, trainer), model),
        model.rpartition("/")[2] or "dictionary_learning",
        f"{source.folder.parent.name}.{source.folder.name}",
        model=model,
        activation="jumprelu" if k is None else "topk",
        k=k,
        context=context if isinstance(context, int) and context >= 0 else 0,
        bos=True,
        training={"format": "dictionary_learning", "dict_class": kind},
    )


def _hook(source: Source, trainer: dict[str, Any]) -> str:
    if name := word(source, trainer, "submodule_name"):
        return name
    for part in (source.folder.parent.name, source.folder.parent.parent.name):
        if re.search(r"_(?:layer_?)?\d+$", part):
            return part
    if "layer" in trainer:
        source.warn("submodule_name is missing: taken for the output of the block.")
        return f"resid_post.{int(number(source, trainer, 'layer'))}"
    return ""


def _linear(source: Source, found: dict[str, Tensor], bias: str) -> Parts:
    """Weights stored as two `torch.nn.Linear`."""
    return checked(
        source,
        Parts(
            weight(source, found, "encoder.weight", 2).T,
            weight(source, found, "encoder.bias", 1),
            weight(source, found, "decoder.weight", 2).T.contiguous(),
            weight(source, found, bias, 1),
        ),
    )


def checked(source: Source, parts: Parts) -> Parts:
    """`parts`, once they are known to fit each other."""
    check_parts(source, parts)
    return parts


def _plain(source: Source, found: dict[str, Tensor]) -> Parts:
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    return checked(source, Parts(*(weight(source, found, name, 1 + name.startswith("W")) for name in names)))


def _auto_encoder(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    return _linear(source, found, "bias").minus_b_dec().unit_decoder()


def _auto_encoder_new(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    return _linear(source, found, "decoder.bias").unit_decoder()


def _gated(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    b_gate, r_mag, b_mag = (weight(source, found, name, 1) for name in ("gate_bias", "r_mag", "mag_bias"))
    linear = _linear(source, found | {"encoder.bias": b_mag}, "decoder_bias")
    if not len(b_gate) == len(r_mag) == len(b_mag):
        raise BadFile(f"{source.where}: gate_bias, r_mag and mag_bias have {len(b_gate)}, {len(r_mag)} and {len(b_mag)} values.")
    return gated(linear.W_enc, b_gate, r_mag, b_mag, linear.W_dec, linear.b_dec).minus_b_dec()


def _jumprelu(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    parts = _plain(source, found)
    return Parts(parts.W_enc, parts.b_enc, parts.W_dec, parts.b_dec, weight(source, found, "threshold", 1))


def _topk(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    return _linear(source, found, "b_dec").minus_b_dec()


def _thresholded(source: Source, found: dict[str, Tensor], parts: Parts, under: str) -> Parts:
    if "threshold" not in found:
        raise BadFile(f"{source.where} has no threshold; a batch top-k SAE needs one outside training.")
    threshold = source.scalar(_file(source), "threshold", found, under)
    if threshold < 0:
        source.warn("its threshold was never set (-1): every positive pre-activation passes.")
    return Parts(parts.W_enc, parts.b_enc, parts.W_dec, parts.b_dec, torch.full_like(parts.b_enc, threshold))


def _batch_topk(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    return _thresholded(source, found, _linear(source, found, "b_dec").minus_b_dec(), under)


def _matryoshka(source: Source, found: dict[str, Tensor], under: str) -> Parts:
    return _thresholded(source, found, _plain(source, found).minus_b_dec(), under)


_CLASSES: dict[str, Callable[[Source, dict[str, Tensor], str], Parts]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
