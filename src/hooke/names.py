"""The names people type and files carry: Site, SaeName, FeatureName. Parsed once at the edge, printed the same everywhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hooke.errors import BadConfig, unknown

SITE_KINDS = ("attn_out", "attn_z", "mlp_in", "mlp_out", "resid_mid", "resid_post", "resid_pre")

# What other tools call the same places (TransformerLens hooks; Hugging Face modules of the Llama/Gemma layout).
_TRANSFORMER_LENS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_z": "attn_z",
    "mlp.hook_in": "mlp_in",
}
_HUGGING_FACE = {
    "": "resid_post",
    "output": "resid_post",
    "self_attn.o_proj.input": "attn_z",
    "pre_feedforward_layernorm.output": "mlp_in",
    "post_feedforward_layernorm.output": "mlp_out",
}
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, order=True)
class Site:
    """A place in a model: a kind and a layer, counted from 0.

    >>> Site.parse("resid_post.12")
    Site(layer=12, kind='resid_post')
    >>> str(Site.parse("blocks.12.hook_resid_post"))
    'resid_post.12'
    """

    layer: int
    """Block number, counted from 0."""
    kind: str
    """One of ``SITE_KINDS``."""

    @classmethod
    def parse(cls, text: "str | Site") -> "Site":
        """The site that `text` names, in our form, TransformerLens' or Hugging Face's."""
        if isinstance(text, Site):
            return text
        kind, layer = _split_site(text.strip())
        if kind not in SITE_KINDS:
            raise unknown("site kind", kind, SITE_KINDS, f"A site is written kind.layer, for example resid_post.12 (asked: {text!r}).")
        return cls(int(layer), kind)

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"


def _split_site(text: str) -> tuple[str, str]:
    if m := re.fullmatch(r"blocks\.(\d{1,4})\.(.+)", text):
        return _TRANSFORMER_LENS.get(m[2], m[2]), m[1]
    if m := re.fullmatch(r"(?:model\.)?(?:language_model\.)?layers\.(\d{1,4})\.?(.*)", text):
        return _HUGGING_FACE.get(m[2], m[2]), m[1]
    if m := re.fullmatch(r"(\w+)\.(\d{1,4})", text):
        return m[1], m[2]
    kinds = ", ".join(SITE_KINDS)
    raise BadConfig(f"cannot read {text!r} as a site. A site is written kind.layer, for example resid_post.12; kinds: {kinds}.")


@dataclass(frozen=True, order=True)
class SaeName:
    """Address of an SAE: ``collection/site/variant``.

    >>> str(SaeName.parse("gemma-3-270m/resid_post.12/8k"))
    'gemma-3-270m/resid_post.12/8k'
    """

    collection: str
    """The pack or release; for our packs the model's name."""
    site: Site
    """Where in the model it reads."""
    variant: str
    """What tells it from other SAEs of the same site, usually the width."""

    @classmethod
    def parse(cls, text: "str | SaeName") -> "SaeName":
        if isinstance(text, SaeName):
            return text
        parts = text.split("/")
        if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
            example = "gemma-3-270m/resid_post.12/8k"
            raise BadConfig(f"cannot read {text!r} as an SAE's name. It is written collection/site/variant, for example {example}.")
        return cls(parts[0], Site.parse(parts[1]), parts[2])

    def __str__(self) -> str:
        return f"{self.collection}/{self.site}/{self.variant}"


def model_name(ref: str | Path) -> str:
    """What the model `ref` is called: of a folder its own name, however the path to it is written; of ``org/name`` the name.

    >>> model_name("google/gemma-3-270m"), model_name("/usr/lib/../bin/") == model_name("/usr/bin")
    ('gemma-3-270m', True)
    """
    return (Path(ref).resolve() if Path(ref).is_dir() else Path(ref)).name


def meant_by(asked: str, names: Iterable[str]) -> list[str]:
    """The SAEs among `names` that `asked` means: by the whole name, by its site or layer, or by these and the variant.

    >>> meant_by("12/4k", ["m/resid_post.12/4k", "m/resid_post.12/16k", "m/mlp_out.5/4k"])
    ['m/resid_post.12/4k']
    >>> meant_by("5", ["m/resid_post.12/4k", "m/mlp_out.5/4k"]), meant_by("4k", ["m/resid_post.12/4k"])
    (['m/mlp_out.5/4k'], [])
    """
    found = []
    for name in names:
        _, _, short = name.partition("/")
        site, _, variant = short.partition("/")
        layer = site.rpartition(".")[2]
        if asked in (name, short, site, layer, f"{layer}/{variant}"):
            found.append(name)
    return found


def shortest(name: str, names: Iterable[str]) -> str:
    """The shortest way to write the SAE called `name` that means none of the other `names`.

    >>> shortest("m/resid_post.12/4k", ["m/resid_post.5/4k"]), shortest("m/resid_post.12/4k", ["m/resid_post.12/8k"])
    ('12', '12/4k')
    """
    known = {name, *names}
    site, _, variant = name.partition("/")[2].partition("/")
    layer = site.rpartition(".")[2]
    return next((short for short in (layer, f"{layer}/{variant}", f"{site}/{variant}") if meant_by(short, known) == [name]), name)


def one_a_layer(names: Iterable[str]) -> list[str]:
    """The first of the SAEs at each layer's residual stream, from the lowest layer up.

    >>> one_a_layer(["m/resid_post.12/4k", "m/resid_post.12/8k", "m/mlp_out.3/4k", "m/resid_post.5/4k"])
    ['m/resid_post.5/4k', 'm/resid_post.12/4k']
    """
    found: dict[int, str] = {}
    for name in names:
        site = SaeName.parse(name).site
        if site.kind == "resid_post":
            found.setdefault(site.layer, name)
    return [name for _, name in sorted(found.items())]


@dataclass(frozen=True, order=True)
class FeatureName:
    """Address of one feature: ``sae/index``.

    >>> FeatureName.parse("gemma-3-270m/resid_post.12/8k/54").index
    54
    """

    sae: SaeName
    """The SAE it belongs to."""
    index: int
    """Its column in the codes."""

    @classmethod
    def parse(cls, text: "str | FeatureName") -> "FeatureName":
        if isinstance(text, FeatureName):
            return text
        head, _, index = text.rpartition("/")
        if not re.fullmatch(r"\d{1,9}", index):
            example = "gemma-3-270m/resid_post.12/8k/54"
            raise BadConfig(f"cannot read {text!r} as a feature's name. It is written sae/index, for example {example}.")
        return cls(SaeName.parse(head), int(index))

    def __str__(self) -> str:
        return f"{self.sae}/{self.index}"
