"""Resolve: what is meant by what people write for an SAE: an installed one, a path, one of the catalogue, of the hub or of a bucket."""

from dataclasses import replace
from pathlib import Path

from hooke import stores
from hooke.errors import BadConfig, Missing, UnknownName, unknown
from hooke.names import meant_by
from hooke.sae import catalogue
from hooke.sae.fetch import PICKLES, WEIGHTS, Progress, Resolved, from_bucket, from_hub
from hooke.sae.hub import HubPath
from hooke.sae.packs import installed_saes

_WAYS = "An SAE is a name from `hooke saes`, a file or folder, or org/repo/path on a model hub."


def resolve(
    ref: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    member: str | None = None,
    refresh: bool = False,
    progress: Progress = lambda _: None,
) -> Resolved:
    """The files of the SAE that `ref` names, fetched where they are not on this machine; with `refresh`, the hub is asked for newer ones.

    `revision`, `subfolder` and `member` may be given here instead of within `ref`. Raises `UnknownName` or `Missing` with every place that
    was tried.
    """
    bare, _, behind = ref.strip().partition("#")
    if not bare:
        raise BadConfig("the name of an SAE is empty. `hooke saes` lists those at hand.")
    tail = f"/{subfolder.strip('/')}" if subfolder else ""
    found = _resolve(bare + tail, member or behind, revision, refresh, progress)
    return replace(found, member=member or behind or None)


def _resolve(ref: str, member: str, revision: str | None, refresh: bool, progress: Progress) -> Resolved:
    if stores.is_bucket(ref):
        _only_for_the_hub(ref, revision)
        return from_bucket(ref, refresh, progress)
    if "://" in ref:
        where = HubPath.parse(ref)
        if where is None:
            schemes = ", ".join(f"{scheme}://" for scheme in stores.DRIVERS)
            raise BadConfig(f"cannot read {ref!r}. Known are hf://org/repo/path, pages of the hub, and {schemes}.")
        return from_hub(_at(where, revision, member), None, refresh, progress)
    installed = {row.facts.name: row.path for row in installed_saes()}
    local = Path(ref).expanduser()
    if ref not in installed and local.exists():
        _only_for_the_hub(ref, revision)
        return Resolved(local, "file")
    if own := meant_by(ref, installed):
        _only_for_the_hub(ref, revision)
        if len(own) > 1:
            raise BadConfig(f"{ref!r} may be one of {', '.join(own)}. Give more of the name.")
        return Resolved(installed[own[0]], "pack")
    sae, _, index = ref.rpartition("/")
    if index.isdecimal() and meant_by(sae, installed):
        raise UnknownName(f"{ref!r} is one feature of an SAE. Give the SAE alone: {sae}")
    if ref.startswith((".", "/", "~")) or "\\" in ref:
        raise Missing(f"there is no file or folder {ref!r}.")
    if known := catalogue.find(ref):
        return from_hub(_at(HubPath(known.repo, known.path), revision, member), known, refresh, progress)
    return from_hub(_at(_hub_path(ref), revision, member), None, refresh, progress)


def _only_for_the_hub(ref: str, revision: str | None) -> None:
    if revision is not None:
        raise BadConfig(f"{ref!r} is not on the hub, so it has no revision {revision!r}.")


def _at(where: HubPath, revision: str | None, member: str) -> HubPath:
    return replace(where, revision=revision or where.revision, member=member)


def _hub_path(ref: str) -> HubPath:
    """The place on the hub that `ref` names; `UnknownName` where it is rather a mistyped name, so that no typo opens a connection."""
    head, _, rest = ref.partition("/")
    if (repo := catalogue.repository(head)) and head not in {release.name for release in catalogue.releases()}:
        return HubPath(repo, rest)
    where = HubPath.parse(ref)
    packs = [row.facts.name for row in installed_saes()]
    collections = {name.partition("/")[0] for name in packs} | {release.name for release in catalogue.releases()}
    if where is not None and head not in collections and not catalogue.is_address(ref) and Path(ref).suffix not in _lone(ref):
        return where
    tried = f"Tried: files, {len(packs)} installed SAEs, the catalogue."
    raise unknown("SAE", ref, [*packs, *catalogue.near(ref)], f"{tried} {_WAYS}")


def _lone(ref: str) -> set[str]:
    """What a file's name ends in, where `ref` has too few parts to be a file on the hub."""
    return WEIGHTS | PICKLES if ref.count("/") < 2 else set()


def size_in_words(count: int) -> str:
    """Bytes as people say them.

    >>> size_in_words(302_000_000)
    '302 MB'
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
