"""`hooke open`: a feature in the page of a running `hooke serve`."""

import sys
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.options import AtlasFile


def open(  # noqa: A001
    name: Annotated[str, Parameter(help="The feature, as for `hooke feature`: 12/6213, or its whole name.")],
    *,
    atlas: AtlasFile = None,
    show: Annotated[
        bool, Parameter(name="--browser", negative="--no-browser", help="Open it in the browser; the address is printed in any case.")
    ] = True,
) -> None:
    """Open a feature in the page of the running `hooke serve`."""
    import webbrowser

    from hooke.cli.atlases import find_feature, open_atlases
    from hooke.serve.session import running

    session = running()
    _, whole = find_feature(name, open_atlases(atlas))
    link = session.link(f"f/{whole}")
    sys.stdout.write(f"{link}\n")
    if show:
        webbrowser.open(link)
