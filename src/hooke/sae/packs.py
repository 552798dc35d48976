"""Packs: installed distributions that carry SAEs and their atlas, found through the entry point group ``hooke.packs``; atlases made here.

A pack's entry point names a package; its folder holds ``*.safetensors`` (one SAE each) and ``atlas.sqlite``, or that compressed as
``atlas.sqlite.zst``, which is unpacked into the cache when it is first wanted. The files are read as data; the package's code is not
imported.
"""

import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooke.errors import BadFile, unknown
from hooke.files import atomic_write, cache_dir, data_dir, parse_json, sha256, sole_writer, unharmed
from hooke.names import SaeName, model_name
from hooke.sae.facts import SaeFacts, read_facts

if TYPE_CHECKING:
    from hooke.sae import Sae

GROUP = "hooke.packs"
_DEFAULT_SITE = "resid_post.12"
_INDEX = "index.json"
_ATLAS = "atlas.sqlite"
_DIGEST = ".sha256"
# Bytes that a pack's atlas may unpack to, and that its compression may look back.
_MOST_ATLAS, _MOST_WINDOW = 256 << 20, 128 << 20


@dataclass(frozen=True)
class InstalledSae:
    """An SAE at hand."""

    facts: SaeFacts
    """What it is."""
    path: Path
    """Its file."""
    d_in: int
    """Width of the activations it reads."""
    d_sae: int
    """Number of features."""

    def to_json(self) -> dict[str, Any]:
        """The row of ``hooke saes --json``."""
        return {
            "name": self.facts.name,
            "model": self.facts.model,
            "site": str(self.facts.site),
            "d_in": self.d_in,
            "d_sae": self.d_sae,
            "groups": self.facts.groups,
            "l0": self.facts.metrics.get("l0"),
            "installed": True,
        }


def pack_folders() -> dict[str, Path]:
    """Name and folder of every installed pack."""
    found = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        # Only a package at the top can be found without running the one above it.
        spec = None if "." in point.value else importlib.util.find_spec(point.value)
        if spec is not None and spec.submodule_search_locations:
            found[point.name] = Path(spec.submodule_search_locations[0])
    return dict(sorted(found.items()))


def installed_saes() -> list[InstalledSae]:
    """Every SAE of every installed pack, in order of model and site."""
    rows = []
    for folder in pack_folders().values():
        for path in folder.glob("*.safetensors"):
            facts, d_in, d_sae = read_facts(path)
            rows.append(InstalledSae(facts, path, d_in, d_sae))
    return sorted(rows, key=lambda row: (row.facts.model, row.facts.site, row.facts.name))


def default_sae(model: str = "gemma-3-270m") -> str:
    """Name of the installed SAE that is meant for `model` where none is named."""
    rows = [row for row in installed_saes() if row.facts.model == model_name(model)]
    if not rows:
        raise unknown("SAE for the model", model, {row.facts.model for row in installed_saes()}, "Name one with --sae, or install a pack.")
    preferred = [row for row in rows if str(row.facts.site) == _DEFAULT_SITE]
    return (preferred or rows)[0].facts.name


def atlas_file(sae: "str | Sae") -> Path | None:
    """The atlas to use for an SAE, given by name or itself: the one made here, else the one of the pack that carries it, or None.

    Of an SAE given itself, an atlas made here of other weights under the same name is passed over.
    """
    name = sae if isinstance(sae, str) else sae.name
    path, made_of = _own_atlases().get(name, (None, ""))
    if path is not None and path.is_file() and (isinstance(sae, str) or made_of == _digest(sae)):
        return path
    for row in installed_saes():
        if row.facts.name == name:
            return _carried_atlas(row.path.parent)
    return None


def _digest(sae: "Sae") -> str:
    from hooke.sae import digest  # which loads torch

    return digest(sae)


def atlas_files() -> list[Path]:
    """Every atlas at hand: those made here, then those of installed packs."""
    found = [*made_here(), *map(_carried_atlas, pack_folders().values())]
    return [path for path in found if path is not None and path.is_file()]


def made_here() -> list[Path]:
    """The atlases made here, as they were registered."""
    return list(dict.fromkeys(path for path, _ in _own_atlases().values()))


def _carried_atlas(folder: Path) -> Path | None:
    """The atlas in a pack's folder, ready to be opened; None where it has none."""
    plain, packed = folder / _ATLAS, folder / f"{_ATLAS}.zst"
    if plain.is_file() or not packed.is_file():
        return plain if plain.is_file() else None
    path = cache_dir() / "atlases" / f"{folder.name}-{sha256(packed)[:16]}.sqlite"
    if not _unharmed(path):
        import zstandard

        with packed.open("rb") as source, atomic_write(path) as out:
            try:
                reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(source)
                left = _MOST_ATLAS
                while part := reader.read(min(left, 1 << 20)):
                    out.write(part)
                    left -= len(part)
                whole = left > 0
            except zstandard.ZstdError as error:
                raise BadFile(f"{packed} is damaged ({error}). Install the pack again.") from error
            if not whole:
                raise BadFile(f"{packed} unpacks to more than {_MOST_ATLAS:,} bytes; it is not read.")
        with atomic_write(path.with_suffix(_DIGEST)) as file:
            file.write(sha256(path).encode())
    return path


def _unharmed(path: Path) -> bool:
    """Whether the unpacked atlas at `path` has the digest that was kept beside it; one that was cut or changed is made again."""
    kept = path.with_suffix(_DIGEST)
    return kept.is_file() and unharmed({path: kept.read_text("ascii", "replace")}, path.stem)


def register_atlas(path: Path, digests: Mapping[str, str]) -> None:
    """Remember that the atlas at `path` was made here of these SAEs: digest of the weights by name."""
    folder = _own_folder()
    with sole_writer(folder):
        known = {name: [str(file), made_of] for name, (file, made_of) in _own_atlases().items() if file != path.absolute()}
        known |= {name: [str(path.absolute()), made_of] for name, made_of in digests.items()}
        with atomic_write(folder / _INDEX) as file:
            file.write(json.dumps(known, indent=1, sort_keys=True).encode())


def default_atlas(sae_name: str) -> Path:
    """Where an atlas of this SAE goes unless another place is given: in Hooke's own folder, by the name of its collection."""
    return _own_folder() / f"{SaeName.parse(sae_name).collection}.sqlite"


def _own_folder() -> Path:
    return data_dir() / "atlases"


def _own_atlases() -> dict[str, tuple[Path, str]]:
    """By SAE, the atlas made here and the digest of the weights it was made of."""
    index = _own_folder() / _INDEX
    if not index.is_file():
        return {}
    try:
        found = parse_json(index.read_text("utf-8"))
        return {str(name): (Path(file), str(made_of)) for name, (file, made_of) in found.items()}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise BadFile(
            f"{index}, the list of atlases made here, cannot be read ({error}). Delete it; the atlases themselves stay."
        ) from error
