"""`hooke audit`: whether a model treats two groups differently in the same sentence."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.options import Html, Json, Seed
from hooke.cli.output import Status, check_places, console_for, print_line, write_text


def audit(
    plan: Annotated[Path, Parameter(help="A TOML file: templates with slots, or pairs from a file; groups, targets, models.")],
    *,
    seed: Annotated[Seed, Parameter(help="Of what is dealt out; the same seed gives the same result.")] = 0,
    json: Json = False,
    html: Html = None,
) -> None:
    """Try whether a model treats two groups differently in the same sentence."""
    check_places(html)
    with Status("Reading the plan") as status:
        from hooke.audits.plan import AuditPlan

        read = AuditPlan.read(plan)
        from hooke.audits import run_audit

        found = run_audit(read, seed=seed, progress=status)
    from hooke.report.audits import page, print_audit

    write_text(html, page, found)
    if json:
        print_line(found.to_json())
    else:
        print_audit(found, console_for())
