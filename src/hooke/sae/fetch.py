"""Fetch: an SAE's files from the hub or a bucket into the cache, or out of it; of a folder only those that make up the SAE meant."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig, BadFile, HookeError, Missing, UnknownName, unknown
from hooke.files import atomic_write, cache_dir, parse_json
from hooke.names import SaeName, Site
from hooke.sae import buckets, catalogue, hub
from hooke.sae.catalogue import KnownSae
from hooke.sae.hub import HubPath

if TYPE_CHECKING:
    from hooke.sae import Sae
    from hooke.sae.inspection import Inspection

WEIGHTS = {".safetensors", ".npz"}
PICKLES = {".pt", ".pth", ".bin", ".pkl", ".ckpt"}
_CONFIGS = {"cfg.json", "config.json", "hyperparams.json", "config.yaml", "conf.yaml"}
# Beside the weights of Gemma Scope 2 lie examples larger than they are; SAELens writes firing frequencies that no reader needs.
_NOT_WEIGHTS = {"examples.safetensors", "sparsity.safetensors"}
_OF_MODELS = {"model.safetensors", "model.safetensors.index.json", "tokenizer.json", "adapter_model.safetensors"}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Resolved:
    """Where an SAE lies on this machine."""

    path: Path
    """The file or folder to open."""
    source: str
    """``pack``, ``file``, ``hub`` or ``bucket``."""
    files: tuple[Path, ...] = ()
    """Its files, where they were fetched."""
    known: KnownSae | None = None
    """What the catalogue says of it."""
    member: str | None = None
    """Which of several SAEs in `path`, written ``#member`` behind the reference."""

    @property
    def bytes(self) -> int:
        """Size of what is on disk."""
        whole = self.files or ((self.path,) if self.path.is_file() else tuple(p for p in self.path.rglob("*") if p.is_file()))
        return sum(file.stat().st_size for file in whole)

    def _options(self, said: dict[str, str | None]) -> dict[str, Any]:
        """What readers are told that the files do not say; what the caller has `said` comes first."""
        if self.known is None:
            return {"member": self.member, **said}
        among = self.known.name.partition("/")[2] if not self.known.path and self.path.is_dir() else None  # one of several in one folder
        own = {"member": self.member or among, "site": self.known.site, "model": self.known.model}
        return own | {key: value for key, value in said.items() if value is not None}

    def inspect(self, *, site: str | None = None, model: str | None = None) -> "Inspection":
        """What it is, told without reading its weights; `site` and `model` as in `hooke.sae.formats.inspect`."""
        seen = self._inspect(**self._options({"site": site, "model": model}))
        return seen if self.known is None or not seen.name else replace(seen, name=self._address(Site.parse(seen.reads[0])))

    def _inspect(self, *, member: str | None, **said: str | None) -> "Inspection":
        from hooke.sae.inspection import inspect_own, is_own

        if member is None and is_own(self.path):
            return inspect_own(self.path, **said)
        from hooke.sae.formats import inspect  # other formats are read with torch, even without their weights

        return inspect(self.path, member=member, **said)

    def open(self, *, site: str | None = None, model: str | None = None) -> "Sae":
        """The SAE, with what only its place says (name, model, L0) among its facts; arguments as in `hooke.sae.formats.open_sae`."""
        from hooke.sae.formats import open_sae

        sae, known = open_sae(self.path, **self._options({"site": site, "model": model})), self.known
        if known is None:
            return sae
        whole = {} if known.l0 is None or self._share else {"l0": known.l0}
        facts = {"name": self._address(sae.site), "model": model or known.model, "metrics": whole | sae.facts.metrics}
        return replace(sae, facts=replace(sae.facts, **facts))

    @property
    def _share(self) -> bool:
        """Whether it is one layer's part of an SAE of many layers."""
        return self.known is not None and len(self.known.reads) > 1 and self.member is not None

    def _address(self, site: Site) -> str:
        """Its own name; a part of an SAE of many layers is called after the layer it reads."""
        assert self.known is not None
        named = SaeName.parse(self.known.address)
        return str(SaeName(named.collection, site, f"{named.variant}.{self.member}") if self._share else named)


def from_bucket(ref: str, refresh: bool, progress: Progress) -> Resolved:
    folder = None if refresh else buckets.kept(ref)
    if folder is None:
        progress(f"Fetching {ref}")
        folder = buckets.fetch(ref, lambda sizes: choose(sizes, ref))
    files = tuple(path for path in sorted(folder.rglob("*")) if path.is_file())
    return Resolved(_entry(folder, [str(file.relative_to(folder)) for file in files]), "bucket", files)


def from_hub(where: HubPath, known: KnownSae | None, refresh: bool, progress: Progress) -> Resolved:
    if (known := known or catalogue.find_path(where.repo, where.path)) is not None:
        known = replace(known, files=tuple(own_files(known.files, where.member)))
    if known is not None and (pickles := [file for file in known.files if Path(file).suffix in PICKLES]):
        file = "/".join(filter(None, [known.repo, known.path, *pickles]))
        raise BadConfig(
            f"{known.name} is published as a pickle only, which could run code. To fetch it all the same, name its file: {file}"
        )
    if not refresh and (here := _cached(where, known)) is not None:
        return here
    try:
        files = _wanted(where, known, progress)
        paths = {file: _fetch(where, file, progress) for file in files}
    except (Missing, UnknownName) as error:
        raise type(error)(f"{error} {_elsewhere(where, known)}") from error
    present = [file for file, path in paths.items() if path is not None]
    _remember(where, present)
    found = _cached_files(where, present, known)
    assert found is not None
    return found


def _wanted(where: HubPath, known: KnownSae | None, progress: Progress) -> list[str]:
    """The files to fetch, from the repository's root."""
    if known is not None:
        return [str(PurePosixPath(where.path, file)) for file in known.files]
    if hub.offline():
        raise Missing(f"the hub is switched off (HF_HUB_OFFLINE), and {where} is not in {hub.cache_folder()}.")
    progress(f"Looking at {where}")
    if Path(where.path).suffix in WEIGHTS | PICKLES:
        beside = hub.listing(replace(where, path=str(PurePosixPath(where.path).parent).strip(".")))
        if where.path not in beside:
            raise unknown(
                "file", where.path, (file for file in beside if Path(file).suffix in WEIGHTS | PICKLES), f"Asked of {where.repo}."
            )
        parent = PurePosixPath(where.path).parent
        return [*(file for file in beside if PurePosixPath(file).parent == parent and PurePosixPath(file).name in _CONFIGS), where.path]
    return own_files(choose(hub.listing(where), str(where), root=where.path), where.member)


def own_files(files: Sequence[str], member: str) -> list[str]:
    """Those of `files` that the share `member` of a set is read from, with the configurations; all, where none is called so.

    >>> own_files(["config.json", "params_layer_0.safetensors", "params_layer_1.safetensors"], "params_layer_1")
    ['config.json', 'params_layer_1.safetensors']
    """
    stems = {member, member.replace("W_enc_", "W_dec_", 1)}  # a layer of circuit-tracer's is two files
    weights = [file for file in files if Path(file).suffix in WEIGHTS]
    others = {file for file in weights if Path(file).stem not in stems}
    return [file for file in files if file not in others or len(others) == len(weights)]


def _fetch(where: HubPath, file: str, progress: Progress) -> Path | None:
    """The file's copy in the cache; None for a configuration that is not there, which readers can do without."""
    optional = PurePosixPath(file).name in _CONFIGS
    try:
        if not hub.offline():
            progress(f"Fetching {file} from {where.repo}")
        return hub.fetch(where, file)
    except UnknownName:
        if optional and hub.known_absent(where, file):
            return None
        raise


def choose(sizes: Mapping[str, int], where: str, root: str = "") -> list[str]:
    """The files of one SAE among those of a folder, smallest first: its weights and configuration, never a pickle.

    `sizes` gives bytes by name, names beginning with `root`; `where` is what messages call the folder.
    """
    inside = {name: PurePosixPath(name).relative_to(root) if root else PurePosixPath(name) for name in sizes}
    own = {name: path for name, path in inside.items() if len(path.parts) == 1 or path.parts[:-1] == ("checkpoints",)}
    if models := sorted(name for name, path in own.items() if path.name in _OF_MODELS and len(path.parts) == 1):
        raise BadConfig(f"{where} holds a language model ({', '.join(models)}), not an SAE. `hooke analyze --model` takes models.")
    weights = [name for name, path in own.items() if path.suffix in WEIGHTS and path.name not in _NOT_WEIGHTS]
    if weights:
        configs = [name for name, path in own.items() if path.name in _CONFIGS and sizes[name] <= 1 << 20]
        return sorted([*configs, *weights], key=lambda name: (sizes[name], name))
    if pickles := sorted(name for name, path in own.items() if path.suffix in PICKLES):
        raise BadConfig(
            f"{where} holds its weights as pickles only ({', '.join(pickles[:5])}), which could run code. To fetch one all the same, "
            "name the file itself."
        )
    members = sorted({str(path.parent) for path in inside.values() if path.suffix in WEIGHTS | PICKLES and path.name not in _NOT_WEIGHTS})
    if members:
        shown = ", ".join(members[:12]) + (f" and {len(members) - 12} more" if len(members) > 12 else "")
        raise BadConfig(f"{where} holds {len(members)} SAEs; name one of them: {shown}.")
    raise BadFile(f"{where} holds no SAE: none of its {len(sizes)} files ends in {', '.join(sorted(WEIGHTS))}.")


def _cached(where: HubPath, known: KnownSae | None) -> Resolved | None:
    """The SAE as it lies in the hub's cache, if all of it does. Opens no connection."""
    root = hub.snapshot(where)
    if root is None:
        return None
    if known is not None:
        names = [str(PurePosixPath(where.path, file)) for file in known.files]
        return _cached_files(where, [name for name in names if not hub.known_absent(where, name)], known)
    if (record := _record(where)) and record.is_file():
        return _cached_files(where, parse_json(record.read_text()), None)
    if Path(where.path).suffix in WEIGHTS | PICKLES:
        beside = [str((root / where.path).parent.relative_to(root) / name) for name in sorted(_CONFIGS)]
        return _cached_files(where, [*(name for name in beside if hub.cached(where, name)), where.path], None)
    if hub.offline() and (root / where.path).is_dir():  # what another program fetched; whether it is all, nobody can say
        sizes = {path.relative_to(root).as_posix(): path.stat().st_size for path in (root / where.path).rglob("*") if path.is_file()}
        return _cached_files(where, own_files(choose(sizes, str(where), root=where.path), where.member), None)
    return None


def _cached_files(where: HubPath, names: list[str], known: KnownSae | None) -> Resolved | None:
    paths = [hub.cached(where, name) for name in names]
    root = hub.snapshot(where)
    if root is None or not names or None in paths:
        return None
    folder = root / where.path
    entry = folder if folder.is_file() or where.member else _entry(folder, [name.removeprefix(where.path).strip("/") for name in names])
    return Resolved(entry, "hub", tuple(path for path in paths if path is not None), known or catalogue.find_path(where.repo, where.path))


def _entry(folder: Path, names: list[str]) -> Path:
    """What to open: the folder, which tells readers more than a file does, unless others' files may lie beside the one that is meant."""
    weights = [name for name in names if Path(name).suffix in WEIGHTS | PICKLES]
    return folder / weights[0] if len(weights) == 1 and len(names) == 1 else folder


def _record(where: HubPath) -> Path | None:
    """The note that says which files make up the SAE at `where`, written once they are all here; None before anything was fetched."""
    root = hub.snapshot(where)
    if root is None:
        return None
    key = hashlib.sha256(f"{where.repo}\n{root.name}\n{where.path}\n{where.member}".encode()).hexdigest()
    return cache_dir() / "hub" / f"{key[:32]}.json"


def _remember(where: HubPath, files: list[str]) -> None:
    record = _record(where)
    if record is not None:
        with atomic_write(record) as file:
            file.write(json.dumps(files).encode())


def _elsewhere(where: HubPath, known: KnownSae | None) -> str:
    """What stands near in the places that were tried, and what to do."""
    near = []
    try:
        parent = str(PurePosixPath(where.path).parent)
        if not hub.offline() and known is not None and parent != ".":
            inside = hub.listing(replace(where, path=parent))
            near = sorted({PurePosixPath(file).parent.name for file in inside if Path(file).suffix in WEIGHTS})
    except HookeError:  # the error at hand says more
        near = []
    said = [f"Beside it on the hub: {', '.join(near[:20])}." if near else ""]
    if (root := hub.snapshot(where)) is not None:
        here = sorted({p.parent.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix in WEIGHTS})
        said.append(f"Fetched of {where.repo}: {', '.join(here[:20]) or 'nothing'}.")
    said.append("Tried: installed packs, files here, the hub's cache" + (", the hub." if not hub.offline() else "."))
    if hub.offline():
        said.append(f"Where there is a network: HF_HUB_OFFLINE=0 hooke pull {known.name if known else where}")
    return " ".join(filter(None, said))
