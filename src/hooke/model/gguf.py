"""GGUF files as data: a header read with every bound checked, and tensors dequantised on demand.

The layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version, counts, key-value pairs, tensor
descriptions, padding to the alignment, tensor bytes. The stock reader trusts counts and lengths; a damaged file can make it hang.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke.errors import BadFile

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES, _MAX_TENSORS, _MAX_STRING, _MAX_ARRAY, _MAX_DIMS = 4096, 100_000, 1 << 20, 1 << 23, 4
# Values dequantised at a time: bounds the float32 working copy at 64 MiB.
_BLOCK = 1 << 24


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies in the file."""

    name: str
    shape: tuple[int, ...]
    """Outermost axis first (GGUF itself writes the innermost first)."""
    kind: int
    """The GGML type number."""
    start: int
    stop: int
    """Byte range in the file, half-open."""


class _Cursor:
    """Reads forward through a buffer and refuses to leave it."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> memoryview:
        if count < 0 or count > len(self.data) - self.at:
            raise BadFile(f"GGUF: {count} bytes wanted at byte {self.at}, the file has {len(self.data)}.")
        self.at += count
        return self.data[self.at - count : self.at]

    def scalar(self, kind: int) -> Any:
        form = _SCALARS.get(kind)
        if form is None:
            raise BadFile(f"GGUF: unknown value type {kind} at byte {self.at}.")
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, limit: int, what: str) -> int:
        number = self.scalar(10)
        if number > limit:
            raise BadFile(f"GGUF: {number} {what} at byte {self.at}; at most {limit} are allowed.")
        return number

    def string(self) -> str:
        raw = self.take(self.count(_MAX_STRING, "bytes of text"))
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise BadFile(f"GGUF: text at byte {self.at} is not UTF-8 ({error.reason}).") from error

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(kind)
        item = self.scalar(4)
        length = self.count(_MAX_ARRAY, "array items")
        if item == _STRING:
            return [self.string() for _ in range(length)]
        if item not in _SCALARS:
            raise BadFile(f"GGUF: arrays of value type {item} are not allowed (byte {self.at}).")
        form = np.dtype(_SCALARS[item])
        return np.frombuffer(self.take(length * form.itemsize), form)


class Gguf:
    """A GGUF file held in memory: `fields` (key to value), `tensors` (name to place), `rows` (values)."""

    def __init__(self, data: memoryview) -> None:
        """Parse the header of `data`, the whole file; raises `BadFile` naming the byte where it goes wrong."""
        from gguf.constants import GGML_QUANT_SIZES

        cursor = _Cursor(data)
        if bytes(cursor.take(4)) != b"GGUF":
            raise BadFile("not a GGUF file: it does not begin with 'GGUF'.")
        if (version := cursor.scalar(4)) not in (2, 3):
            raise BadFile(f"GGUF version {version} is not known; 2 and 3 are.")
        n_tensors = cursor.count(_MAX_TENSORS, "tensors")
        self.data = data
        self.fields: dict[str, Any] = {}
        for _ in range(cursor.count(_MAX_ENTRIES, "entries")):
            key = cursor.string()
            if key in self.fields:
                raise BadFile(f"GGUF: key {key[:80]!r} occurs twice.")
            self.fields[key] = cursor.value(cursor.scalar(4))
        described = [self._describe(cursor) for _ in range(n_tensors)]
        alignment = self.fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise BadFile(f"GGUF: alignment {alignment!r} is not a power of two between 8 and 65536.")
        base = -(-cursor.at // alignment) * alignment
        self.tensors: dict[str, GgufTensor] = {}
        end = base
        sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
        for name, shape, kind, offset in sorted(described, key=lambda d: d[3]):
            if kind not in sizes:
                raise BadFile(f"GGUF: tensor {name[:80]!r} has unknown type {kind}.")
            block, block_bytes = sizes[kind]
            start = base + offset
            count = 1
            for n in shape:
                count *= n
            if name in self.tensors or shape[-1] % block or offset % alignment or start < end:
                raise BadFile(f"GGUF: tensor {name[:80]!r} (shape {shape}, offset {offset}) is repeated, misaligned or overlaps another.")
            end = start + count // block * block_bytes
            if end > len(data):
                raise BadFile(f"GGUF: tensor {name[:80]!r} ends at byte {end}, the file has {len(data)}.")
            self.tensors[name] = GgufTensor(name, shape, kind, start, end)

    @staticmethod
    def _describe(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
        name = cursor.string()
        n_dims = cursor.scalar(4)
        if not 1 <= n_dims <= _MAX_DIMS:
            raise BadFile(f"GGUF: tensor {name[:80]!r} has {n_dims} axes.")
        shape = tuple(cursor.count(1 << 31, "values along an axis") for _ in range(n_dims))[::-1]
        if not all(shape):
            raise BadFile(f"GGUF: tensor {name[:80]!r} is empty, shape {shape}.")
        return name, shape, cursor.scalar(4), cursor.scalar(10)

    def field(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """The value under `key`, of type `kind`; raises `BadFile` where it is missing or of another type."""
        value = self.fields.get(key)
        if not isinstance(value, kind):
            wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise BadFile(f"GGUF: field {key!r} is {'missing' if value is None else type(value).__name__}; {wanted} was expected.")
        return value

    def read(self, name: str, dtype: torch.dtype) -> Float[Tensor, "..."]:
        """The tensor `name`, dequantised in float32 and stored as `dtype`."""
        if name not in self.tensors:
            raise BadFile(f"GGUF: no tensor {name!r}; the file holds {len(self.tensors)}.")
        place = self.tensors[name]
        out = torch.empty(place.shape, dtype=dtype)
        flat = out.view(-1, place.shape[-1])
        at = 0
        try:
            for block in self._dequantised(place):
                flat[at : at + len(block)] = torch.from_numpy(block)
                at += len(block)
        except NotImplementedError as error:
            raise BadFile(f"GGUF: tensor {name[:80]!r} is of type {place.kind}, which cannot be dequantised.") from error
        return out

    def _dequantised(self, place: GgufTensor) -> Iterator[np.ndarray]:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        width = place.shape[-1]
        raw = np.frombuffer(self.data[place.start : place.stop], np.uint8)
        rows = raw.reshape(-1, raw.size * width // int(np.prod(place.shape)))
        step = max(1, _BLOCK // width)
        for start in range(0, len(rows), step):
            yield dequantize(rows[start : start + step], GGMLQuantizationType(place.kind)).astype(np.float32).reshape(-1, width)
