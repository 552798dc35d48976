"""The logit lens of a model: what its LM head would make of a decoder row, if nothing came between."""

import copy

import torch

from hooke.atlas.neighbours import LogitLens
from hooke.errors import HookeError
from hooke.model import Model

_FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


@torch.no_grad()
def logit_lens(model: Model) -> LogitLens:
    """The final norm's gain and the unembedding of `model`; tokens without a letter or digit, and special ones, are not named.

    What the norm does is asked of the norm itself, so that it does not matter whether it multiplies by its weight or by 1 + weight: of
    ``x`` with mean 0 and mean square 1 it makes ``gain · x`` (+ bias), and of the ones it makes ``gain``, or 0 where it takes the mean off.
    """
    base = model.architecture.base(model.hf)
    norm = next((copy.deepcopy(found).float() for name in _FINAL_NORMS if (found := getattr(base, name, None)) is not None), None)
    head = model.hf.get_output_embeddings()
    if norm is None or head is None:
        raise HookeError(f"{model.name} has no final norm or no LM head that Hooke knows, so nothing can be said of what features promote.")
    unembedding = head.weight
    ones = torch.ones(unembedding.shape[1], device=unembedding.device)
    signs = ones.clone()
    signs[1::2] = -1
    # One token of width d, as the module expects it.
    given = {name: norm(x[None, None])[0, 0] for name, x in (("ones", ones), ("signs", signs), ("minus", -signs))}
    gain = (given["signs"] - given["minus"]) / 2 * signs
    bias = (given["signs"] + given["minus"]) / 2
    centred = bool((given["ones"] - bias).abs().max() < 0.5 * gain.abs().max())
    tokenizer = model.tokenizer
    names = (tokenizer.spelling(token).decode("utf-8", "ignore") for token in range(len(unembedding)))
    shown = torch.tensor([token not in tokenizer.special and any(map(str.isalnum, name)) for token, name in enumerate(names)])
    return LogitLens(unembedding.detach(), gain, centred, shown.to(unembedding.device))
