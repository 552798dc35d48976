"""`hooke inspect`: what an SAE is, and what is in its files."""

from typing import TYPE_CHECKING

from hooke.cli.options import Json, Member, Revision, SaeFiles, StatedModel, StatedSite
from hooke.cli.output import console_for, print_line, talk

if TYPE_CHECKING:
    from hooke.sae.inspection import Inspection


def inspect(
    ref: SaeFiles,
    *,
    member: Member = None,
    revision: Revision = None,
    site: StatedSite = None,
    model: StatedModel = None,
    json: Json = False,
) -> None:
    """Say what an SAE is, without reading its weights; what is not on this machine is fetched."""
    from hooke.sae.resolve import resolve

    found = resolve(ref, revision=revision, member=member, progress=talk).inspect(site=site, model=model)
    if json:
        print_line(found.to_json())
    else:
        _show(found)


def _show(found: "Inspection") -> None:
    from rich.table import Table
    from rich.text import Text

    from hooke.text.marks import marked

    rows = {"path": str(found.path)}
    if found.dialect:
        rows["format"] = f"{found.dialect} ({found.about})"
    if found.name:
        arrow = "" if found.reads == found.writes else f" -> {', '.join(found.writes)}"
        width = f" x {found.d_out:,}" if found.d_out != found.d_in else ""
        rows |= {
            "name": found.name,
            "kind": found.kind,
            "model": found.model or "not said",
            "sites": ", ".join(found.reads) + arrow,
            "shape": f"{found.d_in:,} x {found.d_sae:,}{width}",
            "activation": found.activation + ("" if found.normalize == "none" else f"; each token normalised: {found.normalize}"),
            "groups": "; ".join(f"{name}: features {first:,} to {end - 1:,}" for name, (first, end) in found.groups.items()),
            "weights": f"{found.dtype}, {found.bytes:,} bytes",
        }
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        if not value:
            continue
        table.add_row(Text(key, style="bold"), Text(marked(value)))
    for title, lines in (("members", found.members), ("note", found.warnings)):
        for i, line in enumerate(lines):
            table.add_row(Text(title if i == 0 else "", style="bold"), Text(marked(line)))
    console_for().print(table)
