"""`hooke feature`: everything an atlas knows of one feature."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.options import AtlasFile, Html, Json
from hooke.cli.output import console_for, print_line, write_text
from hooke.cli.values import TEXT

if TYPE_CHECKING:
    from hooke.atlas import Atlas


def feature(
    name: Annotated[str, Parameter(help="The feature, as gemma-3-270m/resid_post.12/8k/54, or 12/54 where one SAE is at layer 12.")],
    *,
    atlas: AtlasFile = None,
    everything: Annotated[bool, Parameter(name="--all", help="Show all examples, not the foremost.")] = False,
    star: Annotated[bool | None, Parameter(negative="--no-star", help="Star the feature, or take its star away.")] = None,
    note: Annotated[str | None, TEXT, Parameter(help='Keep a note on it; "" takes the note away.')] = None,
    label: Annotated[str | None, TEXT, Parameter(help='Show it under a label of your own; "" takes that away.')] = None,
    json: Json = False,
    html: Html = None,
) -> None:
    """Show everything the atlas knows of a feature; keep notes on it."""
    from hooke.cli.atlases import find_feature, open_atlases

    opened, name = find_feature(name, open_atlases(atlas))
    if (star, note, label) != (None, None, None):
        _write(opened, name, star, note, label)
    found = opened.feature(name)
    if html is not None:
        from hooke.report.feature import page

        write_text(html, page, found)
    if json:
        print_line(found.to_json())
    else:
        from hooke.report.feature_terminal import print_feature

        print_feature(found, console_for(), everything=everything)


def _write(atlas: "Atlas", name: str, star: bool | None, note: str | None, label: str | None) -> None:
    from hooke.names import FeatureName

    atlas.feature(name)  # a feature that nobody knows is said to be unknown before anything is kept
    parsed = FeatureName.parse(name)
    assert atlas.notes is not None
    atlas.notes.put(atlas.saes[str(parsed.sae)], parsed.index, star=star, note=note, label=label)
