"""Geometry: how an SAE's directions lie, beside random directions of the same number (methods: 2.5)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hooke.evals.sums import RESAMPLES, Figure
from hooke.sae import Sae

# Features whose nearest neighbour is sought; in wider SAEs they are a sample.
_MAX_ROWS = 4096
# Cosines held at a time: 64 MiB.
_VALUES = 1 << 24
_NEAR_DUPLICATE = 0.9


def geometry(sae: Sae, seed: int = 0) -> dict[str, Figure]:
    """Cosines between features' directions; intervals are over features.

    ``decoder_max_cosine`` is the mean over i of ``max_{j≠i} cos(W_dec_i, W_dec_j)``, and ``decoder_max_cosine_random`` the same for random
    directions; ``decoder_cosine`` is the mean of ``|cos|`` over pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    m = sae.d_sae
    rows = torch.randperm(m, generator=generator)[:_MAX_ROWS].sort().values if m > _MAX_ROWS else torch.arange(m)
    resamples = torch.randint(len(rows), (RESAMPLES, len(rows)), generator=generator)
    decoder, encoder = sae.W_dec.cpu(), sae.W_enc.T.cpu()
    near, pairs = nearest(decoder, rows)
    isotropic, _ = nearest(torch.randn(decoder.shape, generator=generator), rows)
    values = {
        "decoder_max_cosine": near,
        "decoder_max_cosine_random": isotropic,
        "near_duplicate_share": (near > _NEAR_DUPLICATE).double(),
        "encoder_max_cosine": nearest(encoder, rows)[0],
        "decoder_cosine": pairs,
    }
    if encoder.shape[1] == decoder.shape[1] and sae.facts.input_sites == sae.facts.output_sites:
        values["encoder_decoder_cosine"] = torch.cosine_similarity(encoder[rows], decoder[rows], dim=1)
    out = {name: Figure.of(torch.cat([value.mean()[None], value[resamples].mean(1)])) for name, value in values.items()}
    # What the mean above tends to for many random directions (methods: 2.5).
    return out | {"decoder_max_cosine_asymptotic": Figure(math.sqrt(2 * math.log(m) / decoder.shape[1]))}


def nearest(
    directions: Float[Tensor, "d_sae d"], rows: Tensor | None = None
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """For each of `rows` (all), its largest cosine with another direction, and its mean absolute cosine with the others."""
    unit = torch.nn.functional.normalize(directions.float(), dim=1)
    rows = torch.arange(len(unit)) if rows is None else rows
    largest, mean = [], []
    for block in rows.split(max(1, _VALUES // len(unit))):
        cosines = unit[block] @ unit.T
        cosines[torch.arange(len(block)), block] = 0
        mean.append(cosines.abs().sum(1) / max(1, len(unit) - 1))
        cosines[torch.arange(len(block)), block] = -1
        largest.append(cosines.amax(1))
    return torch.cat(largest).double(), torch.cat(mean).double()
