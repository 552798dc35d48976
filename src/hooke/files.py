"""Files: the cache folder, durable atomic writes, digests, and safetensors opened with distrust."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hooke.errors import BadConfig, BadFile, Busy, HookeError, LimitReached, Missing

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER = 16 << 20
_MAX_METADATA = 1 << 20


def cache_dir() -> Path:
    """Where converted models live: ``$HOOKE_HOME/cache``, else the user's cache folder. Always safe to delete."""
    if home := os.environ.get("HOOKE_HOME"):
        return Path(home) / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("hooke", appauthor=False))


def data_dir() -> Path:
    """Where what a person wrote lives: ``$HOOKE_HOME``, else the user's data folder. Not to be deleted."""
    if home := os.environ.get("HOOKE_HOME"):
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_data_dir("hooke", appauthor=False))


def write_error(error: OSError, path: Path) -> HookeError:
    """The clear error for a failed write to `path`: what is wrong with the place and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = f", {_free(path) >> 20} MiB free" if _free(path) >= 0 else ""
        return LimitReached(
            f"no room to write {path}{free}. Free some space or set HOOKE_HOME to a folder on another disk. Nothing was left half-written."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT):
        is_ours = any(path.is_relative_to(folder) for folder in (cache_dir(), data_dir()))
        cure = "Set HOOKE_HOME to a folder you may write to." if is_ours else "Give a place in a folder that you may write to."
        return BadConfig(f"cannot write {path}: {error.strerror}. {cure}")
    return HookeError(f"cannot write {path}: {error.strerror or error}.")


def _free(path: Path) -> int:
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return -1


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_place(path: Path) -> None:
    """Raise `BadConfig` where no file can take the place of what stands at `path`: who may do so would put one where a device was."""
    if path.absolute().parent == Path("/dev") or (path.exists() and not (path.is_file() or path.is_dir())):
        raise BadConfig(f"cannot write {path}: it is a device or a pipe. Give the name of a file.")


def check_writable(path: Path) -> None:
    """Raise what `atomic_write` of `path` would now, so that no long work ends there."""
    try:
        _check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise write_error(error, path) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole and durable, or not at all (temporary name, fsync, rename)."""
    try:
        _check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise write_error(error, path) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move_into_place(Path(name), path)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.unlink(name)


def move_into_place(written: Path, path: Path) -> None:
    """Give a file that is written and synced its own name beside it, for good; what stood there is replaced."""
    # mkstemp makes files only their owner may read; give what the user's mask allows, as open() does.
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(written, 0o666 & ~mask)
    os.replace(written, path)
    _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under `path` whole, or not at all; leftovers of killed attempts are removed first."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise write_error(error, path) from error
    try:
        with _locked(work):
            building = work / "new"
            building.mkdir()
            yield building
            for written in (*building.rglob("*"), building):
                _sync(written)
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, work / "old")  # never half removed under its own name
            os.rename(building, path)
            _sync(path.parent)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed attempts left. A living one holds a lock; a process number would not do, in containers they come again."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError), _locked(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on `folder`, which the system gives up for us if we are killed; `OSError` if another process has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def sole_file(path: Path) -> Iterator[int]:
    """An empty file at `path`, held open for this process alone; `Busy` if another holds it. What a killed one left is overwritten."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have moved it into place between our opening it and our holding it; then it is not ours to empty.
            if os.path.exists(path) and os.path.samestat(os.fstat(handle), os.stat(path)):
                os.ftruncate(handle, 0)
                yield handle
                return
        except BlockingIOError as error:
            raise Busy(f"another process is writing {path}. Wait for it to end, or choose another name.") from error
        finally:
            os.close(handle)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if need be, for this process alone; `Busy` if another has it. What killed writers left half-written goes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = contextlib.ExitStack()
        held.enter_context(_locked(folder))
    except BlockingIOError as error:
        raise Busy(f"another process is writing to {folder}. Wait for it to end, or choose another folder.") from error
    except OSError as error:
        raise write_error(error, folder) from error
    with held:
        for leftover in folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                leftover.unlink()
        yield


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unharmed(digests: Mapping[Path, str], memo: str) -> bool:
    """Whether every file has its digest (hex SHA-256).

    A file is read only where it is not the one that was found whole before, by its size, times and place on the disk: these are kept in
    the cache under the name `memo`, so that a start does not pay for reading a model twice.
    """
    known, kept = cache_dir() / "seen" / f"{memo}.json", {}
    with contextlib.suppress(OSError, ValueError):
        kept = parse_json(known.read_text("utf-8"))
    try:
        seen = {str(path): [_identity(path), digest] for path, digest in digests.items()}
        if seen == kept:
            return True
        if any(sha256(path) != digest for path, digest in digests.items()):
            return False
    except OSError:
        return False
    with contextlib.suppress(HookeError), atomic_write(known) as file:  # where it cannot be kept, files are read each time
        file.write(json.dumps(seen).encode())
    return True


def _identity(path: Path) -> list[int]:
    """What changes when somebody writes to a file or puts another in its place."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def promised_digest(blob: Path) -> str | None:
    """What is wrong with a file that a hub's cache keeps under its digest; None where nothing is, or the name is no digest.

    The hub names large files by their SHA-256, small ones by Git's digest.
    """
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        found = sha256(blob)
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        found = hashlib.sha1(b"blob %d\0" % blob.stat().st_size + blob.read_bytes(), usedforsecurity=False).hexdigest()
    else:
        return None  # a cache without links, or a mirror that gives no digests
    return None if found == blob.name else f"its digest is {found}, the hub promised {blob.name}"


def safetensors_header(path: Path) -> tuple[dict[str, tuple[str, list[int]]], dict[str, str]]:
    """Tensor names with ``(dtype, shape)``, and the metadata, of a safetensors file, read without its tensors.

    Raises `BadFile` where the header is not what the format allows (the parser proper checks again on reading).
    """
    if not path.is_file():
        raise Missing(f"no file {path}.")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= min(_MAX_HEADER, path.stat().st_size - 8):
            raise BadFile(f"{path} is not a safetensors file: its header claims {size} bytes of {path.stat().st_size}.")
        raw = file.read(size)
    try:
        header = parse_json(raw)
    except ValueError as error:
        raise BadFile(f"{path} is not a safetensors file: its header cannot be read ({str(error)[:200]}).") from error
    if not isinstance(header, dict):
        raise BadFile(f"{path} is not a safetensors file: its header is no object.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadFile(f"{path}: its metadata is not an object of texts.")
    if sum(map(len, metadata.values())) > _MAX_METADATA:
        raise BadFile(f"{path}: its metadata is larger than {_MAX_METADATA >> 20} MiB.")
    tensors = {}
    for name, entry in header.items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in shape):
            raise BadFile(f"{path}: tensor {name[:80]!r} has no sensible shape.")
        tensors[name] = (str(entry.get("dtype")), shape)
    return tensors, metadata


def parse_json(text: str | bytes) -> Any:
    """What JSON from outside says. `ValueError` for what is no JSON, a name that occurs twice, nesting that no file of ours has, and
    numbers that do not fit into 64 bits, which every library takes otherwise (NaN and Infinity, which Python writes, are taken)."""
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_int=_bounded_int, parse_float=_bounded_float)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


_AS_THEY_ARE = frozenset((str, int, bool, type(None)))


def plain(value: Any) -> Any:
    """Dataclasses, containers and numbers as JSON has them; a number that is not finite is null."""
    if type(value) in _AS_THEY_ARE:  # of the thousands of values of an answer nearly all are; told without asking what else they may be
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [own if type(own) in _AS_THEY_ARE else plain(own) for own in value]
    if isinstance(value, dict):
        return {str(key): plain(own) for key, own in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _bounded_int(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 63:
        raise ValueError(f"the number {digits[:20]}... does not fit into 64 bits")
    return int(digits)


def _bounded_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def read_safetensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """All tensors of a safetensors file, memory-mapped, and its metadata."""
    from safetensors import SafetensorError, safe_open

    _, metadata = safetensors_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise BadFile(f"{path} is not a safetensors file: {error}.") from error


def write_safetensors(path: Path, tensors: dict[str, "Tensor"], metadata: dict[str, str]) -> None:
    """`tensors` and `metadata` as one safetensors file, written atomically; the same input gives the same bytes."""
    from safetensors.torch import save

    raw = save({name: tensors[name].contiguous() for name in sorted(tensors)})
    start = 8 + int.from_bytes(raw[:8], "little")
    # The library writes metadata in an order that changes from run to run, so it is put in here.
    header = ({"__metadata__": dict(sorted(metadata.items()))} if metadata else {}) | json.loads(raw[8:start])
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # tensors must begin at a multiple of 8 bytes
    with atomic_write(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.write(memoryview(raw)[start:])
