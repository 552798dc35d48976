"""Writing shards: each whole and durable before the manifest names it, so that whatever happens, what is named is there."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hooke.errors import BadConfig, BadFile, LimitReached
from hooke.shards import manifest_file
from hooke.shards.manifest import MANIFEST, Manifest, Shard, ShardFacts, file_name, token_bytes
from hooke.shards.place import Place, place_at

_DTYPES = {torch.bfloat16: "BF16", torch.int32: "I32", torch.uint8: "U8"}
# Bytes written, and rows squared, at a time: bounds what that takes beside the shard.
_PIECE = 1 << 23
_ROWS = 4096
# Room left on the disk for the manifest and for others, in bytes.
_SPARE = 64 << 20


@runtime_checkable
class Filled(Protocol):
    """What the manifest wants to know of a shard besides its rows."""

    @property
    def tokens(self) -> Mapping[str, int]:
        """Rows by corpus."""
        ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Positions left out on the way, by reason."""
        ...

    @property
    def place(self) -> tuple[int, int]:
        """The harvest's batch that the next shard begins with, and how many of its rows were used."""
        ...


class ShardWriter:
    """Puts shards after those that are there already. Made by `writing`."""

    def __init__(self, where: Place, manifest: Manifest, there: bytes | None) -> None:
        """After what `manifest` names; `there` is the manifest's file as it is, which may still be of a harvest that wrote nothing."""
        self._place, self._there = where, there
        self.manifest = manifest
        """What is written so far."""

    @property
    def tokens(self) -> int:
        """Tokens written so far."""
        return sum(shard.tokens for shard in self.manifest.shards)

    def write(self, columns: Mapping[str, Tensor], filled: Filled, last: bool) -> Shard:
        """Write one shard of all rows of `columns`, and then the manifest that names it; `last` if none will follow.

        Raises `LimitReached` if the disk is full; what was written before stays good.
        """
        index, facts = len(self.manifest.shards), self.manifest.facts
        tokens = len(columns["ids"])
        header, names = _header(columns, {"format": "pt", "model": facts.model, "shard": str(index)})
        with _kept(index):
            size, digest = self._place.write(file_name(index), list(_pieces(header, [columns[name] for name in names])))
            mean_square = {site: _mean_square(columns[f"acts.{site}"]) for site in facts.sites}
            shard = Shard(file_name(index), tokens, size, digest, dict(filled.tokens), dict(filled.left_out), mean_square)
            shards = (*self.manifest.shards, shard)
            self._save(replace(self.manifest, shards=shards, part=filled.place[0], rows=filled.place[1], complete=last))
        return shard

    def finish(self) -> None:
        """Say in the manifest that nothing is to come."""
        with _kept(len(self.manifest.shards)):
            self._save(replace(self.manifest, complete=True))

    def claim(self) -> None:
        """Write a manifest that names nothing yet, where there is none: so a store that refuses says so before anything is read."""
        if not self.manifest.shards:
            self._save(self.manifest)

    def _save(self, manifest: Manifest) -> None:
        content = manifest.text()
        if content != self._there:
            self._place.replace(MANIFEST, self._there, content)
        self.manifest, self._there = manifest, content


@contextlib.contextmanager
def writing(where: Path | str, facts: ShardFacts) -> Iterator[ShardWriter]:
    """A writer of shards with `facts` at `where`, going on after the shards that are there; no other process can write there meanwhile.

    Raises `Busy` if one does, `BadConfig` naming every difference if shards with other facts are there, `BadFile` if one of them is
    missing or cut short, `LimitReached` if what is still to come has no room.
    """
    at = place_at(where)
    with at.held():
        there = manifest_file(at)
        manifest = Manifest(facts) if there is None else _goes_on(Manifest.parse(there, f"{at}/{MANIFEST}"), at, facts)
        writer = ShardWriter(at, manifest, there)
        needed, free = token_bytes(facts) * (facts.tokens - writer.tokens), at.free()
        if free is not None and not manifest.complete and needed + _SPARE > free:
            raise LimitReached(
                f"{facts.tokens - writer.tokens:,} tokens need {needed / 1e9:.2f} GB at {at}, which has {free / 1e9:.2f} GB free. "
                f"Harvest fewer tokens or sites, or choose another disk."
            )
        if "://" in str(at):
            writer.claim()
        yield writer


def _goes_on(there: Manifest, at: Place, facts: ShardFacts) -> Manifest:
    if not there.shards and not there.complete:
        return Manifest(facts)
    if differences := there.facts.differences(facts):
        raise BadConfig(f"{at} holds shards made with other settings: {'; '.join(differences)}. Give the same settings, or another folder.")
    for shard in there.shards:
        if at.size(shard.file) != shard.bytes:
            raise BadFile(f"{at}/{shard.file} is missing or cut short; the manifest names it. Delete the folder and harvest again.")
    return there


@contextlib.contextmanager
def _kept(index: int) -> Iterator[None]:
    try:
        yield
    except LimitReached as error:
        raise LimitReached(f"{error} The {index} shards before are safe; the same command goes on from there.") from error


def _header(columns: Mapping[str, Tensor], metadata: dict[str, str]) -> tuple[bytes, list[str]]:
    """A safetensors file's header, and the order that tensors follow in: widest items first, so that each is aligned."""
    names = sorted(columns, key=lambda name: (-columns[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name in names:
        value = columns[name]
        header[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw, names


def _pieces(header: bytes, tensors: list[Tensor]) -> Iterator[memoryview]:
    yield memoryview(header)
    for tensor in tensors:
        array: Any = tensor.contiguous().view(torch.uint8).reshape(-1).numpy()
        raw = memoryview(array)
        yield from (raw[start : start + _PIECE] for start in range(0, len(raw), _PIECE))


def _mean_square(acts: Tensor) -> float:
    total = sum(float(rows.float().square().sum(dtype=torch.float64)) for rows in acts.split(_ROWS))
    return total / max(1, acts.numel())
