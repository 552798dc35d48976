"""Fits: whether an SAE can be read on a model, by the widths of its sites; that its files name another model is only told."""

from collections.abc import Callable, Sequence

from hooke.errors import BadConfig, ShapeMismatch
from hooke.names import Site
from hooke.sae import Sae


def check_fits(sae: Sae, model: str, width: Callable[[Site], int]) -> None:
    """Raise `ShapeMismatch` unless `sae` has the widths of the model called `model`, whose activations at a site have `width` values.

    Names decide nothing: a copy or a fine-tuned model has another (`other_model`), and `hooke.sanity` measures what fits.
    `width` raises what it likes for a site that the model does not have.
    """
    trained = sae.facts.model
    for verb, sites, own in (("reads", sae.facts.input_sites, sae.d_in), ("writes", sae.facts.output_sites, len(sae.b_dec))):
        found = sum(map(width, sites))
        if found != own:
            where = ", ".join(map(str, sites)) if len(sites) < 4 else f"{len(sites)} sites"
            known = f" (trained on {trained})" if trained else ""
            raise ShapeMismatch(f"{sae.name} {verb} width {own} at {where}{known}; {model} has width {found} there.")


def other_model(sae: Sae, model: str) -> str:
    """What to tell of an SAE whose files name another model than `model`; empty where they name this one or none.

    Names are compared without their organisation and case.
    """
    trained = sae.facts.model
    if _bare(trained) in ("", _bare(model)):
        return ""
    return f"{sae.name} was trained on {trained}, not on {model}; they may be alike enough."


def model_of(saes: Sequence[Sae]) -> str:
    """The model that `saes` were made for, all the same one; raises `BadConfig` where they name several or none."""
    names = sorted({sae.facts.model for sae in saes})
    if len(names) != 1:
        raise BadConfig(f"these SAEs are of different models ({', '.join(name or 'none named' for name in names)}); take one model's.")
    if not names[0]:
        raise BadConfig(f"the files of {saes[0].name} name no model. Say which one it was trained on: --model NAME.")
    return names[0]


def _bare(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2].lower()
