"""Sharded: the kernels of a training step where an SAE's features are spread over processes, or its batches."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import BFloat16, Float
from torch import Tensor

from hooke.kernels import Entries, Layout
from hooke.train.ranks import Ranks

_POSITIVE = 1 << 15


class ShardedKernels:
    """`kernels` over all features, of which a part is here: entries are those here, reconstructions and cut-offs those of all."""

    def __init__(self, kernels: Any, ranks: Ranks) -> None:
        self._kernels, self._ranks = kernels, ranks
        self.above, self.add_gradients, self.adam = kernels.above, kernels.add_gradients, kernels.adam

    def largest(self, pre: BFloat16[Tensor, "token d_sae"], keep: int, floor: int = 1) -> tuple[Entries, int]:
        """Those here of the `keep` largest positive entries that all processes have, and the bits of the smallest one kept: exactly what
        one process would keep. Each counts its entries by their bits; of equals the first by token, then by feature, are kept."""
        found = self._reaching(pre, floor)
        if floor > 1 and int(self._ranks.over_all(torch.tensor(len(found.value), device=pre.device))) < keep:
            found = self._reaching(pre, 1)
        bits = found.value.bfloat16().view(torch.int16).long()
        counts = self._ranks.over_all(torch.bincount(bits, minlength=_POSITIVE))
        above = counts.flip(0).cumsum(0).flip(0)  # above[b]: entries with bits >= b
        cut = max(1, int((above >= keep).sum()) - 1)
        kept, equal = bits > cut, bits == cut
        ties = keep - (int(above[cut + 1]) if cut + 1 < _POSITIVE else 0)
        if ties < int(counts[cut]):
            kept |= equal & (self._places(found.rows(), equal, len(pre)) < ties)
        else:
            kept |= equal
        return found.only(kept), cut

    def _reaching(self, pre: BFloat16[Tensor, "token d_sae"], bits: int) -> Entries:
        least = torch.tensor([bits], dtype=torch.int16, device=pre.device).view(torch.bfloat16).float()
        return self._kernels.above(pre, least.expand(pre.shape[1]).contiguous())

    def _places(self, row: Tensor, equal: Tensor, rows: int) -> Tensor:
        """The place of each `equal` entry among those of all processes, by token and then by feature."""
        own = torch.bincount(row[equal], minlength=rows)
        found = [torch.empty_like(own) for _ in range(self._ranks.size)]
        dist.all_gather(found, own)
        all_of_them = torch.stack(found).view(self._ranks.lots, self._ranks.parts, rows)
        each = all_of_them.transpose(1, 2).reshape(-1, self._ranks.parts)  # by token of the whole batch, by part
        before = (each.flatten().cumsum(0) - each.flatten()).view_as(each)
        mine = before[self._ranks.lot * rows : (self._ranks.lot + 1) * rows, self._ranks.part]
        within = equal.long().cumsum(0) - 1  # running number here, less where its token's begin
        return mine[row] + within - (own.cumsum(0) - own)[row]

    def decode(
        self, entries: Entries, W_dec: BFloat16[Tensor, "d_sae d_out"], target: Float[Tensor, "token d_out"], layout: Layout
    ) -> tuple[Float[Tensor, "token d_out"], Float[Tensor, "group token d_out"], Float[Tensor, " nnz"]]:
        """What the kernels' `decode` gives, the reconstruction being that of all processes' entries.

        Each nested dictionary's own features reconstruct here, are summed over the processes, and then over the dictionaries. How the
        errors pull at the codes takes the same kernel: with ``own reconstruction − error`` as its target, the error is what it finds.
        """
        groups, single = len(layout.ends), Layout.of(len(W_dec)).to(W_dec.device)
        nothing = torch.zeros_like(target)
        chosen = [entries] if groups == 1 else [entries.only(layout.group[entries.feature.long()] == g) for g in range(groups)]
        partial = torch.stack([self._kernels.decode(one, W_dec, nothing, single)[0] for one in chosen])
        errors = self._ranks.over_parts(partial.clone()).cumsum(0) - target
        grad_recon = errors
        if groups > 1:
            grad_recon = (errors * layout.weights[:, None, None]).flip(0).cumsum(0).flip(0)
        grad_acts = torch.empty_like(entries.value)
        for g, one in enumerate(chosen):
            pull = self._kernels.decode(one, W_dec, partial[g] - grad_recon[g], single)[2]
            if groups == 1:
                return errors[0], grad_recon, pull
            grad_acts[layout.group[entries.feature.long()] == g] = pull
        return errors[-1], grad_recon, grad_acts
