"""`hooke atlas check`: whether an atlas file is whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hooke.cli.options import AtlasFile, Json
from hooke.cli.output import Status, print_line, print_text
from hooke.errors import BadFile
from hooke.text.figures import value_text


def check(
    atlas: AtlasFile = None,
    *,
    json: Json = False,
) -> None:
    """Read everything in an atlas once, and say what is wrong with it; if nothing is, with what it was made."""
    from hooke.atlas.check import problems
    from hooke.cli.atlases import atlas_files

    found, cards = {}, {}
    with Status("Opening") as status:
        for path in atlas_files(atlas):
            found[str(path)] = problems(path, status)
            cards[str(path)] = _card(path) if not found[str(path)] else {}
    if json:
        print_line({"atlases": [{"path": path, "problems": lines, "made": cards[path]} for path, lines in found.items()]})
    bad = [f"{path}: {line}" for path, lines in found.items() for line in lines]
    if bad:
        raise BadFile("\n  ".join([f"{len(bad)} things are wrong:" if len(bad) > 1 else "one thing is wrong:", *bad]))
    if not json:
        said = [line for path, made in cards.items() for line in (f"{path} is whole.", *_told(made))]
        print_text("\n".join(said))


def _card(path: Path) -> dict[str, Any]:
    """With what the atlas was made, and with what what its features do was measured."""
    from hooke.atlas import Atlas

    atlas = Atlas(path)
    made = {"": atlas.facts.get("made")}
    made |= {f"effects of {name}": entry.facts.get("effects", {}).get("made") for name, entry in atlas.saes.items()}
    atlas.close()
    return {name: own for name, own in made.items() if own}


def _told(made: dict[str, Any]) -> Iterator[str]:
    if not made:
        yield "  It has no card: it was made before atlases carried one."
    for name, own in made.items():
        yield f"  Made with{f' ({name})' if name else ''}:"
        yield from (f"    {key}: {value_text(value)}" for key, value in own.items())
