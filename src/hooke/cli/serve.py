"""`hooke serve`: every feature, and any text seen through the model, in a browser."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.output import talk
from hooke.cli.values import ATLAS


def serve(
    *,
    port: Annotated[int | None, Parameter(help="The port on this machine; by default 1665, or a free one where that is taken.")] = None,
    open: Annotated[bool, Parameter(negative="--no-open", help="Open the page in the browser.")] = True,  # noqa: A002
    model: Annotated[str, Parameter(help="The model that reads texts; none browses without one.")] = "gemma-3-270m",
    sae: Annotated[
        tuple[str, ...], Parameter(help="Names or files of SAEs to read with; by default the installed ones of the model.")
    ] = (),
    atlas: Annotated[tuple[Path, ...], ATLAS, Parameter(help="Atlas files, also in an object store; by default all at hand.")] = (),
    demo: Annotated[bool, Parameter(help="Begin with ten headlines that show what there is to see.")] = False,
    runs: Annotated[tuple[Path, ...], Parameter(help="Folders that jobs write to; by default runs, here.")] = (),
) -> None:
    """Show features and read texts in a browser: one page, on this machine alone, offline."""
    if model != "none":
        named(sae, talk)
    from hooke.cli.atlases import atlas_files
    from hooke.cli.stopping import stoppable
    from hooke.serve.launch import Launched, listening

    sock = listening(port)
    files = [file for given in atlas or (None,) for file in atlas_files(given)]
    begin = "?demo=1" if demo else ""
    server = Launched(sock, files, None if model == "none" else model, sae, runs or (Path("runs"),))

    def ready() -> None:
        sys.stdout.write(f"{server.session.link(begin)}\n")
        sys.stdout.flush()
        talk("Open this address in a browser; it holds the key. Ctrl-C ends the server.")

    with stoppable(server.stop) as stop:
        server.run(ready=ready, open_page=begin if open else None)
    if stop:
        raise SystemExit(stop.exit_code)
