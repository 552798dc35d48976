"""`hooke saes`: the SAEs at hand, and the published ones that can be fetched."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.options import Json
from hooke.cli.output import console_for, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from hooke.sae.catalogue import KnownSae

_SHOWN = 40
_PACK = "No SAE is installed. The default pack: pip install hooke-gemma-3-270m"


def saes(
    *,
    model: Annotated[str | None, Parameter(help="Only SAEs of this model.")] = None,
    site: Annotated[str | None, Parameter(help="Only SAEs that read here: resid_post.20, or resid_post for every layer.")] = None,
    width: Annotated[str | None, Parameter(help="Only SAEs of this width: 16k, or a number of features.")] = None,
    installed: Annotated[bool, Parameter(help="Only SAEs of installed packs.")] = False,
    json: Json = False,
) -> None:
    """List the SAEs at hand, and published ones that can be fetched."""
    from hooke.sae import catalogue
    from hooke.sae.packs import installed_saes

    bare = model.rstrip("/").rpartition("/")[2] if model else None
    here = [row.to_json() for row in installed_saes() if bare in (None, row.facts.model)]
    here = [row for row in here if catalogue.reads_at(row["site"], site) and width in (None, *_labels(row))]
    narrowed = not installed and (model, site, width) != (None, None, None)
    known = catalogue.search(model=model, site=site, width=width) if narrowed else []
    if json:
        print_line({"saes": [*here, *(row.to_json() for row in known)]})
        return
    console = console_for()
    _installed(console, here, narrowed=narrowed)
    if narrowed:
        _published(console, known)
    elif not installed:
        _families(console)


def _labels(row: dict[str, Any]) -> tuple[str, ...]:
    """What people call its width."""
    from hooke.sae.catalogue import WIDTHS

    return str(row["d_sae"]), *(label for label, size in WIDTHS.items() if size == row["d_sae"])


def _installed(console: "Console", rows: Sequence[dict[str, Any]], *, narrowed: bool) -> None:
    from hooke.report.tables import table as table_of

    if not rows:
        console.print("None of these is installed." if narrowed else _PACK)
        return
    table = table_of("installed", "model", "site", "width", "features", "L0")
    for row in rows:
        l0 = "not stated" if row["l0"] is None else f"{row['l0']:.0f}"
        groups = ", ".join(f"{end - first:,} {name}" for name, (first, end) in row["groups"].items())
        features = f"{row['d_sae']:,}" + (f" ({groups})" if groups else "")
        table.add_row(row["name"], row["model"], row["site"], str(row["d_in"]), features, l0)
    console.print(table)


def _published(console: "Console", rows: Sequence["KnownSae"]) -> None:
    """Published SAEs one by one: the first of them, and how many more there are."""
    from hooke.report.tables import table as table_of

    if not rows:
        console.print("\nThe catalogue knows no such SAE. `hooke saes` lists the models it knows.")
        return
    table = table_of("published", "site", "features", "L0")
    for row in rows[:_SHOWN]:
        several = "" if len(row.reads) == 1 else f" and {len(row.reads) - 1} more"
        transcoder = several if row.writes == row.site else f"{several} → {row.writes}{several}"
        l0 = "any (* is a number)" if row.l0_label == "*" else "not stated" if row.l0 is None else f"{row.l0:.0f}"
        table.add_row(row.name, row.site + transcoder, f"{row.d_sae:,}", l0)
    console.print()
    console.print(table)
    if len(rows) > _SHOWN:
        console.print(f"and {len(rows) - _SHOWN:,} more; narrow them with --site and --width, or take --json.")
    console.print("\nUse one by its name (--sae NAME fetches it), or fetch it for later: hooke pull NAME", highlight=False)


def _families(console: "Console") -> None:
    """Published SAEs by model."""
    from hooke.report.tables import table as table_of
    from hooke.sae.catalogue import releases

    table = table_of("published for", "releases", "SAEs", "read")
    models = dict.fromkeys(release.model for release in releases())
    for model in models:
        own = [release for release in releases() if release.model == model]
        kinds = ", ".join(sorted({release.site_kind for release in own}))
        table.add_row(model, str(len({release.name for release in own})), f"{sum(len(release.saes) for release in own):,}", kinds)
    console.print()
    console.print(table)
    console.print("\nFor their names: hooke saes --model gemma-2-2b --site resid_post.20", highlight=False)
