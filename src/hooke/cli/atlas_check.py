"""`hooke atlas check`: whether an atlas file is whole."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.output import console_for, print_line, say
from hooke.errors import BadFile


def check(
    atlas: Annotated[Path | None, Parameter(help="An atlas file; by default those of the installed packs.")] = None,
    *,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")] = False,
) -> None:
    """Read everything in an atlas once, and say what is wrong with it."""
    from hooke.atlas.check import problems
    from hooke.cli.atlases import atlas_files

    console, found = console_for(stderr=True), {}
    with console.status("Opening") as status:
        for path in atlas_files(atlas):
            found[str(path)] = problems(path, lambda text: say(console, status, text))
    if json:
        print_line({"atlases": [{"path": path, "problems": lines} for path, lines in found.items()]})
    bad = [f"{path}: {line}" for path, lines in found.items() for line in lines]
    if bad:
        raise BadFile("\n  ".join([f"{len(bad)} things are wrong:" if len(bad) > 1 else "one thing is wrong:", *bad]))
    if not json:
        console_for().print("\n".join(f"{path} is whole." for path in found), markup=False, highlight=False, soft_wrap=True)
