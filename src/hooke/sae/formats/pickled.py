"""`.pt` files without unpickling: a reader of the few pickle instructions that dictionaries of tensors are written with.

`torch.save` writes a zip: ``*/data.pkl`` says what there is, ``*/data/<key>`` holds each storage's bytes. Nothing named in the pickle is
ever imported or called. An instruction or a name that plain dictionaries of tensors do not need is refused by name.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadFile, quoted
from hooke.sae.formats.zipped import Member, fill, members, opened
from hooke.sae.native import finite

_MAX_PICKLE, _MAX_STEPS = 4 << 20, 200_000
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_ADVICE = "If you trust it, open it with torch where you made it and save its tensors alone, best as safetensors."


@dataclass(frozen=True)
class Stored:
    """A tensor that has not been read yet."""

    key: str
    """Which storage holds it."""
    dtype: torch.dtype
    """Type of its values."""
    offset: int
    """Where in the storage it begins, in values."""
    shape: tuple[int, ...]
    """Its shape."""
    stride: tuple[int, ...]
    """Its strides, in values."""


@dataclass(frozen=True)
class PtFile:
    """The contents of a `.pt` file: plain values, and where its tensors lie."""

    path: Path
    """The file."""
    content: Any
    """What was saved; tensors are `Stored`."""
    storages: dict[str, Member]
    """Where each storage lies."""

    def tensor(self, found: Stored | Tensor, *, meta: bool = False) -> Tensor:
        """The tensor itself, checked to lie within its storage and to be finite; `meta` gives shape and type only."""
        if isinstance(found, Tensor):
            if found.is_floating_point() and not finite(found):
                raise BadFile(f"{self.path}: a tensor of shape {list(found.shape)} holds values that are not finite.")
            return found
        member, count = self.storages.get(found.key), found.dtype.itemsize
        numel = 1
        for n in found.shape:
            numel *= n
        last = found.offset + sum((n - 1) * step for n, step in zip(found.shape, found.stride, strict=True)) if numel else 0
        if member is None or (last + 1) * count > member.size or numel * count > member.size:
            raise BadFile(f"{self.path}: a tensor of shape {list(found.shape)} does not lie within its storage {found.key[:40]!r}.")
        if meta:
            return torch.empty_strided(found.shape, found.stride, dtype=found.dtype, device="meta")
        values = torch.empty(member.size // count, dtype=found.dtype)
        with opened(self.path, member) as file:
            fill(values, file, f"{self.path}: the storage {found.key[:40]!r}")
        return values.as_strided(found.shape, found.stride, found.offset)


def read_pt(path: Path) -> PtFile:
    """What a `.pt` file holds, read without unpickling; `BadFile` for a file that is more than plain values and tensors."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise BadFile(f"{path} is not a zip file as torch.save writes since 1.6; older pickles are not read here. {_ADVICE}")
    found = members(path)
    pickles = [name for name in found if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or found[pickles[0]].size > _MAX_PICKLE:
        raise BadFile(f"{path} has {len(pickles)} data.pkl of at most {_MAX_PICKLE >> 20} MiB; torch.save writes one.")
    root = pickles[0].removesuffix("data.pkl")
    order = found.get(f"{root}byteorder")
    if order is not None:
        with opened(path, order) as file:
            if file.read(16) != b"little":
                raise BadFile(f"{path} was written on a machine of another byte order.")
    with opened(path, found[pickles[0]]) as file:
        data = file.read(found[pickles[0]].size)
    storages = {name.removeprefix(f"{root}data/"): member for name, member in found.items() if name.startswith(f"{root}data/")}
    return PtFile(path, _Machine(path).run(data), storages)


class _Refused(Exception):
    """Something that plain dictionaries of tensors are not written with."""


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """A name that the pickle mentions and that we know; never imported."""

    text: str


class _Machine:
    """The pickle machine, reduced to what `torch.save` needs for dictionaries of tensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """What lies under each mark."""
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """What the pickle `data` builds."""
        try:
            for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                if step >= _MAX_STEPS:
                    raise _Refused(f"more than {_MAX_STEPS:,} instructions")
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._step(opcode.name, argument)
        except _Refused as refused:
            raise BadFile(f"{self.path} is not a plain file of tensors: its pickle has {refused}. Nothing was run. {_ADVICE}") from refused
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
            raise BadFile(f"{self.path}: its pickle is damaged ({type(error).__name__}: {str(error)[:200]}).") from error
        raise BadFile(f"{self.path}: its pickle has no end.")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(_known(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_known(*stack[-2:]))
            del stack[-3:-1]
        else:
            self._build(name)

    def _build(self, name: str) -> None:
        values = self._to_mark() if name in ("TUPLE", "APPENDS", "SETITEMS") else []
        stack = self.stack
        if name in _TUPLES:
            count = _TUPLES[name]
            if len(stack) < count:
                raise IndexError("too few values")
            values = tuple(stack[-count:])
            del stack[-count:]
            stack.append(values)
        elif name == "TUPLE":
            stack.append(tuple(values))
        elif name == "APPEND":
            value = stack.pop()
            _as(list, stack[-1]).append(value)
        elif name == "APPENDS":
            _as(list, stack[-1]).extend(values)
        elif name == "SETITEM":
            pair = [stack.pop(-2), stack.pop()]
            _set_items(_as(dict, stack[-1]), pair)
        elif name == "SETITEMS":
            _set_items(_as(dict, stack[-1]), values)
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_call(stack.pop(), _as(tuple, arguments)))
        elif name == "BUILD":
            _as(dict, stack.pop())  # a state dict's `_metadata`; nothing we need
            _as(dict, stack[-1])
        else:
            raise _Refused(f"the instruction {name}")

    def _to_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values


def _as(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _set_items(target: dict[Any, Any], values: list[Any]) -> None:
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | int):
            raise TypeError(f"a key that is a {type(key).__name__}")
        if key in target:
            raise ValueError(f"the key {quoted(key)} occurs twice")
        target[key] = value


def _known(module: Any, name: Any) -> _Name:
    text = f"{_as(str, module)}.{_as(str, name)}"
    if text in ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"):
        return _Name(text)
    if module == "torch" and name in _STORAGES:
        return _Name(text)
    raise _Refused(f"the name {text[:120]}")


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's bytes are, and their type."""

    key: str
    dtype: torch.dtype


def _storage(identity: Any) -> _Storage:
    kind, storage, key, _, _ = _as(tuple, identity)
    if _as(str, kind) != "storage":
        raise _Refused(f"a reference to {quoted(kind, 40)}")
    return _Storage(_as(str, key), _STORAGES[_as(_Name, storage).text.removeprefix("torch.")])


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    name = _as(_Name, function).text
    if name == "collections.OrderedDict" and not arguments:
        return {}
    if name == "torch._utils._rebuild_parameter":
        return _as(Stored, arguments[0])
    if name != "torch._utils._rebuild_tensor_v2":
        raise _Refused(f"a call of {name}")
    storage, offset, shape, stride = arguments[:4]
    numbers = (offset, *_as(tuple, shape), *_as(tuple, stride))
    if len(shape) != len(stride) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 1 << 40 for n in numbers):
        raise ValueError("a tensor with an impossible shape")
    return Stored(_as(_Storage, storage).key, storage.dtype, offset, shape, stride)
