"""`hooke atlas export`: features in other tools' formats."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hooke.cli.options import AtlasFile, OnlySaes
from hooke.cli.output import Status, talk
from hooke.errors import BadConfig


def export(
    out: Annotated[Path, Parameter(help="The file to write; for neuronpedia, saedashboard and delphi a new folder.")],
    *,
    to: Annotated[Literal["jsonl", "parquet", "neuronpedia", "saedashboard", "delphi"], Parameter(help="The format.")] = "jsonl",
    sae: OnlySaes = (),
    atlas: AtlasFile = None,
    own: Annotated[bool, Parameter(negative="--no-own", help="Take the labels along that you gave to features, beside the atlas'.")] = True,
) -> None:
    """Write an atlas as JSON Lines or Parquet, in Neuronpedia's or SAEDashboard's layout, or its names in Delphi's."""
    from hooke.atlas.export import export as write
    from hooke.atlas.search import chosen
    from hooke.cli.atlases import knowing, of_packs, open_atlases

    found = open_atlases(atlas)
    meant = knowing(chosen([name for one in found for name in one.saes], sae), found) if sae else of_packs(found)
    if len(meant) > 1:
        raise BadConfig(f"{len(meant)} atlases are meant; say which with --atlas: {', '.join(str(one.path) for one in meant)}.")
    opened = meant[0]
    if not own:
        opened.notes = None
    with Status("Reading") as status:
        write(opened, to, out, saes=chosen(opened.saes, sae), progress=status.count)

    talk(f"Wrote {out}")
