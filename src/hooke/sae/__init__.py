"""Sae: a sparse autoencoder's weights and facts; encode, decode, reconstruct, save, load. Knows no model."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from hooke.codes import Codes
from hooke.errors import BadConfig, BadFile, ShapeMismatch, UnknownName
from hooke.files import read_safetensors, safetensors_header, write_safetensors
from hooke.names import SaeName, Site

__all__ = ["Sae", "SaeFacts"]

Activation = Literal["jumprelu", "topk"]
_ACTIVATIONS = get_args(Activation)
SCHEMA = 1
# What a fact must be when it is read from a file.
_KINDS = {
    "name": str,
    "model": str,
    "activation": str,
    "k": int | None,
    "context": int,
    "bos": bool,
    "reads": list,
    "writes": list,
    "metrics": dict,
    "training": dict,
}
_WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec")
# Dense pre-activations held at a time: bounds them at 64 MiB.
_DENSE_VALUES = 1 << 24


@dataclass(frozen=True)
class SaeFacts:
    """What is true of an SAE besides its weights; written into its file."""

    name: str
    """Address, ``collection/site/variant``."""
    model: str
    """The model whose activations it was trained on."""
    activation: Activation = "jumprelu"
    """``jumprelu``: a pre-activation above its feature's threshold passes unchanged. ``topk``: the `k` largest pass, if positive."""
    k: int | None = None
    """Active features per token, for ``topk``."""
    context: int = 0
    """Tokens per training window, the beginning-of-sequence token included; 0 is unknown."""
    bos: bool = True
    """Whether texts began with the beginning-of-sequence token (whose own activation is never decomposed)."""
    reads: list[str] = field(default_factory=list)
    """Sites whose activations, side by side, it reads; empty is the site of its name."""
    writes: list[str] = field(default_factory=list)
    """Sites whose activations, side by side, it rebuilds; empty is what it reads. A transcoder writes another site than it reads."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Measured on held-out text: ``l0``, ``fvu`` (share of variance unexplained), ``dead`` ..."""
    training: dict[str, Any] = field(default_factory=dict)
    """How it was made: corpus, tokens, recipe, seed."""

    @property
    def site(self) -> Site:
        """Where in the model it reads."""
        return SaeName.parse(self.name).site

    @property
    def input_sites(self) -> tuple[Site, ...]:
        """The sites whose activations, side by side, are its input."""
        return tuple(map(Site.parse, self.reads)) or (self.site,)

    @property
    def output_sites(self) -> tuple[Site, ...]:
        """The sites whose activations, side by side, it rebuilds."""
        return tuple(map(Site.parse, self.writes)) or self.input_sites

    @classmethod
    def from_json(cls, text: str, where: Path) -> "SaeFacts":
        """The facts in a file's header; unknown keys, values of another type and other schemas are refused."""
        try:
            found = json.loads(text)
            schema = found.pop("schema")
            if schema != SCHEMA:
                raise BadFile(f"{where} was written with SAE schema {schema}; this version reads {SCHEMA}. A newer Hooke may read it.")
            for key, value in found.items():
                if not isinstance(value, _KINDS[key]):
                    raise TypeError(f"{key} is a {type(value).__name__}")
            activation, k = found.get("activation", cls.activation), found.get("k")
            if activation not in _ACTIVATIONS or (activation == "topk" and (k or 0) < 1):
                raise BadFile(f"{where}: activation {activation!r} with k={k}; known are {', '.join(_ACTIVATIONS)} (topk needs k).")
            facts = cls(**found)
            if not all(isinstance(value, int | float) for value in facts.metrics.values()):
                raise TypeError("metrics are not all numbers")
            SaeName.parse(facts.name)
            for site in (*facts.reads, *facts.writes):
                Site.parse(site)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BadConfig, UnknownName) as error:
            known = ", ".join(f.name for f in fields(cls))
            raise BadFile(f"{where}: the SAE's facts cannot be read ({error}). Known: schema, {known}.") from error
        return facts


@dataclass(frozen=True)
class Sae:
    """A sparse autoencoder at inference.

        pre = x W_enc + b_enc
        f   = pre where pre > threshold, else 0        (strictly; or the k largest positive ones)
        x̂   = f W_dec + b_dec                         (a skip transcoder adds x W_skip)

    (Gemma Scope, arXiv 2408.05147, equations 1-3.) Any input normalisation of training is folded into the weights. A transcoder is one
    whose output is another site's; a crosscoder one that reads and writes several sites, laid side by side in one row.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    """Column ``i`` is feature ``i``'s encoder direction."""
    b_enc: Float[Tensor, " d_sae"]
    """Added to the pre-activations."""
    W_dec: Float[Tensor, "d_sae d_out"]
    """Row ``i`` is what feature ``i`` writes."""
    b_dec: Float[Tensor, " d_out"]
    """The reconstruction where nothing is active."""
    threshold: Float[Tensor, " d_sae"]
    """A feature is active above it; all zero for ``topk``."""
    facts: SaeFacts
    """What it is."""
    W_skip: Float[Tensor, "d_in d_out"] | None = None
    """The part of the output that is linear in the input, in skip transcoders."""

    def __post_init__(self) -> None:
        _check_shapes(self._tensors(), self.name)

    def _tensors(self) -> dict[str, Tensor]:
        skip = {} if self.W_skip is None else {"W_skip": self.W_skip}
        return {name: getattr(self, name) for name in (*_WEIGHTS, "threshold")} | skip

    @property
    def name(self) -> str:
        """Address, ``collection/site/variant``."""
        return self.facts.name

    @property
    def site(self) -> Site:
        """Where in the model it reads."""
        return self.facts.site

    @property
    def d_in(self) -> int:
        """Width of the activations it reads."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    def to(self, device: str | torch.device) -> "Sae":
        """The same on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def encode(self, acts: Float[Tensor, "token d_in"]) -> Codes:
        """Sparse codes of `acts`, computed in float32 (a threshold crossed by rounding is a feature invented)."""
        if acts.shape[-1] != self.d_in:
            raise ShapeMismatch(f"{self.name} reads activations of width {self.d_in} at {self.site}; these have width {acts.shape[-1]}.")
        step = max(1, _DENSE_VALUES // self.d_sae)
        parts = [self._encode(block.float()) for block in acts.split(step)] if len(acts) else [self._encode(acts.float())]
        return Codes.cat(parts)

    def _encode(self, acts: Float[Tensor, "token d_in"]) -> Codes:
        pre = torch.addmm(self.b_enc, acts, self.W_enc)
        if self.facts.activation == "topk":
            assert self.facts.k is not None
            value, index = pre.topk(min(self.facts.k, self.d_sae), dim=-1)
            return Codes.from_dense(torch.zeros_like(pre).scatter_(1, index, value.clamp_min(0)))
        mask = pre > self.threshold
        row, feature = mask.nonzero(as_tuple=True)
        indptr = torch.zeros(len(acts) + 1, dtype=torch.int64, device=acts.device)
        torch.cumsum(mask.sum(1), 0, out=indptr[1:])
        return Codes(indptr, feature, pre[row, feature], self.d_sae)

    def decode(self, codes: Codes, acts: Float[Tensor, "token d_in"] | None = None) -> Float[Tensor, "token d_out"]:
        """Reconstruction from `codes`: each token's sum of decoder rows, plus ``b_dec``; a skip transcoder needs the `acts` as well."""
        if self.W_skip is not None and acts is None:
            raise BadConfig(f"{self.name} has a linear skip: decode(codes, acts) needs the activations that were encoded.")
        if codes.d_sae != self.d_sae:
            raise ShapeMismatch(f"{self.name} has {self.d_sae} features; these codes have {codes.d_sae}.")
        if len(codes) == 0:
            return self.b_dec.new_zeros(0, len(self.b_dec))
        rows = torch.nn.functional.embedding_bag(codes.feature, self.W_dec, codes.indptr[:-1], mode="sum", per_sample_weights=codes.value)
        out = rows + self.b_dec
        return out if self.W_skip is None or acts is None else torch.addmm(out, acts.float(), self.W_skip)

    def reconstruct(self, acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """``decode(encode(acts))`` for activations of any leading shape, in their own dtype: ready for `Model.edit`."""
        flat = acts.reshape(-1, acts.shape[-1])
        out = self.decode(self.encode(flat), flat)
        return out.reshape(*acts.shape[:-1], len(self.b_dec)).to(acts.dtype)

    def save(self, path: Path | str, *, weights: Literal["float32", "bfloat16", "int8"] = "float32") -> None:
        """Write one safetensors file, atomically.

        ``int8`` stores each feature's encoder column and decoder row as 8-bit integers with a scale of its own (a quarter of the size).
        """
        tensors = {name: tensor for name, tensor in self._tensors().items() if name not in ("W_enc", "W_dec")}
        for name, by_feature in (("W_enc", self.W_enc.T), ("W_dec", self.W_dec)):
            if weights == "int8":
                tensors[f"{name}.int8"], tensors[f"{name}.scale"] = _to_int8(by_feature)
            else:
                tensors[name] = getattr(self, name).to(getattr(torch, weights))
        write_safetensors(
            Path(path),
            {k: v.cpu() for k, v in tensors.items()},
            {"hooke_sae": json.dumps({"schema": SCHEMA, **asdict(self.facts)}, sort_keys=True)},
        )

    @classmethod
    def load(cls, path: Path | str) -> "Sae":
        """The SAE in a file that `save` wrote; every weight is checked to be finite."""
        path = Path(path)
        tensors, metadata = read_safetensors(path)
        facts = cls._facts(path, metadata)
        loaded = {}
        for name in (*_WEIGHTS, "threshold", *(["W_skip"] if "W_skip" in tensors else [])):
            if f"{name}.int8" in tensors:
                by_feature = _from_int8(_tensor(tensors, f"{name}.int8", path), _tensor(tensors, f"{name}.scale", path), path)
                loaded[name] = by_feature.T.contiguous() if name == "W_enc" else by_feature
            else:
                loaded[name] = _tensor(tensors, name, path).float()
            if loaded[name].ndim != (2 if name.startswith("W") else 1):
                raise BadFile(f"{path}: {name} has shape {list(loaded[name].shape)}.")
            if not bool(loaded[name].isfinite().all()):
                raise BadFile(f"{path}: {name} holds values that are not finite. The file is damaged or its training diverged.")
        _check_shapes(loaded, f"{path} ({facts.name})")
        return cls(**loaded, facts=facts)

    @classmethod
    def read_facts(cls, path: Path | str) -> tuple[SaeFacts, int, int]:
        """The facts, d_in and d_sae of the SAE in `path`, without reading its weights."""
        path = Path(path)
        shapes, metadata = safetensors_header(path)
        facts = cls._facts(path, metadata)
        for name in ("W_enc", "W_enc.int8"):
            if name in shapes and len(shapes[name][1]) == 2:
                d_in, d_sae = shapes[name][1] if name == "W_enc" else shapes[name][1][::-1]
                return facts, d_in, d_sae
        raise BadFile(f"{path} holds no W_enc; it is no SAE.")

    @staticmethod
    def _facts(path: Path, metadata: Mapping[str, str]) -> SaeFacts:
        if "hooke_sae" not in metadata:
            raise BadFile(f"{path} is a safetensors file, but no SAE that Hooke wrote (its header has no 'hooke_sae').")
        return SaeFacts.from_json(metadata["hooke_sae"], path)


def _tensor(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise BadFile(f"{path} lacks the tensor {name!r}; it holds {', '.join(sorted(tensors)) or 'none'}.")
    return tensors[name]


def _check_shapes(weights: Mapping[str, Tensor], where: str) -> None:
    (d_in, d_sae), d_out = weights["W_enc"].shape, weights["W_dec"].shape[-1]
    shapes = {"b_enc": [d_sae], "W_dec": [d_sae, d_out], "b_dec": [d_out], "threshold": [d_sae], "W_skip": [d_in, d_out]}
    for name, wanted in shapes.items():
        found = list(weights[name].shape) if name in weights else wanted
        if found != wanted:
            raise ShapeMismatch(f"{where}: {name} has shape {found}; with W_enc {[d_in, d_sae]} it must be {wanted}.")


def _to_int8(rows: Float[Tensor, "d_sae d"]) -> tuple[Tensor, Tensor]:
    scale = (rows.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    return (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale.float()


def _from_int8(rows: Tensor, scale: Tensor, path: Path) -> Float[Tensor, "d_sae d"]:
    if rows.dtype != torch.int8 or rows.ndim != 2 or scale.shape != rows.shape[:1]:
        raise BadFile(f"{path}: int8 rows of shape {list(rows.shape)} with scales of shape {list(scale.shape)} do not fit.")
    return rows.float() * scale.float()[:, None]


def check_fits(sae: Sae, model_name: str, width: int) -> None:
    """Raise `ShapeMismatch` unless `sae` can read activations of `width` values from the model `model_name`."""
    if sae.d_in != width:
        raise ShapeMismatch(
            f"{sae.name} reads width {sae.d_in} at {sae.site} (trained on {sae.facts.model}); {model_name} has width {width} there."
        )


def load_sae(ref: str) -> Sae:
    """The SAE that `ref` names: an installed pack's ``collection/site/variant``, or a file."""
    from hooke.sae.packs import find_sae

    if ref.endswith(".safetensors") or Path(ref).is_file():
        return Sae.load(ref)
    if Path(ref).is_dir():
        raise BadConfig(f"{ref} is a folder; name the .safetensors file in it.")
    return Sae.load(find_sae(ref).path)
