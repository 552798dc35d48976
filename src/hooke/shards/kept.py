"""Kept: the files of a folder on this machine, kept at an address as well, so that another machine can go on with them."""

import json
import mmap
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hooke.errors import BadFile, Busy
from hooke.files import parse_json, sha256
from hooke.shards.place import place_at

MANIFEST = "kept.json"
"""What says which files there are."""
_SCHEMA = 1
_PIECE = 1 << 23
_TRIES, _WAIT_S = 12, 0.1


@dataclass(frozen=True)
class _Entry:
    object: str
    sha256: str
    bytes: int


class Kept:
    """A folder whose files are put to an address one by one. They count there once the manifest names them.

    An object's name ends in its digest, so that what a killed process or a twin has left is never taken for something else; the manifest
    is replaced only where it still is as it was read.
    """

    def __init__(self, address: str, folder: Path, *, shared: bool = False) -> None:
        """The files at `address`, worked with in `folder`. If `shared`, several processes put files there, none the same: what others
        have put meanwhile stays. Else another process there is told of by `Busy`. Opens a connection."""
        self._place, self._shared, self.folder = place_at(address), shared, folder
        self._seen: bytes | None = None
        self._files: dict[str, _Entry] = {}
        self._look()

    def __str__(self) -> str:
        return str(self._place)

    @property
    def names(self) -> list[str]:
        """What is kept, by names within the folder."""
        return list(self._files)

    def _look(self) -> None:
        """See the manifest as it is now."""
        self._seen = self._place.read(MANIFEST) if self._place.size(MANIFEST) is not None else None
        if self._seen is None:
            self._files = {}
            return
        try:
            found = parse_json(self._seen)
            if found["schema"] != _SCHEMA:
                raise ValueError(f"schema {found['schema']}")
            self._files = {name: _Entry(**entry) for name, entry in found["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadFile(
                f"{self}/{MANIFEST} cannot be read ({error}). Begin at another address, or remove what is at this one."
            ) from error

    def fetch(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Have the files whose names are `wanted` in the folder as they are kept. Raises `BadFile` for one that is not what was put."""
        for name, entry in self._files.items():
            target = self.folder / name
            if not wanted(name) or (target.is_file() and target.stat().st_size == entry.bytes and sha256(target) == entry.sha256):
                continue
            if self._place.fetch(entry.object, target) != entry.sha256:
                target.unlink()
                raise BadFile(f"{self}/{entry.object} is damaged: its digest is not the one that was written with it.")

    def restore(self) -> None:
        """Have in the folder what is kept, and nothing else: of what was left there before it was kept nobody else knows."""
        for path in [path for path in self.folder.rglob("*") if path.is_file() and str(path.relative_to(self.folder)) not in self._files]:
            path.unlink()
        self.fetch()

    def put(self, names: Iterable[str], gone: Callable[[str], bool] = lambda _: False) -> None:
        """Keep files of the folder as they are now; of the others those that are `gone` no longer. Once this returns they are there."""
        fresh = {}
        for name in names:
            path = self.folder / name
            digest = sha256(path)
            fresh[name] = _Entry(f"{name}.{digest[:12]}", digest, path.stat().st_size)
            if self._files.get(name) != fresh[name]:
                self._place.write(fresh[name].object, list(_pieces(path)))
        for entry in self._swapped(fresh, gone):
            self._place.remove(entry.object)

    def _swapped(self, fresh: dict[str, _Entry], gone: Callable[[str], bool]) -> list[_Entry]:
        """Replace the manifest; what it no longer names."""
        for left in reversed(range(_TRIES if self._shared else 1)):
            before = self._files
            files = {name: entry for name, entry in before.items() if name in fresh or not gone(name)} | fresh
            content = json.dumps({"schema": _SCHEMA, "files": {name: asdict(entry) for name, entry in sorted(files.items())}}).encode()
            try:
                if content != self._seen:
                    self._place.replace(MANIFEST, self._seen, content)
            except Busy:
                if not left:
                    raise
                time.sleep(_WAIT_S * random.uniform(1, 3))  # noqa: S311 (no secret)
                self._look()
                continue
            self._files, self._seen = files, content
            used = {entry.object for entry in files.values()}
            return [entry for entry in before.values() if entry.object not in used]
        raise AssertionError

    def publish(self, name: str) -> None:
        """Put a finished file under its own name, too, where anybody finds it; `Busy` where something else is there."""
        self._place.write(name, list(_pieces(self.folder / name)))


def publish(path: Path, address: str) -> None:
    """Put the file at `path` into the folder at `address`; `Busy` where something else has its name there."""
    place_at(address).write(path.name, list(_pieces(path)))


def _pieces(path: Path) -> Iterator[memoryview]:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        yield from (whole[start : start + _PIECE] for start in range(0, len(whole), _PIECE))
