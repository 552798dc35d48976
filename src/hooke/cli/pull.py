"""`hooke pull`: fetch SAEs, to use them later without a network."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.options import Revision
from hooke.cli.output import print_line, print_text, talk

if TYPE_CHECKING:
    from hooke.sae.resolve import Resolved


def pull(
    *refs: Annotated[str, Parameter(help="Names (see `hooke saes`), org/repo/path on a hub, or s3://bucket/folder.")],
    revision: Revision = None,
    json: Annotated[bool, Parameter(help="Print one JSON object per SAE.")] = False,
) -> None:
    """Fetch SAEs, to use them later without a network."""
    from hooke.errors import BadConfig
    from hooke.sae.resolve import resolve, size_in_words

    if not refs:
        raise BadConfig("nothing to pull. Name an SAE: hooke pull gemma-scope-2b-pt-res/layer_20/width_16k/canonical")
    for ref in refs:
        found = resolve(ref, revision=revision, refresh=True, progress=talk)
        row = _row(ref, found)
        if json:
            print_line(row)
            continue
        print_text(f"{row['name']}: {size_in_words(found.bytes)} at {found.path}")
        for note in row["notes"]:
            print_text(f"  note: {note}")


def _row(ref: str, found: "Resolved") -> dict[str, Any]:
    """What was fetched and what it is, told without reading its weights."""
    known, seen = found.known, found.inspect()
    name = known.name if known else seen.name or ref
    what = {"kind": seen.kind, "model": known.model if known else seen.model or None, "reads": seen.reads, "d_in": seen.d_in}
    notes = [] if known else seen.warnings
    where = {"path": str(found.path), "source": found.source, "bytes": found.bytes, "files": [str(file) for file in found.files]}
    return {"name": name, **what, "d_sae": seen.d_sae, **where, "members": seen.members, "notes": notes}
