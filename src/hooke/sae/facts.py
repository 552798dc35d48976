"""SaeFacts: what is true of an SAE besides its weights; kept in its file's header, which is read without torch."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from hooke.errors import BadConfig, BadFile, UnknownName, listed, quoted
from hooke.files import parse_json, safetensors_header
from hooke.names import SaeName, Site

Activation = Literal["jumprelu", "topk", "groupmax"]
Normalize = Literal["none", "centre", "layer_norm", "rms", "rms_in"]
_CHOICES = {"activation": get_args(Activation), "normalize": get_args(Normalize)}
SCHEMA = 1
HEADER_KEY = "hooke_sae"
"""Under which a file's header carries them."""
GROUPS_KEY = "hooke_groups"
"""Under which other formats' configurations carry an SAE's groups."""
# What a fact must be when it is read from a file.
_KINDS = {
    "name": str,
    "model": str,
    "activation": str,
    "k": int | None,
    "normalize": str,
    "norm_eps": int | float,
    "context": int,
    "bos": bool,
    "reads": list,
    "writes": list,
    "groups": dict,
    "metrics": dict,
    "training": dict,
}


@dataclass(frozen=True)
class SaeFacts:
    """What is true of an SAE besides its weights; written into its file."""

    name: str
    """Address, ``collection/site/variant``."""
    model: str
    """The model whose activations it was trained on."""
    activation: Activation = "jumprelu"
    """``jumprelu``: a pre-activation above its feature's threshold passes unchanged (ReLU: all thresholds 0). ``topk``: the `k` largest
    pass, if positive. ``groupmax``: of `k` equal runs of features each passes its largest, if positive."""
    k: int | None = None
    """Active features per token, for ``topk`` and ``groupmax``."""
    normalize: Normalize = "none"
    """What is done to each token before it is encoded. ``centre``: its mean is taken off. ``layer_norm``: and it is divided by its
    standard deviation + 1e-5. ``rms``: it is divided by its root mean square. Reconstructions are brought back the same way.
    ``rms_in``: ``rms`` with `norm_eps`, and the reconstruction is left as it is (what an MLP reads, without its norm's gain)."""
    norm_eps: float = 0.0
    """Added to the mean square in ``rms_in``."""
    context: int = 0
    """Tokens per training window, the beginning-of-sequence token included; 0 is unknown."""
    bos: bool = True
    """Whether texts began with the beginning-of-sequence token (whose own activation is never decomposed)."""
    reads: list[str] = field(default_factory=list)
    """Sites whose activations, side by side, it reads; empty is the site of its name."""
    writes: list[str] = field(default_factory=list)
    """Sites whose activations, side by side, it rebuilds; empty is what it reads. A transcoder writes another site than it reads."""
    groups: dict[str, list[int]] = field(default_factory=dict)
    """Runs of features trained for a purpose, each as its first feature and the one after its last. A temporal SAE has ``about`` (features
    that persist: what a text is about) and ``word``; empty where features are all of one kind."""
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

    def group_of(self, feature: int) -> str | None:
        """The group that `feature` belongs to, if any.

        >>> facts = SaeFacts("tiny/resid_post.0/8", "tiny", groups={"about": [0, 2], "word": [2, 8]})
        >>> facts.group_of(1), facts.group_of(7), facts.group_of(8)
        ('about', 'word', None)
        """
        return group_of(self.groups, feature)

    @classmethod
    def from_json(cls, text: str, where: Path) -> "SaeFacts":
        """The facts in a file's header; unknown keys, values of another type and other schemas are refused."""
        try:
            found = parse_json(text)
            schema = found.pop("schema")
            if schema != SCHEMA:
                raise BadFile(
                    f"{where} was written with SAE schema {quoted(schema)}; this version reads {SCHEMA}. A newer Hooke may read it."
                )
            for key, value in found.items():
                if not isinstance(value, _KINDS[key]):
                    raise TypeError(f"{key} is a {type(value).__name__}")
            _check_choices(found, where)
            check_groups(found.get("groups", {}))
            facts = cls(**found)
            if not all(isinstance(value, int | float) for value in facts.metrics.values()):
                raise TypeError("metrics are not all numbers")
            SaeName.parse(facts.name)
            for site in (*facts.reads, *facts.writes):
                Site.parse(site)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BadConfig, UnknownName) as error:
            known = ", ".join(f.name for f in fields(cls))
            raise BadFile(f"{where}: the SAE's facts cannot be read ({str(error)[:300]}). Known: schema, {known}.") from error
        return facts


def read_facts(path: Path) -> tuple[SaeFacts, int, int]:
    """The facts, d_in and d_sae of the SAE in `path`, a file of Hooke's own, without reading its weights."""
    shapes, metadata = safetensors_header(path)
    facts = facts_in(metadata, path)
    for name in ("W_enc", "W_enc.int8"):
        if name in shapes and len(shapes[name][1]) == 2:
            d_in, d_sae = shapes[name][1] if name == "W_enc" else shapes[name][1][::-1]
            return facts, d_in, d_sae
    raise BadFile(f"{path} holds no W_enc; it is no SAE.")


def facts_in(metadata: Mapping[str, str], path: Path) -> SaeFacts:
    """The facts in the metadata of the file at `path`; `BadFile` where Hooke did not write it."""
    if HEADER_KEY not in metadata:
        raise BadFile(f"{path} is a safetensors file, but no SAE that Hooke wrote (its header has no {HEADER_KEY!r}).")
    return SaeFacts.from_json(metadata[HEADER_KEY], path)


def group_of(groups: Mapping[str, list[int]], feature: int) -> str | None:
    """The one of `groups` that `feature` belongs to, if any."""
    return next((name for name, (first, end) in groups.items() if first <= feature < end), None)


def check_groups(groups: Any) -> None:
    """Raise `BadConfig` unless these are runs of features by name, each of at least one feature and none with a feature of another."""
    if not isinstance(groups, dict):
        raise BadConfig(f"groups={groups!r} are no runs of features by name")
    for name, run in groups.items():
        if not isinstance(run, list) or [type(bound) for bound in run] != [int, int] or not 0 <= run[0] < run[1]:
            raise BadConfig(f"the group {name[:80]}={repr(run)[:80]} is no run of features, [first, one after the last]")
    runs = sorted(groups.values())
    if any(before[1] > after[0] for before, after in itertools.pairwise(runs)):
        raise BadConfig(f"the groups {listed(groups)} overlap")


def _check_choices(found: dict[str, Any], where: Path) -> None:
    activation, k = found.get("activation", "jumprelu"), found.get("k")
    if activation not in _CHOICES["activation"] or (activation != "jumprelu" and (k or 0) < 1):
        known = ", ".join(_CHOICES["activation"])
        raise BadFile(f"{where}: activation {quoted(activation)} with k={quoted(k)}; known are {known} (topk and groupmax need k).")
    normalize, eps = found.get("normalize", "none"), found.get("norm_eps", 0.0)
    if normalize not in _CHOICES["normalize"] or not 0 <= eps < 1:
        known = ", ".join(_CHOICES["normalize"])
        raise BadFile(f"{where}: normalize {quoted(normalize)} with norm_eps={quoted(eps)}; known are {known}, norm_eps from 0 to 1.")


def sites_of(several: Iterable[SaeFacts]) -> list[Site]:
    """Every site that one of several SAEs reads or writes, once."""
    return list(dict.fromkeys(site for facts in several for site in (*facts.input_sites, *facts.output_sites)))
