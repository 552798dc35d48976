"""Naive twins of the kernels: one entry at a time, in float64, straight from the formulas. And the inputs that tests draw for them."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from hooke.kernels import Entries, Gradients, Layout

# Few distinct values, so that ties, at the cut-off too, are common; both zeros, negatives, tiny and huge among them.
LEVELS = [-2.0, -0.5, -0.0, 0.0, 2.0**-130, 0.25, 0.5, 0.50390625, 1.0, 3.0, 1e30]


@st.composite
def matrices(draw):
    """Pre-activations full of ties."""
    rows, features = draw(st.integers(0, 6)), draw(st.integers(1, 9))
    values = draw(st.lists(st.sampled_from(LEVELS), min_size=rows * features, max_size=rows * features))
    return torch.tensor(values).reshape(rows, features).bfloat16()


def steps() -> st.SearchStrategy[tuple]:
    """What `step` takes: codes with empty rows and idle features, even widths."""
    even = st.integers(1, 9).map(lambda n: 2 * n)
    kinds, shares = st.sampled_from(["plain", "nested", "crosscoder"]), st.sampled_from([0.0, 0.3, 1.0])
    return st.tuples(kinds, st.integers(1, 6), even, even, shares, st.integers(0, 1 << 30))


def step(kind: str, tokens: int, d_sae: int, d: int, share: float, seed: int) -> tuple[Entries, Tensor, Tensor, Tensor, Layout]:
    """Entries, W_dec, acts, target and a layout: ``plain``, ``nested`` in three prefixes, or a ``crosscoder`` of two sites."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(tokens, d_sae, generator=generator) * (torch.rand(tokens, d_sae, generator=generator) < share)
    W_dec, acts, target = (torch.randn(n, d, generator=generator) for n in (d_sae, tokens, tokens))
    layout = Layout.of(d_sae, [1, (d_sae + 1) // 2, d_sae] if kind == "nested" and d_sae > 2 else None)
    if kind == "crosscoder":
        offset = (torch.arange(d_sae) // (d_sae // 2) * (d // 2)).int()
        layout = Layout(layout.ends, layout.weights, layout.group, offset, offset.clone())
        W_dec *= torch.arange(d) >= offset[:, None]
    return sparse(codes, codes > 0), W_dec, acts, target, layout


def sparse(values: Tensor, chosen: Tensor) -> Entries:
    """The `chosen` entries of a dense matrix."""
    row, feature = chosen.nonzero(as_tuple=True)
    indptr = torch.tensor([int((row < i).sum()) for i in range(len(values) + 1)])
    return Entries(indptr, feature.int(), values[row, feature].float())


def largest(pre: Tensor, keep: int) -> Entries:
    """The positive entries in falling order, the earlier of equals first; the first `keep` of them."""
    flat = pre.float().flatten().tolist()
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[sorted((i for i, value in enumerate(flat) if value > 0), key=lambda i: -flat[i])[:keep]] = True
    return sparse(pre, chosen.reshape(pre.shape))


def largest_per_token(pre: Tensor, k: int) -> Entries:
    """The same, token by token."""
    rows = [largest(row[None], k) for row in pre]
    indptr = torch.tensor([sum(len(row.feature) for row in rows[:i]) for i in range(len(rows) + 1)])
    return Entries(indptr, *(torch.cat([getattr(row, name) for row in rows]) for name in ("feature", "value")))


def above(pre: Tensor, floor: Tensor) -> Entries:
    """Entries not below their feature's floor, which is rounded down to bfloat16; −0 is below 0."""
    near = floor.bfloat16()
    low = torch.where(near.float() > floor, torch.nextafter(near, torch.full_like(near, -torch.inf)), near)
    return sparse(pre, (pre >= low) & ~((pre == 0) & pre.signbit() & ~low.signbit() & (low == 0)))


def decode(entries: Entries, W_dec: Tensor, target: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Errors, pulls, and each entry's product with its pull."""
    errors = -target.double().repeat(len(layout.ends), 1, 1)
    for t, i, value in triples(entries):
        low = int(layout.writes[i])
        errors[int(layout.group[i]) :, t, low:] += value * W_dec[i, low:].double()
    weighted = errors * layout.weights.double()[:, None, None]
    grad_recon = torch.stack([weighted[g:].sum(0) for g in range(len(errors))])
    grad_acts = [
        float(grad_recon[layout.group[i], t, layout.writes[i] :] @ W_dec[i, layout.writes[i] :].double()) for t, i, _ in triples(entries)
    ]
    return errors[-1], grad_recon, torch.tensor(grad_acts)


def add_gradients(
    entries: Entries, grad_acts: Tensor, acts: Tensor, grad_recon: Tensor, layout: Layout, scale: float, into: Gradients
) -> None:
    """One entry after the other."""
    for (t, i, value), g in zip(triples(entries), grad_acts.tolist(), strict=True):
        low, first = int(layout.writes[i]), int(layout.reads[i])
        into.W_dec[i, low:] += scale * value * grad_recon[layout.group[i], t, low:]
        into.W_enc[i] += scale * g * acts[t, first : first + into.W_enc.shape[1]]
        into.b_enc[i] += scale * g


def triples(entries: Entries) -> list[tuple[int, int, float]]:
    """Token, feature and value of every entry."""
    return list(zip(entries.rows().tolist(), entries.feature.tolist(), entries.value.tolist(), strict=True))
