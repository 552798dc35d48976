"""TrainConfig: everything that decides what one SAE becomes, with defaults for each architecture."""

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Union, get_args, get_origin

from hooke.errors import BadConfig, unknown
from hooke.names import Site

Architecture = Literal["batchtopk", "topk", "jumprelu", "jumprelu-step", "jumprelu-tanh", "gated", "relu"]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
Frozen = Literal["decoder", "encoder", "soft-decoder"]
FROZEN: tuple[str, ...] = get_args(Frozen)

# What differs from the fields' own defaults. Units: inputs whose coordinates have mean square 1, errors averaged over coordinates.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "batchtopk": {"aux_weight": 1 / 32},
    "topk": {"aux_weight": 1 / 32},
    "jumprelu": {"aux_weight": 1 / 32, "sparsity": 0.02},
    "jumprelu-step": {},
    "jumprelu-tanh": {"bandwidth": 2.0},
    "gated": {},
    "relu": {},
}


@dataclass(frozen=True)
class TrainConfig:
    """How to train one SAE. A field left None takes the architecture's default, which `resolved` fills in.

    Architectures (methods: 1.5 to 1.13): ``batchtopk`` (arXiv 2412.06410) and ``topk`` (2406.04093), with AuxK; ``jumprelu``, Gemma Scope
    2's quadratic penalty to a target L0; ``jumprelu-step``, Gemma Scope 1's penalty on L0 (2408.05147); ``jumprelu-tanh``, Anthropic's
    recipe of January 2025; ``gated`` (2404.16014); ``relu`` with an L1 penalty weighted by decoder norms. Any of them may be nested
    (`prefixes`: Matryoshka, 2503.17547), rebuild another site than it reads (`writes`: a transcoder), or read several (`reads`: a weakly
    causal crosscoder, whose features read one site and write it and those after it). The first two may be temporal (`about`: 2511.05541).
    """

    architecture: Architecture = "batchtopk"
    """What makes codes sparse, and what pays for it."""
    d_sae: int = 4096
    """Number of features."""
    l0: int = 50
    """Active features per token wanted, on average."""
    steps: int = 1000
    """Batches to train on; every schedule is laid out over them."""
    lr: float | None = None
    """Adam's learning rate at its height; by default ``3e-3 · √(4096 / d_sae)``."""
    warmup: float = 0.03
    """Share of the steps over which the learning rate rises from 0."""
    decay: float = 0.3
    """Share of the steps over which the learning rate falls to 0 at the end."""
    seed: int = 0
    """Of the initial weights."""
    balance: float = 1.0
    """Power of its spread by which each coordinate is divided before errors are counted: 1, all vary alike; 0, one scale for all. In
    residual streams a few coordinates carry most of the variance and little of what the model goes on to use (docs/decisions/0009)."""
    prefixes: tuple[int, ...] = ()
    """Matryoshka: sizes of the nested dictionaries below the whole one."""
    about: float = 0.0
    """Temporal: the first features, as a share of all or (from 1 on) as a number, rebuild on their own as well and are made to say the
    same of both tokens of a pair, so that they come to hold what a text is about; the others hold what is new with each word."""
    contrast: float = 0.1
    """Temporal: weight of that agreement (InfoNCE on pairs of neighbouring tokens, the rest of the batch being the wrong partners); 0
    leaves a Matryoshka SAE of two prefixes."""
    cosine: bool = True
    """Temporal: compare the codes of two tokens by their cosine; otherwise by their dot product, as published."""
    temperature: float = 0.1
    """Temporal: what that comparison is divided by: the smaller, the more the nearest wrong partners count."""
    frozen: Frozen | None = None
    """Controls that learn only a part (arXiv 2602.14111): the ``decoder`` or the ``encoder`` stays as it was drawn, or, ``soft-decoder``,
    each decoder row within a cosine of 0.8 of that. What a trained SAE does no better than these it has not learnt."""
    reads: tuple[str, ...] = ()
    """Sites read, where they are not just the one in the SAE's name."""
    writes: tuple[str, ...] = ()
    """Sites rebuilt, where they are not those read."""
    skip: bool = False
    """Give the output a part that is linear in the input (skip transcoder, arXiv 2501.18823)."""
    sparsity: float | None = None
    """Weight of the sparsity penalty, where there is one; by default it is steered so that L0 comes out as wanted (``jumprelu``: 0.02)."""
    sparsity_warmup: float = 0.1
    """Share of the steps over which the sparsity penalty's weight rises from 0."""
    bandwidth: float | None = None
    """Width of the window around a JumpReLU threshold in which entries move it; by default 0.5, for ``jumprelu-tanh`` 2."""
    frequency: float = 0.0
    """Weight of the penalty on features that fire often: ``Σ ω² / 0.1``, ω being the share of tokens a feature fires on (JumpReLU)."""
    densest: float = 1.0
    """Largest share of tokens that a feature may fire on: the bias of one that fires on more comes down until it does not."""
    multi: bool = False
    """TopK: let the largest ``4 · l0`` reconstruct as well, at an eighth of the weight (Multi-TopK)."""
    aux_weight: float | None = None
    """Weight of the auxiliary loss, in which features that have not fired for long reconstruct what is left (AuxK); by
    default 1/32 for ``batchtopk``, ``topk`` and ``jumprelu``, else 0."""
    aux_k: int = 64
    """Dead features used per token by the auxiliary loss, at most."""
    dead_after: int | None = None
    """Tokens without firing after which a feature counts as dead; by default a 160th of the run, at least 4 batches, at most 10 million."""

    def __post_init__(self) -> None:
        lowest = {"d_sae": 1, "l0": 1, "steps": 1, "warmup": 0, "decay": 0, "sparsity_warmup": 0, "frequency": 0, "balance": 0, "aux_k": 1}
        lowest |= {"about": 0, "contrast": 0, "temperature": 1e-6}
        optional = {"lr": 0, "sparsity": 0, "aux_weight": 0, "dead_after": 1, "bandwidth": 1e-9}
        for name, low in (lowest | {name: low for name, low in optional.items() if getattr(self, name) is not None}).items():
            if not low <= getattr(self, name) < math.inf:
                raise BadConfig(f"{name}={getattr(self, name)!r} must be at least {low}.")
        if not 0 < self.densest <= 1:
            raise BadConfig(f"densest={self.densest} must be above 0 and at most 1.")
        if self.l0 > self.d_sae:
            raise BadConfig(f"l0={self.l0} cannot exceed d_sae={self.d_sae}.")
        if list(self.prefixes) != sorted({*self.prefixes}) or any(not 0 < size < self.d_sae for size in self.prefixes):
            raise BadConfig(f"prefixes={list(self.prefixes)} must rise, from at least 1 to less than d_sae={self.d_sae}.")
        if self.multi and self.architecture != "topk":
            raise BadConfig(f"multi is for topk, not {self.architecture}.")
        self._check_groups()
        for site in (*self.reads, *self.writes):
            Site.parse(site)
        if len(self.reads) > 1 and (self.writes or self.skip or self.prefixes or self.d_sae % len(self.reads)):
            raise BadConfig(
                "a crosscoder (several reads) writes what it reads, without skip or prefixes, and its reads share d_sae equally."
            )

    def _check_groups(self) -> None:
        if not self.about:
            return
        if not 0 < self.about_size < self.d_sae or (self.about >= 1 and self.about != self.about_size):
            raise BadConfig(
                f"about={self.about:g} of d_sae={self.d_sae} leaves a group without features: give a share between 0 and 1, or a whole "
                f"number from 1 to {self.d_sae - 1}."
            )
        if self.architecture not in ("batchtopk", "topk") or len(self.reads) > 1:
            what = f"{self.architecture} crosscoder" if len(self.reads) > 1 else self.architecture
            raise BadConfig(f"about is for batchtopk and topk SAEs and transcoders of one site, not for a {what}.")

    @property
    def contrasted(self) -> bool:
        """Whether it learns from pairs of tokens."""
        return bool(self.about and self.contrast)

    @property
    def about_size(self) -> int:
        """Features of the group ``about``: 0 where there are no groups."""
        return round(self.about * self.d_sae) if self.about < 1 else int(self.about)

    @property
    def ends(self) -> list[int]:
        """Sizes of the nested dictionaries, ascending; the last is the whole."""
        return sorted({*self.prefixes, self.about_size, self.d_sae} - {0})

    @property
    def groups(self) -> dict[str, list[int]]:
        """The groups of features, each as its first feature and the one after its last."""
        size = self.about_size
        return {"about": [0, size], "word": [size, self.d_sae]} if size else {}

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> "TrainConfig":
        """The config that a table of keys spells; an unknown key is refused by name, and so is a value of the wrong kind."""
        known = {f.name: f.type for f in fields(cls)}
        for key, value in found.items():
            if key not in known:
                raise unknown("setting", key, known)
            for name, choices in (("architecture", ARCHITECTURES), ("frozen", FROZEN)):
                if key == name and value not in (None, *choices):
                    raise unknown(name, value, choices)
            if not fits(known[key], value):
                raise BadConfig(f"{key}={value!r}: expected {wording(known[key])}.")
        settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
        settings |= {key: float(value) for key, value in settings.items() if known[key] is float}
        return cls(**settings)

    def resolved(self, batch: int) -> "TrainConfig":
        """This with every None that has a default filled in, for batches of `batch` tokens."""
        own: dict[str, Any] = {
            "lr": 3e-3 * math.sqrt(4096 / self.d_sae),
            "dead_after": max(4 * batch, min(10_000_000, self.steps * batch // 160)),
            "aux_weight": 0.0,
            "bandwidth": 0.5,
        } | _DEFAULTS[self.architecture]
        return dataclasses.replace(self, **{name: value for name, value in own.items() if getattr(self, name) is None})

    def lr_at(self, step: int) -> float:
        """Learning rate of `step`, counted from 0: linear up, flat, linear down."""
        assert self.lr is not None, "resolve the config first"
        up = (step + 1) / max(1.0, self.warmup * self.steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.lr * min(1.0, up, down)


def fits(kind: Any, value: Any) -> bool:
    """Whether a value from a settings file fits a field's type; a whole number fits where a fraction does."""
    if get_origin(kind) in (types.UnionType, Union):
        return any(fits(part, value) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(fits(get_args(kind)[0], part) for part in value)
    if get_origin(kind) is Literal:
        return isinstance(value, str)
    return type(value) in ((int, float) if kind is float else (kind,))


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", list: "a list"}


def wording(kind: Any) -> str:
    """A field's type, as one says it to people who write settings files.

    >>> wording(tuple[int, ...])
    'a list, each a whole number'
    """
    if get_origin(kind) in (types.UnionType, Union):
        return " or ".join(wording(part) for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is tuple:
        return f"a list, each {wording(get_args(kind)[0])}"
    return _WORDS[str if get_origin(kind) is Literal else kind]
