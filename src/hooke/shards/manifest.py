"""The manifest of a folder of shards: how they were made, what each holds, and where the harvest goes on. Sealed with a digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any

import torch

from hooke.errors import BadConfig, BadFile, UnknownName
from hooke.files import parse_json
from hooke.names import Site

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 64 << 20
_MAX_WIDTH = 1 << 20
_PREFIX = "acts."


@dataclass(frozen=True)
class ShardFacts:
    """How shards were made; going on with a harvest takes the same facts."""

    model: str
    """The model's name."""
    dtype: str
    """What it computed in; activations are kept in bfloat16 whatever that was."""
    sites: dict[str, int]
    """Width of the activations by site."""
    corpora: list[dict[str, Any]]
    """What was read, in the order that the column ``corpus`` counts in: ``name``, ``weight``, ``source``, ``field``, ``bytes``."""
    tokens: int
    """Tokens asked for."""
    shard_tokens: int
    """Tokens in each shard but the last."""
    context: int
    """Tokens in a window, the beginning-of-sequence token included."""
    packed: bool
    """Whether several documents share a window."""
    bos: int | None
    """The beginning-of-sequence token in front of every window, if the model has one."""
    drop_sinks: bool
    """Whether attention sinks were left out, as special tokens always are."""
    held_out: bool
    """Whether these are the documents kept from training, or the others."""
    one_in: int
    """One document in so many is kept from training."""
    epochs: int
    """How often a corpus that runs out begins again, at most."""
    seed: int
    """Decides the order of documents."""
    batch_tokens: int
    """Tokens of a forward pass; another number rounds differently in the last bits."""

    def differences(self, other: "ShardFacts") -> list[str]:
        """What `other` has differently, as ``name: own value, other value``."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return [f"{name}: {mine} there, {theirs} now" for name, mine, theirs in pairs if mine != theirs]


@dataclass(frozen=True)
class Shard:
    """What the manifest says of one shard."""

    file: str
    """Its name."""
    tokens: int
    """Tokens in it."""
    bytes: int
    """Length of the file."""
    sha256: str
    """Hex digest of the file."""
    corpora: dict[str, int]
    """Its tokens by corpus."""
    left_out: dict[str, int]
    """Positions left out while it was filled, by reason: ``special``, ``sink``."""
    mean_square: dict[str, float]
    """The mean of its squared activation values, by site."""


@dataclass(frozen=True)
class Manifest:
    """Everything but the activations."""

    facts: ShardFacts
    """How they were made."""
    shards: tuple[Shard, ...] = ()
    """Each shard, in order."""
    part: int = 0
    """Batches of the harvest that went into these shards whole."""
    rows: int = 0
    """Rows of the next batch that did so too."""
    complete: bool = False
    """Whether nothing is to come."""
    digest: str = field(default="", compare=False)
    """Hex SHA-256 of everything above."""

    def text(self) -> bytes:
        """The file: JSON that ends in a digest of what is before it. The same content gives the same bytes."""
        content = {"schema": SCHEMA, **asdict(self)}
        del content["digest"]
        content["sha256"] = _digest(content)
        return json.dumps(content, indent=1, ensure_ascii=True).encode()

    @classmethod
    def parse(cls, raw: bytes, where: str) -> "Manifest":
        """The manifest in the file `raw`; `BadFile` for anything that `text` does not write."""
        try:
            found = parse_json(raw)
            if not isinstance(found, dict):
                raise TypeError("it is no object")
            if found.get("schema") != SCHEMA:
                raise BadFile(
                    f"{where} has manifest schema {found.get('schema')!r:.20}; this version reads {SCHEMA}. A newer Hooke may read it."
                )
            seal = found.pop("sha256")
            if seal != _digest(found):
                raise BadFile(f"{where} is damaged: its content does not fit its digest.")
            del found["schema"]
            facts = _made(ShardFacts, found.pop("facts"))
            shards = tuple(_made(Shard, shard) for shard in found.pop("shards"))
            manifest = replace(_made(cls, found | {"facts": facts, "shards": shards}), digest=seal)
            _check(manifest)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, BadConfig, UnknownName) as error:
            raise BadFile(f"{where} is not a manifest of activation shards ({error}).") from error
        if manifest.text() != raw:
            raise BadFile(f"{where} was changed since it was written.")
        return manifest


def file_name(index: int) -> str:
    """The name of shard number `index`."""
    return f"shard-{index:05d}.safetensors"


def columns_of(facts: ShardFacts) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Dtype, and shape of one token's entry, of every tensor in a shard."""
    acts = {f"{_PREFIX}{site}": (torch.bfloat16, (width,)) for site, width in facts.sites.items()}
    return acts | {"ids": (torch.int32, ()), "doc": (torch.int32, ()), "pos": (torch.int32, ()), "corpus": (torch.uint8, ())}


def acts_column(site: Site) -> str:
    """The name of the tensor with the activations at `site`."""
    return f"{_PREFIX}{site}"


def token_bytes(facts: ShardFacts) -> int:
    """Bytes that a token takes on disk."""
    return sum(dtype.itemsize * (shape[0] if shape else 1) for dtype, shape in columns_of(facts).values())


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def _made(kind: type, found: Any) -> Any:
    """A dataclass of `found`'s entries, each of the type its field says (of containers only the container is looked at)."""
    if not isinstance(found, dict):
        raise TypeError(f"{kind.__name__} is a {type(found).__name__}")
    for entry in fields(kind):
        if entry.name in found:
            allowed: Any = entry.type if isinstance(entry.type, UnionType) else getattr(entry.type, "__origin__", entry.type)
            value = found[entry.name]
            if not isinstance(value, allowed) or (isinstance(value, bool) and allowed is not bool):
                raise TypeError(f"{entry.name} is a {type(value).__name__}")
    return kind(**found)


def _check(manifest: Manifest) -> None:
    facts = manifest.facts
    for site, width in facts.sites.items():
        if str(Site.parse(site)) != site or type(width) is not int or not 1 <= width <= _MAX_WIDTH:
            raise ValueError(f"site {site!r:.50} with a width of {width!r:.20}")
    names = [corpus["name"] for corpus in facts.corpora]
    if not 1 <= len(names) <= 256 or not all(isinstance(name, str) for name in names) or min(facts.tokens, facts.shard_tokens) < 1:
        raise ValueError("corpora, tokens or shard_tokens cannot be")
    for index, shard in enumerate(manifest.shards):
        counts = [shard.tokens, shard.bytes, *shard.corpora.values(), *shard.left_out.values()]
        if not all(type(count) is int and 0 <= count < 1 << 50 for count in counts) or not shard.corpora.keys() <= set(names):
            raise ValueError(f"shard {index}: its counts cannot be")
        if not all(isinstance(value, float) and 0 <= value < float("inf") for value in shard.mean_square.values()):
            raise ValueError(f"shard {index}: its mean squares cannot be")
        if shard.file != file_name(index) or shard.mean_square.keys() != facts.sites.keys():
            raise ValueError(f"shard {index} is called {shard.file!r:.50}, or its sites are others")
    if manifest.part < 0 or manifest.rows < 0:
        raise ValueError("it goes on before the beginning")
