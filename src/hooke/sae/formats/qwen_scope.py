"""Qwen Scope: ``layer{L}.sae.pt`` files beside one `config.json`; both matrices are stored transposed, `b_dec` is not subtracted."""

import re

from hooke.errors import BadFile, quoted
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.formats.parts import Parts, finish, number, weight, word
from hooke.sae.formats.sites import NormalizedSite, model_id
from hooke.sae.formats.source import Source

CONFIG = "config.json"
_FILE = re.compile(r"layer(\d{1,4})\.sae\.pt")


def sniff(source: Source) -> bool:
    """A ``layer{L}.sae.pt``."""
    return bool(_FILE.fullmatch(source.file)) or (not source.file and bool(members(source)))


def members(source: Source) -> list[str]:
    """The layers."""
    return sorted((name.removesuffix(".sae.pt") for name in source.names if _FILE.fullmatch(name)), key=lambda name: int(name[5:]))


def read(source: Source) -> Sae:
    """The SAE of one layer."""
    config = source.json(CONFIG)
    if word(source, config, "model_type", "topk_sae") != "topk_sae":
        raise BadFile(f"{source.where}: model_type {quoted(config['model_type'])}; Qwen Scope is topk_sae.")
    found, layer = source.tensors(source.file), _FILE.fullmatch(source.file)
    if layer is None:
        raise BadFile(f"{source.where}: name one layer of {', '.join(members(source)[:20])}.")
    parts = Parts(
        weight(source, found, "W_enc", 2).T,
        weight(source, found, "b_enc", 1),
        weight(source, found, "W_dec", 2).T.contiguous(),
        weight(source, found, "b_dec", 1),
    )
    model, k = source.model or model_id(word(source, config, "base_model")), int(number(source, config, "k"))
    kind = word(source, config, "hook_point", "resid_post")
    return finish(
        source,
        parts,
        NormalizedSite(str(Site.parse(f"{kind}.{int(layer[1])}"))),
        model.rpartition("/")[2] or "qwen-scope",
        "",
        model=model,
        activation="topk",
        k=k,
        context=1024,
        bos=True,
        metrics={"l0": float(k)},
        training={"format": "qwen-scope"},
    )
