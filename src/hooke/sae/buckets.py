"""Buckets: SAEs in object stores, through fsspec. What is fetched is kept in the cache; an object is taken never to change."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hooke.errors import BadConfig, BadFile, HookeError, Missing
from hooke.files import atomic_folder, cache_dir

DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Schemes that are read, and the package that brings each."""


def is_bucket(ref: str) -> bool:
    """Whether `ref` names an object in a store."""
    return ref.partition("://")[0] in DRIVERS and "://" in ref


def kept(ref: str) -> Path | None:
    """The folder with what was fetched of `ref`; None where nothing was. Opens no connection."""
    outer, inner = _folders(ref)
    return outer / inner if outer.is_dir() else None


def fetch(ref: str, choose: Callable[[dict[str, int]], list[str]]) -> Path:
    """Fetch of the folder (or the one file) `ref` what `choose` takes from names and sizes; the folder it then lies in."""
    with _translated(ref):
        store, root = _open(ref)
        if store.isfile(root):
            sizes, start = {root.rpartition("/")[2]: int(store.size(root))}, root.rpartition("/")[0]
        else:
            found = store.find(root, detail=True)
            sizes, start = {name.removeprefix(root).strip("/"): int(entry["size"]) for name, entry in found.items()}, root
        if not sizes:
            raise Missing(f"there is nothing at {ref}.")
        wanted = choose(sizes)
        outer, inner = _folders(ref)
        with atomic_folder(outer) as building:
            for name in wanted:
                target = building / inner / name
                if ".." in target.parts:
                    raise BadFile(f"{ref} holds an object with the name {name!r}, which leads elsewhere.")
                target.parent.mkdir(parents=True, exist_ok=True)
                with store.open(f"{start}/{name}", "rb") as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
    return outer / inner


def _folders(ref: str) -> tuple[Path, Path]:
    """A folder of the cache for `ref` alone, and the path in it that says to readers what the path in the store says."""
    scheme, _, rest = ref.rstrip("/").partition("://")
    parts = rest.split("/")
    if not all(parts) or any(part in (".", "..") or "\\" in part or "::" in part for part in parts):
        raise BadConfig(f"cannot read {ref!r} as a place in an object store. It is written {scheme}://bucket/folder.")
    return cache_dir() / "buckets" / hashlib.sha256(ref.rstrip("/").encode()).hexdigest()[:16], Path(*parts)


def _open(ref: str) -> tuple[Any, str]:
    import fsspec

    scheme = ref.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(ref.rstrip("/"))
    except ImportError as error:
        raise Missing(f"{scheme}:// needs the package {DRIVERS[scheme]}. pip install {DRIVERS[scheme]}") from error


@contextmanager
def _translated(ref: str) -> Iterator[None]:
    try:
        yield
    except HookeError:
        raise
    except Exception as error:  # each driver raises errors of its own
        said = (str(error).splitlines() or [""])[0]
        raise Missing(f"cannot fetch {ref}: {type(error).__name__}: {said}") from error
