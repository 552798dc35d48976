"""Windows of made-up text for the planted model, and SAEs whose figures are known in advance."""

import random
from dataclasses import replace

import torch

from hooke import tiny
from hooke.model import Model
from hooke.sae import Sae
from hooke.text.corpus import Window

WORDS = [word for group in tiny.concepts.values() for word in group]


def windows(model: Model, count: int = 60, seed: int = 0, longest: int = 24) -> list[Window]:
    """`count` windows of up to `longest` words, from two corpora."""
    order = random.Random(seed)
    texts = [" ".join(order.choices(WORDS, k=order.randint(3, longest))) for _ in range(count)]
    return [Window("ab"[number % 2], number, ids) for number, ids in enumerate(model.tokenizer.encode(texts))]


def linear(site: str, matrix: torch.Tensor, offset: torch.Tensor, variant: str = "linear", **facts: object) -> Sae:
    """The SAE that makes ``x M + offset`` of activations: both signs of every direction are features."""
    d_in = len(matrix)
    both = torch.cat([torch.eye(d_in), -torch.eye(d_in)])
    sae_facts = replace(tiny.sae().facts, name=f"tiny/{site}/{variant}", **facts)
    decoder = torch.cat([matrix, -matrix])
    return Sae(both.T.contiguous(), torch.zeros(2 * d_in), decoder, offset, torch.zeros(2 * d_in), sae_facts)


def identity(site: str = "resid_post.0") -> Sae:
    """Rebuilds everything."""
    return linear(site, torch.eye(tiny.D_MODEL), torch.zeros(tiny.D_MODEL), "identity")


def constant(mean: torch.Tensor, site: str = "resid_post.0") -> Sae:
    """Rebuilds `mean`, whatever it reads; no feature ever fires."""
    sae = linear(site, torch.zeros(tiny.D_MODEL, tiny.D_MODEL), mean.float(), "constant")
    return replace(sae, threshold=torch.full((sae.d_sae,), 1e9))
