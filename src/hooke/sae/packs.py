"""Packs: installed distributions that carry SAEs and their atlas, found through the entry point group ``hooke.packs``.

A pack's entry point names a package; its folder holds ``*.safetensors`` (one SAE each) and ``atlas.sqlite``. The files are read as
data; the package's code is not imported.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooke.errors import unknown
from hooke.sae import Sae, SaeFacts

GROUP = "hooke.packs"


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
            facts, d_in, d_sae = Sae.read_facts(path)
            rows.append(InstalledSae(facts, path, d_in, d_sae))
    return sorted(rows, key=lambda row: (row.facts.model, row.facts.site, row.facts.name))


def find_sae(name: str) -> InstalledSae:
    """The installed SAE called `name`."""
    rows = {row.facts.name: row for row in installed_saes()}
    if name not in rows:
        raise unknown(
            "SAE", name, rows, "An SAE is a name from `hooke saes` or a .safetensors file. The default pack: pip install hooke-gemma-3-270m"
        )
    return rows[name]


def atlas_file(sae_name: str) -> Path | None:
    """The atlas of the pack that carries the SAE called `sae_name`, or None."""
    for row in installed_saes():
        if row.facts.name == sae_name:
            path = row.path.parent / "atlas.sqlite"
            return path if path.is_file() else None
    return None
