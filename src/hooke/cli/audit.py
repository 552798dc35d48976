"""`hooke audit`: whether a model treats two groups differently in the same sentence."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.output import check_places, console_for, print_line, say, talk
from hooke.cli.values import SEED


def audit(
    plan: Annotated[Path, Parameter(help="A TOML file: templates with slots, or pairs from a file; groups, targets, models.")],
    *,
    seed: Annotated[int, SEED, Parameter(help="Of what is dealt out; the same seed gives the same result.")] = 0,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")] = False,
    html: Annotated[Path | None, Parameter(help="Also write a page to this file.")] = None,
) -> None:
    """Try whether a model treats two groups differently in the same sentence."""
    check_places(html)
    console = console_for(stderr=True)
    with console.status("Reading the plan") as status:
        from hooke.audits.plan import AuditPlan

        read = AuditPlan.read(plan)
        from hooke.audits import run_audit

        found = run_audit(read, seed=seed, progress=lambda text: say(console, status, text))
    if html is not None:
        from hooke.files import atomic_write
        from hooke.report.audits import page

        with atomic_write(html) as file:
            file.write(page(found).encode())
        talk(f"Wrote {html}")
    if json:
        print_line(found.to_json())
    else:
        from hooke.report.audits import print_audit

        print_audit(found, console_for())
