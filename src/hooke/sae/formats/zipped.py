"""Zip files as data: where each member's bytes lie, and arrays of `.npz` members; every size is checked before anything is allocated."""

import contextlib
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hooke.errors import BadFile
from hooke.sae.native import finite

_MAX_MEMBERS = 100_000
_LOCAL_HEADER = 30
# Published archives unpack to three times their size; small ones may do as they like.
_MAX_RATIO, _SMALL = 8, 32 << 20
_BLOCK, _LARGE = 1 << 21, 1 << 20
_NOT_FINITE = "holds values that are not finite. The file is damaged or its training diverged."
_NPY_HEADER = re.compile(
    rb"\{'descr': '([^']{1,20})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,13}, ?)*\d{0,13},?)\),? *\} *\n?", re.ASCII
)
_DTYPES = {"<f2": torch.float16, "<f4": torch.float32, "<f8": torch.float64, "<i4": torch.int32, "<i8": torch.int64, "|b1": torch.bool}


@dataclass(frozen=True)
class Member:
    """One file in a zip archive."""

    start: int
    """Where its stored bytes begin in the archive."""
    packed: int
    """How many there are."""
    size: int
    """How many they unpack to."""
    stored: bool
    """Whether the stored bytes are the file itself (else they are deflated)."""


def members(path: Path) -> dict[str, Member]:
    """The files in the archive `path` by name; `BadFile` for anything a file of arrays has no use for."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            infos = archive.infolist()
            if len(infos) > _MAX_MEMBERS:
                raise BadFile(f"{path} holds {len(infos):,} members; no SAE has more than {_MAX_MEMBERS:,}.")
            found: dict[str, Member] = {}
            for info in infos:
                _check_name(info.filename, found, path)
                if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise BadFile(f"{path}: member {info.filename[:80]!r} is encrypted or packed by a method other than deflate.")
                found[info.filename] = _locate(info, file, path)
            total, limit = sum(member.size for member in found.values()), max(_SMALL, _MAX_RATIO * path.stat().st_size)
            if total > limit:
                raise BadFile(f"{path} claims to unpack to {total:,} bytes; for its size at most {limit:,} are allowed.")
            return found
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, RuntimeError, OSError, OverflowError) as error:
        raise BadFile(f"{path} is not a sound zip file: {error}.") from error


def _check_name(name: str, found: dict[str, Member], path: Path) -> None:
    if name in found:
        raise BadFile(f"{path}: the member {name[:80]!r} occurs twice.")
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or "\0" in name:
        raise BadFile(f"{path}: the member {name[:80]!r} has a name that leads out of its folder.")


def _locate(info: zipfile.ZipInfo, file: BufferedReader, path: Path) -> Member:
    size = path.stat().st_size
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    start = -1
    if len(header) == _LOCAL_HEADER and header[:4] == b"PK\3\4":
        start = info.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))
    stored = info.compress_type == zipfile.ZIP_STORED
    if start < 0 or start + info.compress_size > size or (stored and info.compress_size != info.file_size):
        raise BadFile(f"{path}: the member {info.filename[:80]!r} does not lie where the archive's directory says.")
    return Member(start, info.compress_size, info.file_size, stored)


class MemberStream:
    """Reads a member and no byte beyond it."""

    def __init__(self, file: BufferedReader, member: Member) -> None:
        self._file, self._left = file, member.packed
        self._unpack = None if member.stored else zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end."""
        if self._unpack is None:
            data = self._file.read(min(count, self._left))
            self._left -= len(data)
            return data
        parts, wanted = [], count
        try:
            while wanted and not self._unpack.eof:
                packed = self._unpack.unconsumed_tail or self._file.read(min(_BLOCK, self._left))
                if not self._unpack.unconsumed_tail:
                    self._left -= len(packed)
                part = self._unpack.decompress(packed, wanted)
                if not part and not packed:
                    break
                parts.append(part)
                wanted -= len(part)
        except zlib.error as error:
            raise BadFile(f"a deflated member cannot be unpacked: {error}.") from error
        return b"".join(parts)

    def readinto(self, target: memoryview) -> int:
        """Fill `target`; returns how much of it was filled."""
        if self._unpack is None:
            count = self._file.readinto(target[: self._left])
            self._left -= count
            return count
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def opened(path: Path, member: Member) -> Iterator[MemberStream]:
    """The bytes of a member as a stream."""
    with path.open("rb") as file:
        file.seek(member.start)
        yield MemberStream(file, member)


def npz_tensors(path: Path, *, meta: bool = False) -> dict[str, Tensor]:
    """Every array of a `.npz` file as a tensor, read once; `meta` gives shapes and types only.

    Large stored arrays are mapped, copy on write, and not read: no copy, and pages nobody asks for can go again. Inside a zip they begin
    at odd addresses, which processors and matrix products allow. Others are read and unpacked block by block. All values are checked to
    be finite.
    """
    return {name.removesuffix(".npy"): _array(path, name, member, meta) for name, member in members(path).items()}


def _array(path: Path, name: str, member: Member, meta: bool) -> Tensor:
    where = f"{path}: the array {name.removesuffix('.npy')[:80]!r}"
    with opened(path, member) as file:
        dtype, shape, fortran, used = _npy_header(file, where)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if count * dtype.itemsize != member.size - used:
            raise BadFile(f"{where} has shape {list(shape)} of {dtype}, but {member.size - used:,} bytes of values.")
        order = tuple(reversed(shape)) if fortran else shape
        if meta:
            tensor = torch.empty(order, dtype=dtype, device="meta")
        elif member.stored and member.size >= _LARGE:
            tensor = _mapped(path, member.start + used, count, dtype, where).view(order)
        else:
            tensor = torch.empty(order, dtype=dtype)
            fill(tensor, file, where)
    return tensor.permute(*reversed(range(tensor.ndim))) if fortran else tensor


def _mapped(path: Path, start: int, count: int, dtype: torch.dtype, where: str) -> Tensor:
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    tensor = torch.frombuffer(pages, dtype=dtype, count=count, offset=start)
    if tensor.is_floating_point() and not finite(tensor):
        raise BadFile(f"{where} {_NOT_FINITE}")
    return tensor


def fill(tensor: Tensor, file: MemberStream, where: str) -> None:
    """Read a contiguous tensor's values from a stream, block by block; each block is checked to be finite while it is in the cache."""
    flat = tensor.view(-1)
    raw = memoryview(flat.view(torch.uint8).numpy())  # pyright: ignore[reportArgumentType] (an array is a buffer)
    step = _BLOCK // tensor.element_size()
    for begin in range(0, len(flat), step):
        block, done = raw[begin * tensor.element_size() : (begin + step) * tensor.element_size()], 0
        while done < len(block):
            got = file.readinto(block[done:])
            if got == 0:
                raise BadFile(f"{where} ends early.")
            done += got
        if tensor.is_floating_point() and not finite(flat[begin : begin + step]):
            raise BadFile(f"{where} {_NOT_FINITE}")


def _npy_header(file: MemberStream, where: str) -> tuple[torch.dtype, tuple[int, ...], bool, int]:
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise BadFile(f"{where} is not an array: it does not begin as one.")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > 1 << 14:
        raise BadFile(f"{where} claims a header of {length:,} bytes.")
    found = _NPY_HEADER.fullmatch(file.read(length))
    if found is None:
        raise BadFile(f"{where} has a header that cannot be read.")
    kind = found[1].decode("ascii", "replace")
    if "O" in kind:
        raise BadFile(f"{where} is an array of Python objects, which would run code on opening; nothing was opened.")
    if kind not in _DTYPES:
        raise BadFile(f"{where} is of type {kind!r}; known are {', '.join(_DTYPES)}.")
    shape = tuple(int(part) for part in found[3].split(b",") if part.strip())
    if len(shape) > 4:
        raise BadFile(f"{where} has {len(shape)} axes.")
    return _DTYPES[kind], shape, found[2] == b"True", 8 + width + length
