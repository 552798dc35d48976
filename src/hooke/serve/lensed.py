"""Lensed: one text through every layer, for the page; features first, then the layers from the last one down."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig
from hooke.names import SaeName
from hooke.serve.library import Library, title_of
from hooke.serve.microscope import Microscope
from hooke.serve.requests import LensRequest

if TYPE_CHECKING:
    from hooke.lens import LensSae

_MOST_CHARACTERS = 4000


def check_lens(request: LensRequest) -> None:
    """Raise `BadConfig` where more is asked for than is done at one go; tokens are counted when the text is read."""
    if not request.text.strip():
        raise BadConfig("there is no text to read.")
    if len(request.text) > _MOST_CHARACTERS:
        raise BadConfig(f"{len(request.text):,} characters were sent; at most {_MOST_CHARACTERS:,} go through all layers at one go.")


def lensed(microscope: Microscope, library: Library, request: LensRequest) -> Iterator[tuple[str, Any]]:
    """``meta`` with the tokens, ``features`` for each SAE, ``layer`` for each layer, and ``done`` with what all have in common."""
    from hooke.lens import LensText, in_order
    from hooke.report.lens import LIMITS, changes

    known = in_order([_sae(microscope, library, name) for name in _names(microscope, library)] if request.features else [])
    text = LensText(microscope.model, request.text)
    layers = microscope.model.n_layers
    yield "meta", {"model": microscope.model.name, "tokens": text.tokens, "layers": layers, "saes": [own.sae.name for own in known]}
    found = []
    for own, below in zip(known, [None, *known], strict=False):
        microscope.stop_if_unwanted()
        found.append(text.features(own, below))
        shown = {one.feature for one in chain(found[-1].top, found[-1].newest or ()) if one is not None}
        yield "features", asdict(found[-1]) | {"titles": {name: title_of(library.feature(name, 0)) for name in sorted(shown)}}
    for layer in reversed(range(layers)):
        microscope.stop_if_unwanted()
        yield "layer", text.layer(layer, request.words)
    yield "done", {"changes": list(changes(found)), "limits": LIMITS}


def _names(microscope: Microscope, library: Library) -> list[str]:
    """The first SAE of each layer's residual stream that an atlas knows, of those at hand."""
    by_layer: dict[int, str] = {}
    for name in microscope.saes:
        site = SaeName.parse(name).site
        if site.kind == "resid_post" and name in library.of:
            by_layer.setdefault(site.layer, name)
    return list(by_layer.values())


def _sae(microscope: Microscope, library: Library, name: str) -> "LensSae":
    from hooke.lens import LensSae

    with library.reading():
        library.of[name].check(microscope.sae(name))
        known = library.of[name].table(name)
    return LensSae(microscope.sae(name), known.max, known.density)
