"""Lensed: one text through every layer, for the page; features first, then the layers from the last one down."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from hooke.errors import BadConfig
from hooke.names import one_a_layer
from hooke.serve.library import Library, title_of
from hooke.serve.microscope import Microscope, check_characters
from hooke.serve.requests import LensRequest

if TYPE_CHECKING:
    from hooke.lens import LensSae

_MOST_CHARACTERS = 4000


def check_lens(request: LensRequest) -> None:
    """Raise `BadConfig` where more is asked for than is done at one go; tokens are counted when the text is read."""
    if not request.text.strip():
        raise BadConfig("there is no text to read.")
    if request.beside is not None and not request.beside.strip():
        raise BadConfig("the second text is empty; leave `beside` out to follow one text.")
    check_characters(request.text, request.beside or "")
    characters = max(len(request.text), len(request.beside or ""))
    if characters > _MOST_CHARACTERS:
        raise BadConfig(f"{characters:,} characters were sent; at most {_MOST_CHARACTERS:,} go through all layers at one go.")


def lensed(microscope: Microscope, library: Library, request: LensRequest) -> Iterator[tuple[str, Any]]:
    """``loading`` the first time, ``meta`` with the tokens, ``features`` for each SAE, ``layer`` for each layer, and ``done``
    with what all have in common.

    Of two texts ``features_differ`` and ``layers_differ`` come in their place.
    """
    from hooke.lens import LensText, in_order
    from hooke.report.lens import LIMITS, changes

    names = one_a_layer(name for name in microscope.saes if name in library.of) if request.features else []
    yield from microscope.whole()
    known = in_order([_sae(microscope, library, name) for name in names])
    if request.beside is not None:
        yield from _differing(microscope, library, request, known)
        return
    text = LensText(microscope.model, request.text)
    layers = microscope.model.n_layers
    yield "meta", {"model": microscope.model.name, "tokens": text.tokens, "layers": layers, "saes": [own.sae.name for own in known]}
    found = []
    for own, below in zip(known, [None, *known], strict=False):
        microscope.stop_if_unwanted()
        found.append(text.features(own, below))
        shown = {one.feature for one in chain(found[-1].top, found[-1].newest or ()) if one is not None}
        yield "features", asdict(found[-1]) | {"titles": {name: title_of(library.feature(name, 0, brief=True)) for name in sorted(shown)}}
    for layer in reversed(range(layers)):
        microscope.stop_if_unwanted()
        yield "layer", text.layer(layer, request.words)
    yield "done", {"changes": list(changes(found)), "limits": LIMITS}


def _differing(microscope: Microscope, library: Library, request: LensRequest, known: "list[LensSae]") -> Iterator[tuple[str, Any]]:
    from hooke.lens.differing import TwoTexts
    from hooke.report.lens import LIMITS

    both = TwoTexts(microscope.model, request.text, request.beside or "")
    layers = microscope.model.n_layers
    names = [own.sae.name for own in known]
    yield "meta", {"model": microscope.model.name, "tokens": both.tokens, "left_out": both.left_out, "layers": layers, "saes": names}
    for own in known:
        microscope.stop_if_unwanted()
        found = both.features(own)
        shown = sorted({one.feature for one in found.most if one is not None})
        yield "features_differ", asdict(found) | {"titles": {name: title_of(library.feature(name, 0, brief=True)) for name in shown}}
    for layer in reversed(range(layers)):
        microscope.stop_if_unwanted()
        yield "layers_differ", both.layer(layer)
    yield "done", {"changes": [], "limits": LIMITS}


def _sae(microscope: Microscope, library: Library, name: str) -> "LensSae":
    from hooke.lens import LensSae

    sae = microscope.sae(name)
    known = library.table(sae)
    return LensSae(sae, known.max, known.density)
