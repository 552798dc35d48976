"""`hooke atlas effects`: what every feature of an SAE does, measured and put into its atlas."""

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.named import model_for, named
from hooke.cli.options import Device, Dtype, Json, OneSae, OwnModel
from hooke.cli.output import Status, print_line, print_text
from hooke.cli.progress import ProgressBar
from hooke.cli.stopping import stoppable
from hooke.cli.values import count, share
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.atlas import Atlas


def effects(
    sae: OneSae = None,
    *,
    dose: Annotated[
        tuple[float, ...], share(-16, 16), Parameter(help="How much is added, in units of each feature's own maximum; may be repeated.")
    ] = (1.0, 0.5, 2.0),
    contexts: Annotated[int, count(4, 40), Parameter(help="Neutral contexts.")] = 32,
    controls: Annotated[int, count(19, 4096), Parameter(help="Random directions to compare with.")] = 64,
    frozen: Annotated[str | None, Parameter(help="Another SAE of the site, to compare with as well: one that never learnt, say.")] = None,
    atlas: Annotated[Path | None, Parameter(help="An atlas file, to be replaced; by default the one at hand that knows the SAE.")] = None,
    out: Annotated[Path | None, Parameter(help="Write the atlas here instead.")] = None,
    model: OwnModel = None,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    where: Engine = HERE,
    json: Json = False,
) -> None:
    """Measure what every feature of an SAE does to what a model expects, beside random steps as long. Stopped, the same command goes on."""
    from hooke.cli.atlases import find_sae, open_atlases, opened_by

    known, name = find_sae(sae, open_atlases(atlas))
    target = out or (known.path if atlas else _place(known, name))
    if target.is_dir():
        raise BadConfig(f"cannot write {target}: it is a folder. Give a file's name: --out {target / 'atlas.sqlite'}")
    began = time.perf_counter()
    with Status() as status:
        found = named([opened_by(name, [sae]), *([frozen] if frozen else [])], status)
        from hooke.features.effect_log import EffectLog
        from hooke.features.effects import EffectRun, EffectSettings
        from hooke.files import check_writable, data_dir

        home = where.home(device, dtype)
        settings = EffectSettings(tuple(dict.fromkeys(dose)), contexts, controls=controls)
        check_writable(target)
        own, *others = [one.open() for one in found]
        known.check(own)
        loaded = model_for([own], model, status, **home)
        run = EffectRun(loaded, own, known.table(name).max, settings, *others)
        folder = data_dir() / "effects" / str(run.about["sae"])[:16]
    with (
        where.joined(device) as cluster,
        EffectLog(folder, run.about) as log,
        ProgressBar() as bar,
        stoppable(lambda: bar.say("Stopping; the same command goes on.")) as stop,
    ):
        complete = run.run(log, progress=partial(bar.at, "Measuring", "steps"), stop=lambda: bool(stop), cluster=cluster)
        run.write(log, known.path, target)
    if atlas is None and out is None:
        _register(target)
    _show(target, name, time.perf_counter() - began, complete=complete, as_json=json)
    if not complete:
        raise SystemExit(stop.exit_code)


def _place(known: "Atlas", sae: str) -> Path:
    """Where the atlas goes: one made here is replaced, of a pack's a copy is made here."""
    from hooke.sae.packs import default_atlas, made_here

    own = default_atlas(sae)
    return known.path if known.path in made_here() else own.with_name(f"{own.stem}-effects.sqlite")


def _register(target: Path) -> None:
    from hooke.atlas import Atlas
    from hooke.sae.packs import register_atlas

    made = Atlas(target)
    register_atlas(target, {entry.name: entry.digest for entry in made.saes.values()})
    made.close()


def _show(path: Path, sae: str, seconds: float, *, complete: bool, as_json: bool) -> None:
    from hooke.atlas import Atlas

    made = Atlas(path)
    kinds = Counter(made.feature(f"{sae}/{index}").kind for index in made.effects(sae))
    features, measured = made.saes[sae].d_sae, kinds.total()
    made.close()
    if as_json:
        row = {"path": str(path), "sae": sae, "features": features, "measured": measured, "complete": complete}
        print_line(row | {"kinds": {str(kind): number for kind, number in sorted(kinds.items())}, "seconds": round(seconds, 1)})
        return
    told = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
    done = "" if complete else " The same command goes on."
    text = f"{path}: what {measured:,} of {features:,} features of {sae} do{f' ({told})' if told else ''}.{done}"
    print_text(text)
