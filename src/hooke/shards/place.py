"""Places: a folder on this machine, or any address that `fsspec` knows (``s3://...``, ``memory://...``), to keep files in by name."""

import contextlib
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import Tensor

from hooke.errors import BadFile, Busy
from hooke.files import atomic_write, move_into_place, read_safetensors, sha256, sole_writer
from hooke.stores import is_bucket, open_store, told, tried

T = TypeVar("T")


class Place(ABC):
    """Where files lie. A file appears whole or not at all."""

    @abstractmethod
    def __str__(self) -> str:
        """The path or address."""

    @abstractmethod
    def write(self, name: str, pieces: Sequence[memoryview]) -> tuple[int, str]:
        """Put the `pieces`, one after the other, under `name`, to stay; how many bytes that was, and their SHA-256.

        What a killed process left under that name and nothing refers to is replaced where nobody else can be writing; elsewhere the same
        bytes are left there, and others raise `Busy`.
        """

    @abstractmethod
    def replace(self, name: str, before: bytes | None, content: bytes) -> None:
        """Put `content` in the place of what `name` held `before` (None: nothing); raises `Busy` where it holds something else by now."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of the file `name`; None if there is none."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The file `name`."""

    @abstractmethod
    def fetch(self, name: str, target: Path) -> str:
        """Put a copy of the file `name` at `target`, whole or not at all; its hex SHA-256. Of any size: it is never in memory whole."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete the file `name`, if there is one."""

    @abstractmethod
    def tensors(self, name: str, digest: bool) -> tuple[dict[str, Tensor], str]:
        """What is in the safetensors file `name`, memory-mapped where that can be; with `digest` also the hex SHA-256 of the file."""

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Keep other processes from writing here meanwhile, where that can be done; raises `Busy`."""

    @abstractmethod
    def free(self) -> int | None:
        """Bytes there is room for; None where nobody can say."""


def place_at(where: Path | str) -> Place:
    """The place at a path or an address; neither has to exist."""
    text = str(where)
    for scheme in ("file://", "local://"):
        text = text.removeprefix(scheme)
    return _Address(text) if "://" in text else _Folder(Path(text))


def _hashed(write: Callable[[memoryview], Any], pieces: Iterable[memoryview]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        write(piece)
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


class _Folder(Place):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def write(self, name: str, pieces: Sequence[memoryview]) -> tuple[int, str]:
        with atomic_write(self.folder / name) as file:
            return _hashed(file.write, pieces)

    def replace(self, name: str, before: bytes | None, content: bytes) -> None:  # `before` is so while the folder is held
        with atomic_write(self.folder / name) as file:
            file.write(content)

    def size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def fetch(self, name: str, target: Path) -> str:
        with (self.folder / name).open("rb") as own, atomic_write(target) as file:
            shutil.copyfileobj(own, file)
        return sha256(target)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def tensors(self, name: str, digest: bool) -> tuple[dict[str, Tensor], str]:
        found = sha256(self.folder / name) if digest else ""
        return read_safetensors(self.folder / name)[0], found

    def held(self) -> AbstractContextManager[None]:
        return sole_writer(self.folder)

    def free(self) -> int | None:
        for folder in (self.folder, *self.folder.absolute().parents):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(folder).free
        return None


class _Address(Place):
    """Nothing can be held for one process in a store. In S3 and what speaks its protocol conditions decide instead: an object that is to
    stay is made only where there is none, and one that grows is replaced only where it is still as it was. Elsewhere the latter is looked
    at before it is written."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.system, self.folder = open_store(self.url)
        self._conditional = self.url.startswith("s3://")
        self._marks: dict[str, str] = {}
        """Of objects that were replaced: what the store calls their present content."""

    def __str__(self) -> str:
        return self.url

    def _tried(self, doing: str, name: str, do: Callable[[str], T]) -> T:
        return tried(lambda: do(f"{self.folder}/{name}"), doing, f"{self.url}/{name}")

    def write(self, name: str, pieces: Sequence[memoryview]) -> tuple[int, str]:
        size, digest = _hashed(lambda _: None, pieces)
        if not is_bucket(self.url):  # folders that have to be made
            self._tried("write", name, lambda _: self.system.makedirs(self.folder, exist_ok=True))
        try:
            self._tried("write", name, lambda path: self._put(path, pieces))
        except FileExistsError:  # by a try whose answer was lost, or by a twin; whichever was first has won
            there = self.read(name)
            if (len(there), hashlib.sha256(there).hexdigest()) != (size, digest):
                raise Busy(
                    f"{self.url}/{name} is there already with other content, and no manifest names it: another process is writing there, "
                    f"or one on another kind of machine was killed. If none is at work, remove that object and give the same command again."
                ) from None
        return size, digest

    def _put(self, path: str, pieces: Sequence[memoryview]) -> None:
        file = self.system.open(path, "xb" if self._conditional else "wb")
        try:
            for piece in pieces:
                file.write(piece)
            file.close()
        except BaseException:  # an object appears when it is closed, which must not happen to half of one
            with contextlib.suppress(Exception):
                file.discard()
            file.closed = True
            raise

    def replace(self, name: str, before: bytes | None, content: bytes) -> None:
        try:
            mark = self._marks.pop(name, None) or self._mark(name, before)  # it serves once: another may have written since
            condition = {"mode": "create"} if before is None else {"IfMatch": mark} if self._conditional else {}
            done = self._tried("write", name, lambda path: self._swapped(path, content, condition))
        except FileExistsError:
            if (self.size(name) is None) or self.read(name) != content:
                raise Busy(
                    f"another process has written {self.url}/{name} meanwhile. Wait for it to end, or choose another folder."
                ) from None
            return  # written by a try whose answer was lost; others may have written since, whom the next replacing meets
        if self._conditional:
            self._marks[name] = done["ETag"]

    def _swapped(self, path: str, content: bytes, condition: Mapping[str, Any]) -> Any:
        try:
            return self.system.pipe_file(path, content, **condition)
        except OSError as error:
            if "PreconditionFailed" in str(error.__cause__):
                raise FileExistsError(path) from error
            raise

    def _mark(self, name: str, expected: bytes | None) -> str:
        """What the store calls the content of `name`, which must be as `expected`."""
        try:
            mark = self._tried("look at", name, self.system.info).get("ETag", "")
            found = self.read(name)
        except FileNotFoundError:
            mark, found = "", None
        if found != expected:
            raise FileExistsError(name)
        return mark

    def size(self, name: str) -> int | None:
        try:
            return int(self._tried("look at", name, self.system.info)["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        try:
            return self._tried("read", name, self.system.cat_file)
        except FileNotFoundError as error:
            raise told(error, "read", f"{self.url}/{name}") from error

    def fetch(self, name: str, target: Path) -> str:
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            self._tried("read", name, lambda path: self.system.get_file(path, str(half)))
            move_into_place(half, target)
        except FileNotFoundError as error:
            raise told(error, "read", f"{self.url}/{name}") from error
        finally:
            half.unlink(missing_ok=True)
        return sha256(target)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._tried("delete", name, self.system.rm_file)

    def tensors(self, name: str, digest: bool) -> tuple[dict[str, Tensor], str]:
        from safetensors.torch import load

        raw = self.read(name)
        try:
            return load(raw), hashlib.sha256(raw).hexdigest() if digest else ""
        except SafetensorError as error:
            raise BadFile(f"{self.url}/{name} is not a safetensors file: {error}.") from error

    def held(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def free(self) -> int | None:
        return None
