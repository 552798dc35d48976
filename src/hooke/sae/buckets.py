"""Buckets: SAEs and atlases in object stores, through fsspec. What is fetched is kept in the cache; an object is taken never to change."""

import hashlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hooke.errors import BadConfig, BadFile, Missing
from hooke.files import atomic_folder, cache_dir
from hooke.stores import open_store, tried


def kept(ref: str) -> Path | None:
    """The folder with what was fetched of `ref`; None where nothing was. Opens no connection."""
    outer, inner = _folders(ref)
    return outer / inner if outer.is_dir() else None


def fetch(ref: str, choose: Callable[[dict[str, int]], list[str]]) -> Path:
    """Fetch of the folder (or the one file) `ref` what `choose` takes from names and sizes; the folder it then lies in."""
    store, root = open_store(ref.rstrip("/"))
    sizes, start = tried(lambda: _listed(store, root), "fetch", ref)
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
            tried(partial(_copy, store, f"{start}/{name}", target), "fetch", ref)
    return outer / inner


def fetch_one(ref: str, ending: str) -> Path:
    """The file `ref`, whose name has to end in `ending`, or the only such file in the folder `ref`; fetched where it is not kept."""

    def the_one(sizes: dict[str, int]) -> list[str]:
        if len(found := [name for name in sizes if name.endswith(ending)]) == 1:
            return found
        there = ", ".join(sorted(found or sizes)[:8])
        raise BadConfig(f"{ref} holds {len(found) or 'no'} files {ending}; there is {there}. Name one: {ref.rstrip('/')}/NAME{ending}")

    folder = kept(ref) or fetch(ref, the_one)
    return next(path for path in folder.rglob(f"*{ending}"))


def _listed(store: Any, root: str) -> tuple[dict[str, int], str]:
    """Names and sizes of what is at `root`, and the folder that it is in."""
    found = store.find(root, detail=True)
    if root in found:
        return {root.rpartition("/")[2]: int(store.size(root))}, root.rpartition("/")[0]
    return {name.removeprefix(root).strip("/"): int(entry["size"]) for name, entry in found.items()}, root


def _copy(store: Any, name: str, target: Path) -> None:
    with store.open(name, "rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _folders(ref: str) -> tuple[Path, Path]:
    """A folder of the cache for `ref` alone, and the path in it that says to readers what the path in the store says."""
    scheme, _, rest = ref.rstrip("/").partition("://")
    parts = rest.split("/")
    if not all(parts) or any(part in (".", "..") or "\\" in part or "::" in part for part in parts):
        raise BadConfig(f"cannot read {ref!r} as a place in an object store. It is written {scheme}://bucket/folder.")
    return cache_dir() / "buckets" / hashlib.sha256(ref.rstrip("/").encode()).hexdigest()[:16], Path(*parts)
