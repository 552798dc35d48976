"""Parts: an SAE's tensors on their way into Hooke's form, and the exact identities that fold what other forms keep apart."""

import contextlib
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadConfig, BadFile, ShapeMismatch, UnknownName, listed, quoted
from hooke.names import SaeName, Site
from hooke.sae import Sae, SaeFacts, check_shapes
from hooke.sae.facts import check_groups
from hooke.sae.formats.sites import NormalizedSite, parse_hook
from hooke.sae.formats.source import Source
from hooke.sae.native import finite

_SMALLEST_NORM = 1e-8


@dataclass(frozen=True)
class Parts:
    """Tensors in our orientation, float32: ``W_enc [d_in, d_sae]``, ``W_dec [d_sae, d_out]``."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    """None: ReLU or top-k."""
    W_skip: Tensor | None = None
    """``[d_in, d_out]``, used as ``x @ W_skip``."""

    @property
    def unread(self) -> bool:
        """Whether there are only shapes; what changes values alone is left out then (arithmetic without values imports half of torch)."""
        return self.W_enc.is_meta

    def minus_b_dec(self) -> "Parts":
        """For files whose encoder reads ``x - b_dec``: ``b_enc -= b_dec @ W_enc``. Thresholds are of pre-activations and stay."""
        if len(self.b_dec) != self.W_enc.shape[0]:
            raise ShapeMismatch(f"an encoder of width {self.W_enc.shape[0]} cannot read x - b_dec with b_dec of width {len(self.b_dec)}.")
        return self if self.unread else replace(self, b_enc=self.b_enc - self.b_dec @ self.W_enc)

    def scaled(self, s_in: float, s_out: float) -> "Parts":
        """For files that read ``x * s_in`` and give ``y * s_out``; pre-activations and thresholds stay as they are."""
        return self if self.unread else replace(self, W_enc=self.W_enc * s_in, W_dec=self.W_dec / s_out, b_dec=self.b_dec / s_out)

    def unit_decoder(self) -> "Parts":
        """Activations in units of a decoder row of length 1. Changes which features a top-k keeps: only for files that select so."""
        if self.unread:
            return self
        norm = self.W_dec.norm(dim=1).clamp_min(_SMALLEST_NORM)
        threshold = None if self.threshold is None else self.threshold * norm
        return replace(self, W_enc=self.W_enc * norm, b_enc=self.b_enc * norm, W_dec=self.W_dec / norm[:, None], threshold=threshold)

    def both_signs(self) -> "Parts":
        """For a top-k by absolute value: feature ``d_sae + i`` is the negative of feature ``i``, so that activations are positive."""
        return replace(
            self,
            W_enc=torch.cat([self.W_enc, -self.W_enc], dim=1),
            b_enc=torch.cat([self.b_enc, -self.b_enc]),
            W_dec=torch.cat([self.W_dec, -self.W_dec]),
        )


def gated(W_enc: Tensor, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor, W_dec: Tensor, b_dec: Tensor) -> Parts:
    """A gated SAE is a JumpReLU one: with ``z = x W_enc``, ``z + b_gate > 0`` is ``z e^r + b_mag > b_mag - e^r b_gate``."""
    if W_enc.is_meta:
        return Parts(W_enc, b_mag, W_dec, b_dec, threshold=b_gate)
    scale = r_mag.exp()
    return Parts(W_enc * scale, b_mag, W_dec, b_dec, threshold=b_mag - scale * b_gate)


def weight(source: Source, tensors: dict[str, Tensor], name: str, ndim: int) -> Tensor:
    """The floating point tensor `name` as float32, with `ndim` axes."""
    if name not in tensors:
        raise BadFile(f"{source.where} lacks the tensor {name!r}; it holds {listed(tensors, 12) or 'none'}.")
    found = tensors[name]
    source.asked.add(name)
    if not found.is_floating_point():
        raise BadFile(f"{source.where}: {name} is of type {str(found.dtype).removeprefix('torch.')}; weights are floating point.")
    if found.ndim != ndim:
        raise BadFile(f"{source.where}: {name} has shape {list(found.shape)}; it must have {ndim} axes.")
    if found.numel() == 0:
        raise BadFile(f"{source.where}: {name} has shape {list(found.shape)}: it is empty.")
    return found.float()


def number(source: Source, config: dict[str, Any], key: str, default: float | int | None = None) -> float:
    """The number under `key` of a configuration; `BadFile` where it is something else or not finite."""
    value = config.get(key, default)
    with contextlib.suppress(OverflowError):  # of an integer that no float holds
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    raise BadFile(f"{source.where}: {key} is {quoted(value)}; it must be a number.")


def word(source: Source, config: dict[str, Any], key: str, default: str = "") -> str:
    """The text under `key` of a configuration, `default` where it is missing or null."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadFile(f"{source.where}: {key} is a {type(value).__name__}; it must be a text.")
    return value[:500]


def asked_site(source: Source, hook: str, model: str, *, side: str = "output") -> NormalizedSite:
    """Where `hook` is; where it is empty or unknown, what the caller said."""
    if not hook and not source.site:
        raise BadFile(f"{source.where} does not say which site it reads. Say it: site='resid_post.12' (on the command line --site).")
    try:
        return parse_hook(hook or source.site or "", model, side=side)
    except UnknownName:
        if not source.site:
            raise
        return NormalizedSite(str(Site.parse(source.site)))


def finish(
    source: Source,
    parts: Parts,
    reads: "NormalizedSite | list[NormalizedSite]",
    collection: str,
    variant: str = "",
    writes: list[str] | None = None,
    **facts: Any,
) -> Sae:
    """The SAE made of `parts`, checked: shapes fit each other, every value is finite, k is one that can be."""
    places = reads if isinstance(reads, list) else [reads]
    sites = [p.site for p in places]
    check_parts(source, parts)
    threshold = parts.threshold
    # A ReLU follows every published JumpReLU: below 0 a threshold means 0.
    if parts.unread:
        threshold = parts.b_enc  # it has the shape
    threshold = torch.zeros_like(parts.b_enc) if threshold is None else threshold if parts.unread else threshold.clamp_min(0)
    d_sae = parts.W_enc.shape[1]
    k = facts.get("k")
    if k is not None and not (1 <= k <= d_sae and (facts["activation"] != "groupmax" or d_sae % k == 0)):
        raise BadFile(f"{source.where}: k={k} cannot be with {d_sae} features.")
    source.check_all_asked(d_sae)
    if places[0].normalize != "none":
        facts |= {"normalize": places[0].normalize, "norm_eps": places[0].eps}
    name = str(SaeName(_slug(collection), Site.parse(sites[0]), _slug(variant) if variant else _width(d_sae)))
    several = sites if len(sites) > 1 else []
    writes = [] if writes is None or writes == sites else writes
    model = source.model or facts.pop("model", "")
    facts.pop("model", None)
    _check_groups(source, facts.setdefault("groups", {}), d_sae)
    metrics = {key: float(value) for key, value in facts.pop("metrics", {}).items() if value is not None}
    made = SaeFacts(name=name, model=model, reads=several, writes=writes, metrics=metrics, **facts)
    weights = {"W_enc": parts.W_enc, "b_enc": parts.b_enc, "W_dec": parts.W_dec, "b_dec": parts.b_dec, "threshold": threshold}
    if parts.W_skip is not None:
        weights["W_skip"] = parts.W_skip
    known = {tensor.data_ptr() for tensor in source.held if not tensor.is_meta}
    for key, tensor in weights.items():
        if not tensor.is_meta and tensor.data_ptr() not in known and not finite(tensor):
            raise BadFile(f"{source.where}: {key} is not finite once it is brought into our form; the file's scales cannot be.")
    return Sae(**weights, facts=made)


def _check_groups(source: Source, groups: Any, d_sae: int) -> None:
    try:
        check_groups(groups)
    except BadConfig as error:
        raise BadFile(f"{source.where}: {error}.") from error
    if any(end > d_sae for _, end in groups.values()):
        raise BadFile(f"{source.where}: its groups {groups} reach beyond {d_sae} features.")


def check_parts(source: Source, parts: Parts) -> None:
    """Raise unless the tensors fit each other; a transposed matrix is named as such."""
    wanted = {"W_enc": (None, len(parts.b_enc)), "W_dec": (len(parts.b_enc), len(parts.b_dec))}
    for name, (rows, columns) in wanted.items():
        found = tuple(getattr(parts, name).shape)
        if found[1] != columns and found[0] == columns and rows in (None, found[1]):
            said = f"{name} has shape {list(found)} in our orientation"
            raise ShapeMismatch(
                f"{source.where}: {said}, with b_enc [{len(parts.b_enc)}] and b_dec [{len(parts.b_dec)}]: it is transposed."
            )
    tensors = {name: getattr(parts, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip")}
    check_shapes({name: tensor for name, tensor in tensors.items() if tensor is not None}, str(source.where))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100] or "sae"


def _width(d_sae: int) -> str:
    return f"{d_sae // 1024}k" if d_sae % 1024 == 0 else str(d_sae)
