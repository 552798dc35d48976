"""Randomised: what an SAE is compared with. A model of the same architecture with fresh weights, and random dictionaries."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM

from hooke.model import Model
from hooke.sae import Sae, SaeFacts

# Pre-activations held to find a threshold: 64 MiB.
_CALIBRATE_VALUES = 1 << 24


def randomised_model(model: Model, *, seed: int = 0) -> Model:
    """A model with `model`'s configuration and tokenizer whose weights are freshly drawn: it knows words only by their tokens.

    What a probe on it finds is in the words themselves, not learnt (Heap et al., arXiv 2501.17727).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(copy.deepcopy(model.hf.config), dtype=model.hf.dtype)
    torch.nn.Module.to(hf, model.hf.device)
    return Model(hf, model.tokenizer, f"{model.name} (random weights)")


def random_dictionary(acts: Float[Tensor, "token d_in"], like: Sae, *, l0: float, seed: int = 0) -> Sae:
    """An SAE as wide as `like` that learnt nothing: random unit directions, and one threshold so that `l0` features pass on `acts`.

        f = (x − μ) W where above the threshold,   μ the mean of `acts`, W isotropic

    It has an SAE's sparsity and expansion, without an SAE's features.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(like.d_sae, acts.shape[1], generator=generator), dim=1).to(acts.device)
    sample = acts[: max(1, _CALIBRATE_VALUES // like.d_sae)].float()
    mean = acts.float().mean(0)
    pre = ((sample - mean) @ rows.T).flatten()
    keep = min(max(1, round(l0 * len(sample))), len(pre) - 1)
    threshold = pre.topk(keep + 1, sorted=False).values.min().clamp_min(0)
    facts = SaeFacts(like.name, like.facts.model, reads=like.facts.reads, training={"recipe": "random directions", "seed": seed})
    return Sae(rows.T.contiguous(), -mean @ rows.T, rows, mean, threshold.expand(like.d_sae).clone(), facts)
