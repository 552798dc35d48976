"""`hooke convert`: an SAE in another format."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hooke.cli.options import Member, Revision, SaeFiles, StatedModel, StatedSite
from hooke.cli.output import talk
from hooke.errors import BadConfig


def convert(
    source: SaeFiles,
    target: Annotated[Path, Parameter(help="Where to write.")],
    *,
    to: Annotated[
        Literal["native", "saelens", "gemma-scope", "gemma-scope-2", "sparsify"], Parameter(help="The format to write.")
    ] = "native",
    member: Member = None,
    revision: Revision = None,
    site: StatedSite = None,
    model: StatedModel = None,
) -> None:
    """Write an SAE in another format."""
    from hooke.sae.resolve import resolve

    found = resolve(source, revision=revision, member=member, progress=talk)
    if target.resolve() in (found.path.resolve(), *found.path.resolve().parents):
        raise BadConfig(f"{target} holds {source}; write to another place.")
    from hooke.sae.formats import write_sae

    sae = found.open(site=site, model=model)
    written = write_sae(sae, target, to)
    sys.stderr.write(f"Wrote {written} ({sae.name}, {sae.d_in:,} x {sae.d_sae:,}).\n")
