"""`hooke steer`: what a model writes with features turned up or down, beside what it writes by itself."""

import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.named import model_for
from hooke.cli.options import AtlasFile, Html, Json, OwnModel, Seed
from hooke.cli.output import Status, check_places, console_for, print_line, write_text
from hooke.cli.values import TEXT, count, share
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.steer import Steering

_SCHEMA = 1
# As `hooke.steer` has them, which takes long to import.
_MOST_DOSE, _MOST_DOSES = 16, 21


def steer(
    *features: Annotated[str, Parameter(help="Features to turn, such as 12/6213; several are turned together.")],
    prompt: Annotated[str | None, TEXT, Parameter(help="The text to go on from.")] = None,
    wanted: Annotated[
        str | None, Parameter(name="--for", help='Words to be written about, as "goal, match": propose features by what each does to them.')
    ] = None,
    sae: Annotated[str | None, Parameter(help="With --for, whose features: a name, or a layer such as 12.")] = None,
    dose: Annotated[
        tuple[float, ...],
        share(-_MOST_DOSE, _MOST_DOSE),
        Parameter(help="How far, in units of each feature's own maximum; may be repeated. By default 1, or less where that is too much."),
    ] = (),
    doses: Annotated[
        str | None, Parameter(help="Doses from one to another, doubling: 0.25..8; or so many at equal ratios: 0.25..8:21.")
    ] = None,
    kl: Annotated[
        float | None, share(0, 100), Parameter(help="Instead of a dose: the least that moves the model's expectations by so many nats.")
    ] = None,
    tokens: Annotated[int, count(1, 512), Parameter(help="Tokens to write.")] = 64,
    temperature: Annotated[float, share(0, 100), Parameter(help="0 takes the likeliest token each time.")] = 1.0,
    seed: Annotated[Seed, Parameter(help="Decides what is drawn; the same for every arm.")] = 0,
    model: OwnModel = None,
    atlas: AtlasFile = None,
    json: Json = False,
    html: Html = None,
) -> None:
    """Write text with features turned up or down, beside the model's own and random controls; or propose features to turn."""
    from hooke.cli.atlases import find_feature, find_sae, open_atlases, opened_saes
    from hooke.cli.steer_for import proposed

    check_places(html)
    _check_asked(features, prompt, wanted)
    levels = _strength(dose, doses, kl)
    opened = open_atlases(atlas)
    if wanted is not None:
        features = proposed(*find_sae(sae, opened), wanted, model, show=prompt is None, as_json=json)
    if prompt is None:
        return
    homes = [find_feature(name, opened) for name in features]
    known = [one.feature(name) for one, name in homes]
    with Status() as status:
        from hooke.steer import Dial, Drawing, capped_dose, dose_of_kl
        from hooke.steer import steer as run

        saes = opened_saes(homes, [sae, *(name.rpartition("/")[0] for name in features)])
        loaded = model_for([*saes.values()], model, status)
        of = [name.rpartition("/")[0] for _, name in homes]
        dials = [Dial.of(loaded, saes[o], known[i], homes[i][0].table(o).density) for i, o in enumerate(of)]
        if kl is not None or not levels:
            status("Looking for the dose")
            drawing = Drawing(tokens, temperature, seed)
            levels = (capped_dose(loaded, dials, prompt, drawing) if kl is None else dose_of_kl(loaded, dials, prompt, kl, drawing),)
        asked = " and ".join(feature.title for feature in known if feature.title) or None
        told = lambda done: status.count(f"Writing: token {done} of {tokens}")  # noqa: E731
        result = run(loaded, dials, prompt, levels, tokens=tokens, temperature=temperature, seed=seed, asked=asked, progress=told)
    titles = {feature.name: feature.title for feature in known}
    titles |= {name: one.feature(name).title for (one, _), name in zip(homes, result.controls, strict=True)}
    _show(result, titles, as_json=json, html=html)


def _check_asked(features: tuple[str, ...], prompt: str | None, wanted: str | None) -> None:
    if not features and wanted is None:
        raise BadConfig("no feature to turn. Give one, for example 12/54; `hooke steer --for WORDS` proposes some by what they do.")
    if features and wanted is not None:
        raise BadConfig("features are given and --for would propose others; give one of the two.")
    if not (prompt or "").strip() and (features or prompt is not None):
        raise BadConfig('no text to go on from: give one with --prompt "Yesterday in the city".')


def _strength(dose: tuple[float, ...], doses: str | None, kl: float | None) -> tuple[float, ...]:
    """The doses asked for; none where one is to be looked for."""
    given = [name for name, own in (("--dose", dose), ("--doses", doses), ("--kl", kl)) if own not in ((), None)]
    if len(given) > 1:
        raise BadConfig(f"{' and '.join(given)} each say how far to turn; give one of them.")
    if kl == 0:
        raise BadConfig("--kl 0 would change nothing; 0.5 is a clear change that leaves text readable.")
    return _levels(doses) if doses is not None else dose


def _levels(text: str) -> tuple[float, ...]:
    """``0.25..8`` as doses from the first to the last, each twice the one before; ``0.25..8:21`` as 21 doses, each as many times."""
    number = r"(\d{1,4}(?:\.\d{1,6})?)"
    ends = re.fullmatch(rf"{number}\.\.{number}(?::(\d{{1,2}}))?", text.strip())
    if ends is None or not 0 < float(ends[1]) <= float(ends[2]) or ends[3] in ("0", "1"):
        raise BadConfig(
            f"cannot read {text!r} as doses. Write the first and the last, such as 0.25..8 (each twice the one before), or 0.25..8:21 for"
            " 21 of them."
        )
    first, last = float(ends[1]), float(ends[2])
    if last > _MOST_DOSE or int(ends[3] or 1) > _MOST_DOSES:
        raise BadConfig(f"--doses {text} goes too far: at most {_MOST_DOSES} doses up to {_MOST_DOSE} times a feature's own maximum.")
    if ends[3]:
        return tuple(float(f"{first * (last / first) ** (i / (int(ends[3]) - 1)):.4g}") for i in range(int(ends[3])))
    return tuple(first * 2**i for i in range(int(math.log2(last / first) + 1e-9) + 1))


def _show(result: "Steering", titles: "dict[str, str | None]", *, as_json: bool, html: Path | None) -> None:
    from hooke.report.steering import page, print_steering

    write_text(html, page, result, titles)
    if as_json:
        print_line({"schema_version": _SCHEMA, **asdict(result), "turns": result.turns, "note": result.note})
    else:
        print_steering(result, titles, console_for())
