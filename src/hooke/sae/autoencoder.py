"""The sparse autoencoder itself: a tensor for each of its parts, and what it computes from them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.codes import Codes
from hooke.devices import multiplies_bfloat16, usable_device
from hooke.errors import BadConfig, ShapeMismatch
from hooke.names import Site
from hooke.sae.edits import Amount, Edit, Features, edit
from hooke.sae.facts import SaeFacts

if TYPE_CHECKING:
    from hooke.kernels.active import JumpReluEncoder

__all__ = ["Sae", "SaeFacts", "check_shapes", "digest", "weights_of"]

_WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_LAYER_NORM_EPS = 1e-5
# Reconstructions of SAEs with these normalisations are brought back to the token's own mean and scale.
_BROUGHT_BACK = ("centre", "layer_norm", "rms")
# Dense pre-activations held at a time: bounds them at 64 MiB.
_DENSE_VALUES = 1 << 24
# From so many tokens at a time on it pays to lay the encoder out anew, where that takes no more than 384 MiB.
_MANY_TOKENS = 2048
_MOST_WEIGHTS = 1 << 26


@dataclass(frozen=True, repr=False)
class Sae:
    """A sparse autoencoder at inference.

        pre = x W_enc + b_enc
        f   = pre where pre > threshold, else 0        (strictly; or the k largest positive ones)
        x̂   = f W_dec + b_dec                         (a skip transcoder adds x W_skip)

    (Gemma Scope, arXiv 2408.05147, equations 1-3.) A fixed scale of training is folded into the weights; what is computed from each
    token (`SaeFacts.normalize`) comes before the first line and is undone after the last but the skip. A transcoder is one whose output
    is another site's; a crosscoder one that reads and writes several sites, laid side by side in one row.
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
        check_shapes(weights_of(self), self.name)
        if any(end > self.d_sae for _, end in self.facts.groups.values()):
            raise ShapeMismatch(f"{self.name} has {self.d_sae} features; its groups reach beyond: {self.facts.groups}.")

    def __repr__(self) -> str:
        reads, writes = (", ".join(map(str, sites)) for sites in (self.facts.input_sites, self.facts.output_sites))
        l0 = self.facts.metrics.get("l0", self.facts.k)
        active = "" if l0 is None else f", {l0:.0f} active"
        where = reads if reads == writes else f"{reads} to {writes}"
        kind = self.facts.activation
        return f"Sae({self.name!r}: {kind}, {self.d_sae:,} features{active}, {where}, d_in {self.d_in:,}, {self.W_enc.device})"

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
        """The same on another device; raises `BadConfig` where there is none such."""
        place = usable_device(str(device))
        return replace(self, **{name: tensor.to(place) for name, tensor in weights_of(self).items()})

    def encode(self, acts: Float[Tensor, "*batch d_in"]) -> Codes:
        """Sparse codes of `acts`, computed in float32 (a threshold crossed by rounding is a feature invented).

        One row for each token of any leading shape, the last position of the first sequence before the first of the second; `Codes.dense`
        and `decode` give the leading shape back.
        """
        if not isinstance(acts, Tensor):
            raise BadConfig(f"{self.name} reads a torch tensor of activations, not {type(acts).__name__}; torch.as_tensor makes one.")
        if acts.shape[-1] != self.d_in:
            raise ShapeMismatch(f"{self.name} reads activations of width {self.d_in} at {self.site}; these have width {acts.shape[-1]}.")
        if acts.ndim != 2:
            return replace(self.encode(acts.reshape(-1, self.d_in)), leading=tuple(acts.shape[:-1]))
        if self._suits_kernel(acts) and (found := self._encoder.codes(_normalized(acts.float(), self.facts)[0])) is not None:
            return Codes(*found, self.d_sae)
        step = max(1, _DENSE_VALUES // self.d_sae)
        parts = [self._encode(block.float()) for block in acts.split(step)] if len(acts) else [self._encode(acts.float())]
        return Codes.cat(parts)

    def _suits_kernel(self, acts: Float[Tensor, "token d_in"]) -> bool:
        """Whether the kernel that computes little more than what is active is the faster way, and may be used."""
        if self.facts.activation != "jumprelu" or len(acts) < _MANY_TOKENS or self.W_enc.numel() > _MOST_WEIGHTS:
            return False
        read = (acts, self.W_enc, self.b_enc, self.threshold)
        wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in read)
        own = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in read[1:])
        return own and acts.device.type == "cpu" and not wants_gradient and multiplies_bfloat16(acts.device)

    @property
    def _encoder(self) -> "JumpReluEncoder":
        """The encoder laid out for that kernel; anew where the weights were changed in place."""
        read = (self.W_enc, self.b_enc, self.threshold)
        version = [None if tensor.is_inference() else tensor._version for tensor in read]
        if self.__dict__.get("_laid_out", (None,))[0] != version:
            from hooke.kernels.active import JumpReluEncoder

            object.__setattr__(self, "_laid_out", (version, JumpReluEncoder.of(*(tensor.detach() for tensor in read))))
        return self.__dict__["_laid_out"][1]

    def _encode(self, acts: Float[Tensor, "token d_in"]) -> Codes:
        pre = torch.addmm(self.b_enc, _normalized(acts, self.facts)[0], self.W_enc)
        if self.facts.activation != "jumprelu":
            assert self.facts.k is not None
            value, index = _largest(pre, self.facts.k) if self.facts.activation == "topk" else _largest_of_groups(pre, self.facts.k)
            return Codes.from_dense(torch.zeros_like(pre).scatter_(1, index, value.clamp_min(0)))
        mask = pre > self.threshold
        row, feature = mask.nonzero(as_tuple=True)
        indptr = torch.zeros(len(acts) + 1, dtype=torch.int64, device=acts.device)
        torch.cumsum(mask.sum(1), 0, out=indptr[1:])
        return Codes(indptr, feature, pre[row, feature], self.d_sae)

    def decode(self, codes: Codes, acts: Float[Tensor, "*batch d_in"] | None = None) -> Float[Tensor, "*batch d_out"]:
        """Reconstruction from `codes`, in the leading shape of what was encoded: each token's sum of decoder rows, plus ``b_dec``.

        A skip transcoder, and an SAE that normalises each token, need the `acts` as well.
        """
        if acts is None and (self.W_skip is not None or self.facts.normalize in _BROUGHT_BACK):
            why = "has a linear skip" if self.W_skip is not None else f"normalises each token ({self.facts.normalize})"
            raise BadConfig(f"{self.name} {why}: decode(codes, acts) needs the activations that were encoded.")
        if codes.d_sae != self.d_sae:
            raise ShapeMismatch(f"{self.name} has {self.d_sae} features; these codes have {codes.d_sae}.")
        flat = None if acts is None else acts.reshape(-1, self.d_in)
        return self._decode(codes, flat).reshape(*codes.shape[:-1], len(self.b_dec))

    def _decode(self, codes: Codes, acts: Float[Tensor, "token d_in"] | None) -> Float[Tensor, "token d_out"]:
        if len(codes) == 0:
            return self.b_dec.new_zeros(0, len(self.b_dec))
        rows = torch.nn.functional.embedding_bag(codes.feature, self.W_dec, codes.indptr[:-1], mode="sum", per_sample_weights=codes.value)
        out = rows + self.b_dec
        if acts is not None and self.facts.normalize in _BROUGHT_BACK:
            _, mean, scale = _normalized(acts.float(), self.facts)
            out = out * scale + mean
        return out if self.W_skip is None or acts is None else torch.addmm(out, acts.float(), self.W_skip)

    def reconstruct(self, acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """``decode(encode(acts))`` for activations of any leading shape, in their own dtype: ready for `Model.edit`."""
        return self.decode(self.encode(acts), acts).to(acts.dtype)

    def activations(self, acts: Float[Tensor, "*batch d_in"], features: Int[Tensor, " feature"]) -> Float[Tensor, "*batch feature"]:
        """What the chosen `features` say of `acts`, in float32, 0 where they are silent; of the encoder only their columns are read."""
        if acts.shape[-1] != self.d_in:
            raise ShapeMismatch(f"{self.name} reads activations of width {self.d_in} at {self.site}; these have width {acts.shape[-1]}.")
        flat = acts.reshape(-1, self.d_in).float()
        if self.facts.activation == "jumprelu":
            pre = torch.addmm(self.b_enc[features], _normalized(flat, self.facts)[0], self.W_enc[:, features])
            found = torch.where(pre > self.threshold[features], pre, 0)
        else:  # which of them pass depends on all the others
            found = self.encode(flat).dense()[:, features]
        return found.reshape(*acts.shape[:-1], len(features))

    def token_scale(self, acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch 1"]:
        """What decoder rows are multiplied by to lie in the space of `acts`: 1, unless each token is brought back to its own scale."""
        return _normalized(acts.float(), self.facts)[2] if self.facts.normalize in _BROUGHT_BACK else acts.new_ones(*acts.shape[:-1], 1)

    def ablate(self, features: Features) -> Edit:
        """The edit ``f' = 0``: these features say nothing."""
        return edit(self, "ablate", features)

    def scale(self, features: Features, by: Amount) -> Edit:
        """The edit ``f' = by · f``: louder, softer or, below 0, pushed away; only where they are active."""
        return edit(self, "scale", features, by)

    def clamp(self, features: Features, to: Amount) -> Edit:
        """The edit ``f' = to`` on every token, whether they were active or not."""
        return edit(self, "clamp", features, to)

    def clamp_active(self, features: Features, to: Amount) -> Edit:
        """The edit ``f' = to`` where a feature is active; elsewhere it stays silent."""
        return edit(self, "clamp_active", features, to)

    def mean_set(self, features: Features, like: Float[Tensor, "token d_in"]) -> Edit:
        """The edit ``f' =`` the features' mean over the activations `like`, of texts that others should come to resemble."""
        index = torch.as_tensor(features, dtype=torch.int64).reshape(-1)
        return edit(self, "mean_set", features, self.activations(like, index).mean(0))

    def add(self, features: Features, amount: Amount) -> Edit:
        """The edit ``x' = x + amount · W_dec[i]``, summed over the features, whatever they say of x; nothing is encoded."""
        return edit(self, "add", features, amount)

    def project(self, feature: Features, to: Amount) -> Edit:
        """The edit ``x' = x − (x·w) w + to · w``, w the feature's decoder row at length 1."""
        return edit(self, "project", feature, to)

    def cap(self, feature: Features, at: Amount) -> Edit:
        """The edit ``x' = x + (min(x·w, at) − x·w) w``, w as in `project`: no more than `at` lies along it."""
        return edit(self, "cap", feature, at)

    def save(self, path: Path | str, *, weights: Literal["float32", "bfloat16", "int8"] = "float32") -> None:
        """Write one safetensors file, atomically.

        ``int8`` stores each feature's encoder column and decoder row as 8-bit integers with a scale of its own (a quarter of the size).
        """
        from hooke.sae.native import save

        save(self, Path(path), weights)

    @classmethod
    def load(cls, path: Path | str) -> "Sae":
        """The SAE in a file or folder of any dialect in `hooke.sae.formats`; every weight is checked to be finite."""
        from hooke.sae.formats import open_sae

        return open_sae(path)

    @classmethod
    def from_pretrained(
        cls,
        ref: str | Path,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        member: str | None = None,
        device: str = "cpu",
        dtype: str | torch.dtype = "float32",
        progress: Callable[[str], None] = lambda _: None,
    ) -> "Sae":
        """The SAE that `ref` names, fetched first if it is not on this machine.

        `ref` is an installed pack's name, a file or folder, a name in the catalogue, an id at Neuronpedia, ``org/repo[@revision]/path`` on
        the hub (also behind ``hf://``), or ``s3://bucket/folder``. `member` (or ``#member`` behind `ref`) is one of several in a folder,
        or one layer's share of a set, of which no more is fetched. Nothing that is here already opens a connection. `dtype` can only be
        float32: codes are computed in it, because a threshold crossed by rounding is a feature invented.
        """
        from hooke.sae.resolve import resolve

        if dtype not in ("float32", torch.float32):
            raise BadConfig(f"dtype {dtype!s} is not possible: codes are computed in float32, where no threshold is crossed by rounding.")
        return resolve(str(ref), revision=revision, subfolder=subfolder, member=member, progress=progress).open().to(device)

    @classmethod
    def read_facts(cls, path: Path | str) -> tuple[SaeFacts, int, int]:
        """The facts, d_in and d_sae of the SAE in a file that `save` wrote, without reading its weights."""
        from hooke.sae.facts import read_facts

        return read_facts(Path(path))


def _normalized(acts: Float[Tensor, "*batch d_in"], facts: SaeFacts) -> tuple[Tensor, Tensor, Tensor]:
    """What is encoded, and the mean and scale of each token that were taken out of it."""
    zero, one = acts.new_zeros(()), acts.new_ones(())
    if facts.normalize == "none":
        return acts, zero, one
    if facts.normalize in ("rms", "rms_in"):
        scale = (acts.square().mean(-1, keepdim=True) + facts.norm_eps).sqrt().clamp_min(torch.finfo(acts.dtype).tiny)
        return acts / scale, zero, scale
    mean = acts.mean(-1, keepdim=True)
    if facts.normalize == "centre":
        return acts - mean, mean, one
    centred = acts - mean
    scale = centred.std(-1, keepdim=True)
    return centred / (scale + _LAYER_NORM_EPS), mean, scale


def _largest(pre: Float[Tensor, "token d_sae"], k: int) -> tuple[Tensor, Tensor]:
    return pre.topk(min(k, pre.shape[1]), dim=-1)


def _largest_of_groups(pre: Float[Tensor, "token d_sae"], k: int) -> tuple[Tensor, Tensor]:
    value, index = pre.unflatten(1, (k, -1)).max(-1)
    return value, index + torch.arange(k, device=pre.device) * (pre.shape[1] // k)


def weights_of(sae: Sae) -> dict[str, Tensor]:
    """The tensors of `sae` by name."""
    return {name: tensor for name in (*_WEIGHTS, "W_skip") if (tensor := getattr(sae, name)) is not None}


def digest(sae: Sae) -> str:
    """Hex SHA-256 of the tensors of `sae`: names, dtypes, shapes and values, wherever they were read from."""
    total = hashlib.sha256()
    for name, tensor in sorted(weights_of(sae).items()):
        values = tensor.detach().cpu().contiguous()
        total.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        total.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_shapes(weights: Mapping[str, Tensor], where: str) -> None:
    """Raise `ShapeMismatch` unless the tensors of an SAE fit each other; `where` begins the message."""
    (d_in, d_sae), d_out = weights["W_enc"].shape, weights["W_dec"].shape[-1]
    shapes = {"b_enc": [d_sae], "W_dec": [d_sae, d_out], "b_dec": [d_out], "threshold": [d_sae], "W_skip": [d_in, d_out]}
    for name, wanted in shapes.items():
        found = list(weights[name].shape) if name in weights else wanted
        if found != wanted:
            raise ShapeMismatch(f"{where}: {name} has shape {found}; with W_enc {[d_in, d_sae]} it must be {wanted}.")
