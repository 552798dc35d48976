"""Shards: activations of many tokens on disk, a folder of safetensors files and a manifest that names every one with its digest."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hooke.errors import BadConfig, BadFile, LimitReached, Missing, ShapeMismatch, unknown
from hooke.names import Site, model_name
from hooke.shards.manifest import MANIFEST, MAX_MANIFEST, Manifest, Shard, ShardFacts, columns_of
from hooke.shards.place import Place, place_at

__all__ = ["Shard", "ShardFacts", "Shards", "begins"]

# Rows looked at together when a shard's values are checked: bounds what that takes beside the shard.
_ROWS = 8192


class Shards:
    """The shards at one place, as far as its manifest names them. Each is verified the first time it is read."""

    def __init__(self, where: Place, manifest: Manifest) -> None:
        self._place, self._manifest = where, manifest
        self.facts: ShardFacts = manifest.facts
        """How they were made."""
        self.shards: Sequence[Shard] = manifest.shards
        """What is known of each shard, in order."""
        self.complete: bool = manifest.complete
        """Whether the harvest came to its end."""
        self.digest: str = manifest.digest
        """Hex SHA-256 of the manifest, and so of everything it names."""
        self._verified: set[int] = set()

    @classmethod
    def open(cls, where: Path | str) -> "Shards":
        """The shards in a folder, or at an address that `fsspec` knows. Reads the manifest and no activations.

        Raises `Missing` where there is no manifest, `BadFile` where it is damaged or of another version.
        """
        at = place_at(where)
        raw = manifest_file(at)
        if raw is None:
            raise Missing(f"no activation shards at {at}: there is no {MANIFEST}. `hooke harvest` writes them.")
        return cls(at, Manifest.parse(raw, f"{at}/{MANIFEST}"))

    @property
    def sites(self) -> dict[Site, int]:
        """The sites, with their widths."""
        return {Site.parse(site): width for site, width in self.facts.sites.items()}

    @property
    def tokens(self) -> int:
        """Tokens in all shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def corpora(self) -> dict[str, int]:
        """Tokens by corpus."""
        return dict(sum((Counter(shard.corpora) for shard in self.shards), Counter()))

    @property
    def left_out(self) -> dict[str, int]:
        """Positions left out, by reason: ``special``, ``sink``."""
        return dict(sum((Counter(shard.left_out) for shard in self.shards), Counter()))

    @property
    def mean_square(self) -> dict[Site, float]:
        """The mean of the squared activation values at each site, over all tokens and all dimensions."""
        total = max(1, self.tokens)
        return {site: sum(shard.mean_square[str(site)] * shard.tokens for shard in self.shards) / total for site in self.sites}

    def split(self, tokens: int) -> tuple["Shards", "Shards"]:
        """Two lots of these shards: the last ones, as many as hold `tokens` tokens, and those before them.

        Raises `LimitReached` where nothing would be left of the others.
        """
        size, count = 0, 0
        while size < tokens and count < len(self):
            count += 1
            size += self.shards[-count].tokens
        if count >= len(self):
            raise LimitReached(
                f"the shards at {self} hold {self.tokens:,} tokens in {len(self)} files, and the last of these, with {tokens:,} tokens, "
                f"are to be held out. Harvest more, in smaller shards, or hold out less."
            )
        last, first = self._part(self.shards[-count:]), self._part(self.shards[:-count])
        return last, first

    def _part(self, shards: Sequence[Shard]) -> "Shards":
        manifest = replace(self._manifest, shards=tuple(shards))
        return Shards(self._place, replace(manifest, digest=hashlib.sha256(manifest.text()).hexdigest()))

    def __len__(self) -> int:
        return len(self.shards)

    def __str__(self) -> str:
        return str(self._place)

    def check(self, *, model: str | Path | None = None, sites: Sequence[Site] = (), width: int | None = None) -> None:
        """Raise an error where they are of another `model`, or lack one of `sites`, or one of `sites` is not `width` wide."""
        if model is not None and model_name(model) != self.facts.model:
            raise BadConfig(f"the shards at {self} hold activations of {self.facts.model!r}, not of {str(model)!r}.")
        for site in sites or self.sites:
            if site not in self.sites:
                raise unknown(f"site in the shards at {self}:", site, map(str, self.sites))
            if width is not None and width != self.sites[site]:
                raise ShapeMismatch(f"the shards at {self} are {self.sites[site]} wide at {site}; asked for is a width of {width}.")

    def read(self, index: int) -> dict[str, Tensor]:
        """Shard number `index`: ``acts.<site>`` bf16 ``[token, d_site]``, and ``ids``, ``doc``, ``pos``, ``corpus`` ``[token]``.

        Memory-mapped from a folder, held in memory from an address. Raises `BadFile` naming the shard if it is missing, cut short,
        changed in any bit, or not what the manifest says.
        """
        shard, first = self.shards[index], index not in self._verified
        name = f"{self}/{shard.file}"
        size = self._place.size(shard.file)
        if size is None:
            raise BadFile(f"{name} is missing; the manifest names it. {_REMEDY}")
        if size != shard.bytes:
            raise BadFile(f"{name} has {size:,} bytes and not {shard.bytes:,}: it was cut short or changed. {_REMEDY}")
        found, digest = self._place.tensors(shard.file, first)
        if first and digest != shard.sha256:
            raise BadFile(f"{name} is damaged: its SHA-256 is {digest[:12]}… and not {shard.sha256[:12]}…. {_REMEDY}")
        expected = {column: (dtype, (shard.tokens, *shape)) for column, (dtype, shape) in columns_of(self.facts).items()}
        if {column: (value.dtype, tuple(value.shape)) for column, value in found.items()} != expected:
            raise BadFile(f"{name} does not hold what the manifest says: {', '.join(sorted(expected))} of {shard.tokens:,} tokens.")
        if first:
            _check_values(found, len(self.facts.corpora), name)
            self._verified.add(index)
        return found


def manifest_file(at: Place) -> bytes | None:
    """The manifest's file at a place; None where there is none."""
    size = at.size(MANIFEST)
    if size is not None and size > MAX_MANIFEST:
        raise BadFile(f"{at}/{MANIFEST} has {size:,} bytes; at most {MAX_MANIFEST:,} are read.")
    return None if size is None else at.read(MANIFEST)


def begins(pos: Int[Tensor, " token"], *marks: Int[Tensor, " token"]) -> Bool[Tensor, " token"]:
    """Which rows begin another text than the row before: where the position does not rise, or where one of `marks` changes."""
    new = torch.ones(len(pos), dtype=torch.bool)
    new[1:] = pos.diff() <= 0
    for mark in marks:
        new[1:] |= mark.diff() != 0
    return new


_REMEDY = "Harvest it again into another folder."


def _check_values(columns: dict[str, Tensor], corpora: int, name: str) -> None:
    """Digests prove that a shard is what its maker wrote, and not that its maker meant well."""
    for column, value in columns.items():
        if value.is_floating_point() and not all(bool(torch.isfinite(rows.float().sum())) for rows in value.split(_ROWS)):
            raise BadFile(f"{name}: {column} holds values that are not finite.")
    if len(columns["corpus"]) and int(columns["corpus"].max()) >= corpora:
        raise BadFile(f"{name}: a token is of corpus number {int(columns['corpus'].max())}; there are {corpora}.")
