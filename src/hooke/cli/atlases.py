"""Which atlas a command means: a file that was given, or those of the installed packs."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hooke.errors import BadConfig, Missing, unknown

if TYPE_CHECKING:
    from hooke.atlas import Atlas
    from hooke.sae import Sae

_NONE = "no atlas is installed. The default pack brings one: pip install hooke-gemma-3-270m; or give a file: --atlas FILE."


def atlas_files(given: Path | None) -> list[Path]:
    """The file `given`, else those made here and those of installed packs; `Missing` where there is none."""
    if given is not None:
        return [given / "atlas.sqlite" if given.is_dir() else given]
    from hooke.sae import packs

    if not (found := packs.atlas_files()):
        raise Missing(_NONE)
    return found


def open_atlases(given: Path | None) -> list["Atlas"]:
    """The atlases, with the notes of whoever runs the command."""
    from hooke.atlas import Atlas
    from hooke.atlas.notes import Notes

    notes = Notes()
    return [Atlas(path, notes) for path in atlas_files(given)]


def of_packs(atlases: list["Atlas"]) -> list["Atlas"]:
    """Those of packs, which short names mean first; all where there is none: what is made here changes no name that held before."""
    from hooke.sae import packs

    own = packs.made_here()
    return [atlas for atlas in atlases if atlas.path not in own] or atlases


def knowing(names: Iterable[str], atlases: list["Atlas"]) -> list["Atlas"]:
    """The first of `atlases` that knows each of the SAEs called `names`, each once."""
    return list(dict.fromkeys(next(atlas for atlas in atlases if name in atlas.saes) for name in names))


def find_feature(name: str, atlases: list["Atlas"]) -> tuple["Atlas", str]:
    """The atlas that knows the feature and its whole name; ``12/54`` is feature 54 of the only SAE at layer 12, ``12/8k/54`` of its 8k.

    A short name means an SAE of a pack wherever one fits; an SAE's file, the SAE in it.
    """
    from hooke.names import FeatureName, meant_by

    known = list(dict.fromkeys(sae for atlas in atlases for sae in atlas.saes))
    head, _, index = name.rpartition("/")
    shipped = list(dict.fromkeys(sae for atlas in of_packs(atlases) for sae in atlas.saes))
    if len(own := meant_by(head, shipped) or meant_by(head, known)) > 1:
        raise BadConfig(f"{head!r} may be one of {', '.join(own)}. Give more of the name, for example {own[0]}/{index}.")
    if not own and Path(head).is_file():
        if (called := _name_in(head)) not in known:
            made = f"hooke atlas build {head} --corpus FILE makes one; one that is elsewhere is given with --atlas FILE."
            raise Missing(f"no atlas knows {called}, the SAE in {head}: {made}")
        return knowing([called], atlases)[0], f"{called}/{index}"
    if not own and head.count("/") < 2:
        how = "A feature is written sae/index, the SAE by its name, a site such as resid_post.12, or a layer such as 12."
        raise unknown("SAE", head or name, known, how)
    name = f"{own[0]}/{index}" if own else name
    sae = str(FeatureName.parse(name).sae)
    if sae not in known:
        raise unknown("SAE", sae, known, "An atlas elsewhere is given with --atlas FILE.")
    return knowing([sae], atlases)[0], name


def find_sae(ref: str | None, atlases: list["Atlas"]) -> tuple["Atlas", str]:
    """The atlas that knows the SAE and its whole name, by default of the one that `hooke analyze` reads with."""
    from hooke.sae.packs import default_sae

    home, name = find_feature(f"{ref or default_sae()}/0", atlases)
    return home, name.rpartition("/")[0]


def opened_by(sae: str, asked: Iterable[str | None]) -> str:
    """What the weights of `sae` are opened by: the file among `asked` that holds it, else its name."""
    return next((ref for ref in asked if ref and Path(ref).is_file() and _name_in(ref) == sae), sae)


def opened_saes(features: Iterable[tuple["Atlas", str]], asked: Iterable[str | None]) -> dict[str, "Sae"]:
    """The SAEs of `features`, as `find_feature` gives these, by name and each as its atlas knows it; `asked` as in `opened_by`."""
    from hooke.sae import Sae

    saes, asked = dict[str, Sae](), list(asked)
    for atlas, feature in features:
        name = feature.rpartition("/")[0]
        if name not in saes:
            saes[name] = Sae.from_pretrained(opened_by(name, asked))
        atlas.check(saes[name])
    return saes


def _name_in(file: str) -> str:
    from hooke.sae.facts import read_facts

    return read_facts(Path(file))[0].name
