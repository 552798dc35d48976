"""`hooke saes`: the SAEs at hand."""

from typing import Annotated

from cyclopts import Parameter

from hooke.cli.output import console_for, print_line


def saes(
    *,
    model: Annotated[str | None, Parameter(help="Only SAEs of this model.")] = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")] = False,
) -> None:
    """List the SAEs at hand."""
    from hooke.sae.packs import installed_saes

    rows = [row.to_json() for row in installed_saes() if model in (None, row.facts.model)]
    if json:
        print_line({"saes": rows})
        return
    from rich.table import Table

    table = Table("name", "model", "site", "width", "features", "L0", box=None, header_style="bold")
    for row in rows:
        l0 = "not stated" if row["l0"] is None else f"{row['l0']:.0f}"
        table.add_row(row["name"], row["model"], row["site"], str(row["d_in"]), f"{row['d_sae']:,}", l0)
    console_for().print(table if rows else "No SAE is installed. The default pack: pip install hooke-gemma-3-270m")
