"""Named: the SAEs that a command's arguments mean, found (and fetched) before what takes long is imported; and a model that fits them."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hooke.model import Model
    from hooke.sae import Sae
    from hooke.sae.resolve import Resolved


def named(refs: Iterable[str], progress: Callable[[str], None] = lambda _: None) -> "list[Resolved]":
    """Where the SAEs lie, in order; the errors of `hooke.sae.resolve.resolve` for what is none."""
    from hooke.sae.resolve import resolve

    return [resolve(ref, progress=progress) for ref in refs]


def context_for(saes: "Sequence[Sae]", model: "Model") -> int:
    """The tokens of a window that SAEs are read in: as many as the shortest that they were trained in, and no more than the model takes."""
    known = [sae.facts.context for sae in saes if sae.facts.context > 1]
    return min([*known, model.context] if known else [128, model.context])


def model_for(
    saes: "Sequence[Sae]", model: str | None, told: Callable[[str], None], *, device: str = "cpu", dtype: str = "auto"
) -> "Model":
    """The model called `model`, by default the one that `saes` were made for.

    Raises `ShapeMismatch` or `UnknownName` where it has no such sites for them; that their files name another model is `told`.
    """
    from hooke.model import Model
    from hooke.sae.fits import check_fits, model_of, other_model

    loaded = Model.load(model or model_of(saes), device=device, dtype=dtype, progress=told)
    for sae in saes:
        check_fits(sae, loaded.name, loaded.width)
        if other := other_model(sae, loaded.name):
            told(f"Warning: {other}")
    return loaded
