"""Proposed: features to turn for some words, by what each does to them; first those whose effect an atlas has, then many measured now."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from hooke.serve.library import Library, title_of
from hooke.serve.microscope import Microscope
from hooke.serve.requests import ProposeRequest

if TYPE_CHECKING:
    from hooke.propose import Proposal

_SHOWN = 8


def proposed(microscope: Microscope, library: Library, request: ProposeRequest) -> Iterator[tuple[str, Any]]:
    """``known`` with features whose measured effect is in an atlas; if it is to be measured, ``loading`` the first time,
    ``progress`` and ``found``; ``done``."""
    from hooke.propose import known, looked_at, propose, tokens_for, words_of

    words = words_of(request.words)
    model, sae = microscope.model, microscope.sae(request.sae or microscope.default[0])
    tokens, maximum = tokens_for(model, words), library.table(sae).max
    with library.reading():
        atlas = library.of[sae.name]
        raised = known(atlas, sae.name, tokens)

    def told(index: int) -> dict[str, Any]:
        name = f"{sae.name}/{index}"
        return {"name": name, "title": title_of(library.feature(name, 0, brief=True))}

    first = islice(raised.items(), _SHOWN)
    yield "known", {"words": words, "features": [told(i) | {"before": low, "after": high} for i, (low, high) in first]}
    if request.measure:
        yield from microscope.whole()
        with library.reading():
            chosen = looked_at(model, sae, atlas, words, tokens, raised)
        measured = propose(
            model, sae, maximum, tokens, chosen, progress=lambda done, total: microscope.tell("progress", {"done": done, "of": total})
        )
        yield "found", {"words": words, "features": [told(one.feature) | _figures(one) for one in measured[:_SHOWN]]}
    yield "done", {"sae": sae.name}


def _figures(one: "Proposal") -> dict[str, Any]:
    before, after = one.probability
    return {"before": before, "after": after, "rise": one.rise, "kl": one.kl.mean, "p": one.p, "holds": one.holds}
