"""Activation cache: what a model read and how its features fired, in sealed chunks on disk, to take statistics of feature by feature.

A chunk holds some windows in reading order: their token ids, and for each SAE the codes of those tokens. Chunks follow each other in the
order of the text, so a token's row is the same whatever batches it was read in, and a feature's events come out in ascending order.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
import torch
from numba import njit

from hooke.codes import Codes
from hooke.errors import BadConfig, BadFile, DigestMismatch
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events
from hooke.files import atomic_write, parse_json, read_safetensors, sha256, write_safetensors

SCHEMA = 2
_SMALL = 1 << 16
_MANIFEST = "spool.json"


@dataclass(frozen=True)
class Chunk:
    """Windows in reading order, and the codes of their tokens."""

    ids: np.ndarray
    """``[token]``: token ids, special ones left out."""
    windows: np.ndarray
    """``[window, 4]``: number of the corpus, of the document, token of the document it begins at, and how many of `ids` are its."""
    codes: Mapping[str, Codes]
    """By SAE, a row for each token."""
    sums: Mapping[str, np.ndarray]
    """By SAE, sums over the tokens (float64) that add up from chunk to chunk."""
    sinks: int = 0
    """How many of `ids` are attention sinks, at which no feature is kept."""
    special: int = 0
    """Special tokens of the windows, which are not among `ids`."""


@dataclass(frozen=True)
class _Sealed:
    file: str
    sha256: str
    tokens: int
    windows: int
    bytes: int
    sinks: int
    special: int


class ActivationCache:
    """A folder of sealed chunks."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        widths: Mapping[str, int],
        corpora: Sequence[str],
        keep: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        """Open what is in `folder`, or begin there. `keep` hears of files in it that are new, before they count as safe.

        `settings` is all that decides what the chunks hold, as plain values; `widths` the number of features of each SAE; `corpora` the
        names of the corpora by number. Raises `BadConfig` where the folder was made with other settings, `DigestMismatch` or `BadFile`
        where it is damaged.
        """
        self.folder, self.widths, self.corpora, self._keep = folder, dict(widths), tuple(corpora), keep
        made_with = {"schema": SCHEMA, "widths": self.widths, "corpora": self.corpora, "settings": settings}
        self._settings = json.loads(json.dumps(made_with))
        self._chunks: list[_Sealed] = []
        self.complete = False
        """Whether all that was to be read is here."""
        if (folder / _MANIFEST).is_file():
            self._restore()
        for stray in set(folder.glob("chunk-*.safetensors")) - {folder / chunk.file for chunk in self._chunks}:
            stray.unlink()  # written, but never sealed, by a process that was killed

    def _restore(self) -> None:
        path = self.folder / _MANIFEST
        try:
            found = parse_json(path.read_text("utf-8"))
            settings, self.complete = found["settings"], bool(found["complete"])
            self._chunks = [_Sealed(**row) for row in found["chunks"]]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise BadFile(f"{path} cannot be read ({error}). Delete the folder to begin again.") from error
        if settings != self._settings:
            raise BadConfig(
                f"{self.folder} holds an unfinished atlas made with other settings: {_differences(settings, self._settings)}. "
                "Give the same ones to go on, delete the folder to begin again, or write to another place."
            )
        for chunk in self._chunks:
            file = self.folder / Path(chunk.file).name
            if not file.is_file() or sha256(file) != chunk.sha256:
                raise DigestMismatch(f"{file} is damaged or gone. Delete the folder {self.folder} to begin again.")

    def _save(self) -> None:
        manifest = {"settings": self._settings, "complete": self.complete, "chunks": [asdict(chunk) for chunk in self._chunks]}
        with atomic_write(self.folder / _MANIFEST) as file:
            file.write(json.dumps(manifest, indent=1).encode())
        self._keep([*(chunk.file for chunk in self._chunks[-1:]), _MANIFEST])

    @property
    def tokens(self) -> int:
        """Tokens in it."""
        return sum(chunk.tokens for chunk in self._chunks)

    def __len__(self) -> int:
        """Chunks in it."""
        return len(self._chunks)

    @property
    def windows(self) -> int:
        """Windows in it."""
        return sum(chunk.windows for chunk in self._chunks)

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(chunk.bytes for chunk in self._chunks)

    @property
    def left_out(self) -> dict[str, int]:
        """Positions at which no feature is kept: attention ``sinks``, which are among the tokens, and ``special`` tokens, which are not."""
        return {kind: sum(getattr(chunk, kind) for chunk in self._chunks) for kind in ("sinks", "special")}

    def add(self, chunk: Chunk) -> None:
        """Seal one more chunk: once this returns, it is safe."""
        tensors = {"ids": torch.from_numpy(chunk.ids.astype(np.int32)), "windows": torch.from_numpy(chunk.windows.astype(np.int64))}
        for number, (name, width) in enumerate(self.widths.items()):
            codes = chunk.codes[name]
            narrow = np.uint16 if width <= _SMALL else np.int32
            tensors |= {
                f"{number}.l0": codes.l0.int(),
                f"{number}.feature": torch.from_numpy(codes.feature.numpy().astype(narrow)),
                f"{number}.value": codes.value.float(),
                f"{number}.sums": torch.from_numpy(chunk.sums[name].astype(np.float64)),
            }
        path = self.folder / f"chunk-{len(self._chunks):05d}.safetensors"
        write_safetensors(path, tensors, {})
        sizes = (len(chunk.ids), len(chunk.windows), path.stat().st_size, chunk.sinks, chunk.special)
        self._chunks.append(_Sealed(path.name, sha256(path), *sizes))
        self._save()

    def finish(self) -> None:
        """Everything was read."""
        self.complete = True
        self._save()

    def _read(self) -> Iterator[dict[str, np.ndarray]]:
        for chunk in self._chunks:
            tensors, _ = read_safetensors(self.folder / chunk.file)
            yield {name: tensor.numpy() for name, tensor in tensors.items()}

    def text(self) -> CorpusTokens:
        """The text that was read."""
        ids, windows = zip(*((chunk["ids"].copy(), chunk["windows"].copy()) for chunk in self._read()), strict=True)
        return CorpusTokens(np.concatenate(ids), np.concatenate(windows), self.corpora)

    def sums(self, sae: str) -> np.ndarray:
        """The sums of all chunks for the SAE called `sae`."""
        number = list(self.widths).index(sae)
        return np.sum([chunk[f"{number}.sums"] for chunk in self._read()], axis=0)

    def scales(self, sae: str) -> tuple[np.ndarray, np.ndarray]:
        """How often each feature of `sae` fired (int64), and its largest activation (float32; 0 if it never did)."""
        number, width = list(self.widths).index(sae), self.widths[sae]
        counts, largest = np.zeros(width, np.int64), np.zeros(width, np.float32)
        for chunk in self._read():
            feature = chunk[f"{number}.feature"]
            counts += np.bincount(feature, minlength=width)
            np.maximum.at(largest, feature, chunk[f"{number}.value"])
        return counts, largest

    def events(self, sae: str, counts: np.ndarray, low: int, high: int) -> Events:
        """The events of the features from `low` to before `high`, the first of them as number 0; `counts` is what `scales` says."""
        number = list(self.widths).index(sae)
        start = np.zeros(high - low + 1, np.int64)
        np.cumsum(counts[low:high], out=start[1:])
        rows, values, place, first = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32), start[:-1].copy(), 0
        for chunk in self._read():
            l0 = chunk[f"{number}.l0"]
            _group((l0, chunk[f"{number}.feature"], chunk[f"{number}.value"]), first, low, high, (place, rows, values))
            first += len(l0)
        return Events(start, rows, values)

    def codes(self, sae: str, wanted: np.ndarray) -> Codes:
        """The codes of the tokens that `wanted`, a bool for each row, marks."""
        number, first, parts = list(self.widths).index(sae), 0, []
        for chunk in self._read():
            l0 = chunk[f"{number}.l0"]
            taken = wanted[first : first + len(l0)]
            entry = np.repeat(taken, l0)
            indptr = np.concatenate([[0], np.cumsum(l0[taken])])
            feature = torch.from_numpy(chunk[f"{number}.feature"][entry].astype(np.int32))
            parts.append(Codes(torch.from_numpy(indptr), feature, torch.from_numpy(chunk[f"{number}.value"][entry]), self.widths[sae]))
            first += len(l0)
        return Codes.cat(parts)

    def remove(self) -> None:
        """Delete it, the manifest first, so that no half of it is ever taken for the whole."""
        for name in (_MANIFEST, *(chunk.file for chunk in self._chunks)):
            (self.folder / name).unlink(missing_ok=True)


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is not the same, in words."""
    was, now = (one.get("settings", {}) | {name: value for name, value in one.items() if name != "settings"} for one in (was, now))
    differ = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    return ", ".join(f"{name}={_short(was.get(name))} (now {_short(now.get(name))})" for name in differ)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


@njit(cache=True, nogil=True)
@no_type_check
def _group(codes, first, low, high, grouped):
    l0, feature, value = codes
    place, rows, values = grouped
    end = 0
    for t in range(l0.shape[0]):
        # A token's features ascend: where those that are wanted begin is found by halving.
        at, beyond, end = end, end + l0[t], end + l0[t]
        while at < beyond:
            middle = (at + beyond) // 2
            if feature[middle] < low:
                at = middle + 1
            else:
                beyond = middle
        while at < end and feature[at] < high:
            i = feature[at] - low
            rows[place[i]] = first + t
            values[place[i]] = value[at]
            place[i] += 1
            at += 1
