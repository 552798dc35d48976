"""Places: a folder on this machine, or any address that `fsspec` knows (``s3://...``, ``memory://...``), to keep files in by name."""

import contextlib
import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from hooke.errors import BadConfig, BadFile, HookeError, Missing
from hooke.files import atomic_write, read_safetensors, sha256, sole_writer


class Place(ABC):
    """Where files lie. A file appears whole or not at all."""

    @abstractmethod
    def __str__(self) -> str:
        """The path or address."""

    @abstractmethod
    def write(self, name: str, pieces: Iterable[memoryview]) -> tuple[int, str]:
        """Put the `pieces`, one after the other, under `name`; how many bytes that was, and their SHA-256."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of the file `name`; None if there is none."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The file `name`."""

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

    def write(self, name: str, pieces: Iterable[memoryview]) -> tuple[int, str]:
        with atomic_write(self.folder / name) as file:
            return _hashed(file.write, pieces)

    def size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

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
    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        try:
            self.system, self.folder = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise Missing(f"cannot reach {url}: {error}.") from error
        except ValueError as error:
            raise BadConfig(f"cannot reach {url}: {error}.") from error

    def __str__(self) -> str:
        return self.url

    @contextlib.contextmanager
    def _telling(self, doing: str, name: str) -> Iterator[None]:
        try:
            yield
        except HookeError:
            raise
        except Exception as error:  # every system behind fsspec raises errors of its own
            raise HookeError(f"cannot {doing} {self.url}/{name}: {error or type(error).__name__}") from error

    def write(self, name: str, pieces: Iterable[memoryview]) -> tuple[int, str]:
        with self._telling("write", name):
            self.system.makedirs(self.folder, exist_ok=True)
            # An object appears when it is closed; where that is not so, a torn one is told from its size and digest.
            with self.system.open(f"{self.folder}/{name}", "wb") as file:
                return _hashed(file.write, pieces)

    def size(self, name: str) -> int | None:
        with self._telling("look at", name):
            try:
                return int(self.system.info(f"{self.folder}/{name}")["size"])
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes:
        with self._telling("read", name):
            return self.system.cat_file(f"{self.folder}/{name}")

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
