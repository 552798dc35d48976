"""Uniformity: whether all of a token's active features matter to what the model predicts, or a few do all the work (methods: 2.6)."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.codes import Codes
from hooke.errors import HookeError
from hooke.evals.sums import Figure, resampling
from hooke.harvest import pad
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.model.hooks import capturing, editing
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.facts import sites_of
from hooke.text.corpus import Window


def uniformity(
    model: Model, saes: Sequence[Sae], windows: Sequence[Window], *, seed: int = 0, batch: int = 32, sites: Sequence[Site] | None = None
) -> list[dict[str, Figure]]:
    """For each SAE, ``r = exp(S(p)) / ‖y‖₀`` of one random token in each window, on average (Gemma Scope, arXiv 2408.05147, D.5).

        y_i = f_i (W_dec_i · ∇L)      p = |y| / Σ|y|      S(p) = −Σ p ln p

    L is the mean-centred logit of the correct next token and ∇L its gradient at the SAE's output, in the clean run. 1 means that every
    active feature matters equally; ``effective_l0`` is ``exp(S(p))`` itself. Windows without room for a next token are left out, and
    tokens that are attention sinks at any of `sites`, by default those of `saes`.
    """
    sites = sorted(sites or sites_of(sae.facts for sae in saes), key=model.architecture.order)
    generator = torch.Generator().manual_seed(seed)
    ends, chosen = [], []
    for window in windows:
        usable = [t for t in range(len(window.ids) - 1) if window.ids[t] not in model.tokenizer.special]
        if usable:
            ends.append(usable[int(torch.randint(len(usable), (1,), generator=generator))])
            chosen.append(window.ids)
    if not chosen:
        raise HookeError("no window has a token with another after it, so there is no next token to attribute.")
    values: list[list[Tensor]] = [[] for _ in saes]
    order = sorted(range(len(chosen)), key=lambda i: ends[i])  # texts end at their token, so like lengths go together
    for start in range(0, len(order), batch):
        picked = order[start : start + batch]
        ids = [chosen[i][: ends[i] + 1] for i in picked]
        targets = torch.tensor([chosen[i][ends[i] + 1] for i in picked], device=model.device)
        for n, found in enumerate(_batch(model, saes, ids, targets, sites)):
            values[n].append(found)
    weights = resampling(range(len(order)), seed)
    out = []
    for found in values:
        sums = weights @ torch.cat(found).double()
        out.append({"tokens": Figure(float(sums[0, 2])), "uniformity": Figure.of(sums[:, 0] / sums[:, 2])})
        out[-1]["effective_l0"] = Figure.of(sums[:, 1] / sums[:, 2])
    return out


def _batch(
    model: Model, saes: Sequence[Sae], rows: Sequence[Sequence[int]], targets: Int[Tensor, " batch"], sites: Sequence[Site]
) -> list[Tensor]:
    """For each SAE, ``(r, exp S, 1)`` at the last token of each row; zeros where no feature is active."""
    ids = pad(rows)[0].to(model.device)
    last = torch.tensor([len(row) - 1 for row in rows], device=ids.device)
    at = torch.arange(len(rows), device=ids.device)
    acts, hidden = _graph(model, ids, sites)
    logits = model.head.logits(hidden[at, last])
    centred = logits.gather(1, targets[:, None])[:, 0] - logits.mean(1)
    gradients = dict(zip(sites, torch.autograd.grad(centred.sum(), [acts[site] for site in sites], allow_unused=True), strict=True))
    out = []
    with torch.no_grad():
        before = torch.arange(ids.shape[1], device=ids.device) <= last[:, None]
        sink = ~not_sinks(acts.values(), before)[at, last]
        for sae in saes:
            codes = sae.encode(concat_sites(acts, sae.facts.input_sites)[at, last].float())
            gradient = concat_sites(gradients, sae.facts.output_sites)[at, last].float()
            out.append(shares(codes.silenced(sink), sae.W_dec, gradient))
    return out


def _graph(model: Model, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]) -> tuple[dict[Site, Tensor], Tensor]:
    """Activations at `sites` and what the LM head reads, with the graph between them; nothing below the first site is in it."""
    located = {site: model.architecture.locate(model.hf, site) for site in sites}
    with torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(editing(located[sites[0]], lambda tensor: tensor.detach().requires_grad_()))
        acts = stack.enter_context(capturing(located))
        return acts, model.architecture.base(model.hf)(input_ids=ids, use_cache=False).last_hidden_state


def shares(codes: Codes, W_dec: Float[Tensor, "d_sae d_out"], gradient: Float[Tensor, "token d_out"]) -> Float[Tensor, "token 3"]:
    """``(exp(S(p)) / ‖y‖₀, exp(S(p)), 1)`` for each token, zeros where nothing is active or nothing that is matters."""
    y = (codes.value * (W_dec[codes.feature] * gradient[codes.row]).sum(1)).double().abs()
    total = torch.zeros(len(codes), dtype=torch.float64, device=y.device).index_add_(0, codes.row, y)
    p = y / total[codes.row].clamp_min(1e-300)
    entropy = torch.zeros_like(total).index_add_(0, codes.row, -torch.special.xlogy(p, p))
    active = torch.zeros_like(total).index_add_(0, codes.row, (y > 0).double())
    counted = total > 0
    effective = torch.where(counted, entropy.exp(), 0)
    return torch.stack([effective / active.clamp_min(1), effective, counted.double()], 1).cpu()
