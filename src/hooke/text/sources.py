"""Sources: what a corpus reference stands for, a file, folder, glob, address or dataset, as data files in a fixed order."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hooke.errors import BadFile, Missing
from hooke.stores import open_store, tried
from hooke.text.datafiles import KINDS, DataFile, kind_of

HUB = "hf://"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DATASET = re.compile(r"[\w.-]+/[\w.-]+(@\S+)?")


def resolve(text: str) -> Path | str:
    """What `text` names: a path of this machine, or, as text, a glob, an address or ``hf://datasets/...``; nothing is fetched.

    ``org/name`` is a dataset on the hub where nothing here is called so. Raises `Missing` for a path or glob that nothing answers to.
    """
    if _ADDRESS.match(text):
        return text
    if text and os.path.exists(text):
        return Path(text)
    if glob.has_magic(text):
        if not glob.glob(text, recursive=True):
            raise Missing(f"no file here matches {text!r}; it is taken from {os.getcwd()!r}.")
        return text
    if _DATASET.fullmatch(text) and kind_of(text.partition("@")[0]) is None and not text.startswith("."):
        folder = text.partition("/")[0]
        if not os.path.isdir(folder):
            return f"{HUB}datasets/{text}"
        raise Missing(f"the folder {folder!r} has no {text!r}. If a dataset on the hub is meant, write {HUB}datasets/{text}.")
    raise Missing(
        f"there is no file or folder {text!r}; it is taken from {os.getcwd()!r}. A corpus is a file, a folder, a glob, an address such as"
        f" s3://bucket/news.jsonl.zst, or a dataset on the hub: org/name."
    )


def files_of(ref: Path | str) -> Iterator[DataFile]:
    """The files that `ref` stands for, as `resolve` gives it, sorted by name; each is opened, or fetched, when it is reached.

    Raises `Missing` where there is none, `BadFile` where a folder holds files of more than one kind.
    """
    if isinstance(ref, Path):
        yield from map(DataFile.at, _local(ref))
    elif ref.startswith(HUB):
        from hooke.text.datasets import dataset_files

        yield from dataset_files(ref)
    elif _ADDRESS.match(ref):
        yield from _remote(ref)
    else:
        yield from map(DataFile.at, sorted(path for path in map(Path, glob.glob(ref, recursive=True)) if path.is_file()))


def _local(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Missing(f"no corpus at {path}.")
    inside = {own.relative_to(path).as_posix(): own for own in path.rglob("*") if own.is_file()}
    return [inside[name] for name in of_one_kind(list(inside), str(path))]


def of_one_kind(names: Sequence[str], where: str) -> list[str]:
    """Those of a folder's `names` (relative, hidden ones left out) that are data files, sorted; all must be of one kind."""
    seen = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    kinds: dict[str, list[str]] = {}
    for name in sorted(seen):
        if kind := kind_of(name):
            kinds.setdefault(kind, []).append(name)
    if not kinds:
        found = f"only {', '.join(sorted(seen)[:3])}{' ...' if len(seen) > 3 else ''}" if seen else "nothing"
        raise Missing(f"no data files in {where!r}: there is {found}. Read are {', '.join(KINDS)}; all but Parquet also as .gz or .zst.")
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} ({len(own)}, such as {own[0]})" for kind, own in kinds.items())
        raise BadFile(f"{where!r} holds files of several kinds: {shown}. Name those that are meant, for example {where}/*.jsonl.")
    return next(iter(kinds.values()))


def _remote(address: str) -> Iterator[DataFile]:
    scheme = address.partition("://")[0]
    system, path = open_store(address)
    for own in tried(lambda: _listed(system, path, address), "read", address):
        yield DataFile(f"{scheme}://{own.removeprefix(scheme + '://')}", lambda own=own: system.open(own, "rb"))


def _listed(system: Any, path: str, address: str) -> list[str]:
    if glob.has_magic(path):
        found = sorted(own for own, about in system.glob(path, detail=True).items() if about["type"] == "file")
    elif (kind := _kind(system, path)) == "file":
        found = [path]
    elif kind is not None:
        inside = {own.removeprefix(path.rstrip("/")).lstrip("/"): own for own in system.find(path)}
        found = [inside[name] for name in of_one_kind(list(inside), address)]
    else:
        found = []
    if not found:
        raise Missing(f"there is nothing at {address!r}.")
    return found


def _kind(system: Any, path: str) -> str | None:
    """``file`` or ``directory``; None for what is not there. A store that refuses or fails is heard, which `isfile` would not do."""
    try:
        return system.info(path)["type"]
    except FileNotFoundError as error:
        if "bucket does not exist" in str(error):
            raise
        return None
