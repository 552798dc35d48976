"""Evaluator: shown batch after batch of text, it keeps count of what each SAE and each of its baselines does to the model."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.errors import HookeError
from hooke.evals.baselines import Baseline
from hooke.evals.sums import plain, resampling
from hooke.evals.tally import CountedTokens, Stand, Tally, core, fidelity, histogram, part_figures, recovered
from hooke.model import Model
from hooke.model.partial import Edit, Losses, Passes, losses
from hooke.names import Site
from hooke.sae import Sae
from hooke.text.corpus import Window

JOINT = "joint"


class Evaluator:
    """The sums of one evaluation."""

    def __init__(
        self, model: Model, saes: Sequence[Sae], centres: Sequence[Tensor], baselines: Sequence[Mapping[str, Baseline]], seed: int
    ) -> None:
        """`centres` (each SAE's mean output activation) and `baselines` belong to `saes`, in order."""
        self.model, self.saes, self.baselines, self.seed = model, list(saes), list(baselines), seed
        self.tokens = self.windows = self.batches = 0
        self.sinks = 0
        """Attention sinks, which are neither replaced nor counted."""
        self.tallies = [Tally(centre, sae.d_sae, sae.facts.groups) for sae, centre in zip(saes, centres, strict=True)]
        names = [[*own, "zero_everywhere"] for own in baselines]
        self.beside = [{name: Tally(centre) for name in own} for own, centre in zip(names, centres, strict=True)]
        self.joint = Tally(centres[0]) if self.can_join(saes) else None

    @staticmethod
    def can_join(saes: Sequence[Sae]) -> bool:
        """Whether all SAEs can be put in at once: each reads and writes one site, and no two write the same."""
        outputs = [sae.facts.output_sites for sae in saes]
        single = all(len(sites) == 1 for sae in saes for sites in (sae.facts.input_sites, sae.facts.output_sites))
        return single and len(outputs) > 1 and len(set(outputs)) == len(outputs)

    def see(self, batch: Sequence[tuple[int, Window]], lengths: Int[Tensor, " batch"], passes: Passes, stride: int) -> None:
        """Count in a batch of numbered windows; baselines are run on those whose number `stride` divides."""
        windows = [window for _, window in batch]
        counted = self._counted([number for number, _ in batch], windows, lengths, passes)
        stands, hidden = [], []
        for sae in self.saes:
            x = passes.at(sae.facts.input_sites)
            codes = sae.encode(x)
            rebuilt = sae.decode(codes, x)
            own = torch.zeros(len(x), device=x.device).index_add_(0, codes.row, codes.value)
            stands.append(Stand(passes.at(sae.facts.output_sites), rebuilt, codes.l0, own))
            hidden.append(passes.hidden_with(_edits(sae, passes, rebuilt)))
            self.tallies[len(stands) - 1].add_codes(counted, codes)
        found = losses(self.model, passes.hidden[passes.keep], hidden, _targets(passes, lengths))
        self._check(found, stands, windows, counted, [sae.name for sae in self.saes])
        for i, stand in enumerate(stands):
            self.tallies[i].add(counted, stand, found, i)
        chosen = torch.tensor([row for row, (number, _) in enumerate(batch) if number % stride == 0], dtype=torch.int64)
        if len(chosen):
            self._compare(chosen, [batch[row] for row in chosen.tolist()], lengths[chosen], passes, stands, found)
        self.tokens += len(counted.window)
        self.windows += len(windows)
        self.batches += 1

    def _compare(
        self, chosen: Tensor, batch: Sequence[tuple[int, Window]], lengths: Tensor, passes: Passes, stands: Sequence[Stand], found: Losses
    ) -> None:
        """Run every baseline on some rows of a batch."""
        inside = torch.isin(passes.keep.nonzero()[:, 0].cpu(), chosen)
        part = passes.rows(chosen.to(passes.ids.device))
        counted = self._counted([number for number, _ in batch], [window for _, window in batch], lengths, part)
        own = Losses(found.clean[inside], [ce[inside] for ce in found.cross_entropy], [kl[inside] for kl in found.kl])
        tallies, beside, hidden = [], [], []
        for i, (sae, whole) in enumerate(zip(self.saes, stands, strict=True)):
            here = inside.to(whole.x.device)
            stand = Stand(whole.x[here], whole.rebuilt[here], whole.l0[here], whole.l1[here])
            self.tallies[i].add_paired(counted, stand, own, i)
            for name, tally in self.beside[i].items():
                rebuilt = self.baselines[i][name.partition("_")[0]](stand.x, stand.rebuilt)
                edits = _edits(sae, part, rebuilt.acts)
                if name == "zero_everywhere":
                    edits = dict.fromkeys(edits, torch.zeros_like)
                hidden.append(part.hidden_with(edits, everywhere=name == "zero_everywhere"))
                tallies.append(tally)
                beside.append(Stand(stand.x, rebuilt.acts, rebuilt.l0, torch.zeros_like(stand.l1)))
        if self.joint is not None:
            hidden.append(self._together(part))
            tallies.append(self.joint)
            beside.append(beside[0])
        seen = losses(self.model, part.hidden[part.keep], hidden, _targets(part, lengths))
        for which, (tally, stand) in enumerate(zip(tallies, beside, strict=True)):
            tally.add(counted, stand, seen, which)

    def see_together(self, batch: Sequence[tuple[int, Window]], lengths: Int[Tensor, " batch"], passes: Passes, stride: int) -> None:
        """Of a batch that `see` would be shown, count in only what all SAEs at once do."""
        chosen = torch.tensor([row for row, (number, _) in enumerate(batch) if number % stride == 0], dtype=torch.int64)
        if self.joint is None or not len(chosen):
            return
        rows, part = [batch[row] for row in chosen.tolist()], passes.rows(chosen.to(passes.ids.device))
        counted = self._counted([number for number, _ in rows], [window for _, window in rows], lengths[chosen], part)
        seen = losses(self.model, part.hidden[part.keep], [self._together(part)], _targets(part, lengths[chosen]))
        x = part.at(self.saes[0].facts.output_sites)
        nothing = torch.zeros(len(x), device=x.device)
        self.joint.add(counted, Stand(x, x, nothing.long(), nothing), seen, 0)

    def _together(self, passes: Passes) -> Tensor:
        """What the LM head reads with all SAEs in at once, each fed with what the ones below it left."""
        return passes.hidden_joined(
            [(sae.facts.input_sites[0], sae.facts.output_sites[0], lambda x, sae=sae: sae.reconstruct(x.float())) for sae in self.saes]
        )

    def _counted(self, numbers: Sequence[int], windows: Sequence[Window], lengths: Tensor, passes: Passes) -> CountedTokens:
        window, pos = passes.keep.nonzero(as_tuple=True)
        has_next = (pos + 1 < lengths.to(pos.device)[window]).double()
        return CountedTokens(window, pos, resampling(numbers, self.seed), [w.corpus for w in windows], has_next)

    def _check(
        self, found: Losses, stands: Sequence[Stand], windows: Sequence[Window], counted: CountedTokens, names: Sequence[str]
    ) -> None:
        rows = [("the clean pass", found.clean)]
        for name, stand, ce, kl in zip(names, stands, found.cross_entropy, found.kl, strict=True):
            rows.append((name, ce + kl + (stand.x + stand.rebuilt).sum(1).double().cpu()))
        for name, values in rows:
            if not bool(values.isfinite().all()):
                bad = windows[int(counted.window.cpu()[~values.isfinite()][0])]
                raise HookeError(
                    f"losses or activations with {name} are not finite in document {bad.doc} of {bad.corpus!r}. "
                    "The model overflows or the SAE is damaged; load the model in bfloat16 or float32."
                )

    def result(self, index: int) -> dict[str, Any]:
        """What was found about one SAE, as plain values."""
        tally, beside = self.tallies[index], self.beside[index]
        groups: dict[str, dict[str, Any]] = {"corpus": {}, "position": {}}
        for group in sorted(tally.groups, key=lambda name: (name.split(" ")[0], *_number(name))):
            kind, _, name = group.partition(" ")
            if name:
                groups[kind][name if kind == "corpus" else _span(int(name))] = plain(fidelity(tally, group))
        parts = {name: plain(part_figures(tally, name)) for name in tally.parts if name != "all"}
        return {
            "core": plain(core(tally, beside)),
            **({"groups": parts} if parts else {}),
            "density": histogram(tally),
            "by_corpus": groups["corpus"],
            "by_position": groups["position"],
            "baselines": {name: plain(fidelity(other) | recovered(other, beside)) for name, other in beside.items()},
        }

    def joint_result(self) -> dict[str, Any]:
        """What all SAEs at once cost; nothing where they cannot be put in together."""
        if self.joint is None:
            return {}
        kept = ("tokens", "loss", "clean_loss", "delta_loss", "kl")
        return {JOINT: plain({name: figure for name, figure in fidelity(self.joint).items() if name in kept})}

    def features(self, index: int) -> dict[str, Float[Tensor, " d_sae"]]:
        """``density`` and ``consistency`` of an SAE's features."""
        sums = self.tallies[index].groups["all"]
        fired, windows = sums["fired"][0], sums["windows"][0]
        return {"density": fired / self.tokens, "consistency": fired / windows}

    def means(self, index: int) -> dict[str, float]:
        """Every column of an SAE's `Tally`, per token."""
        found = self.tallies[index].of("all")
        return {name: float(rows[0] / found["n"][0]) for name, rows in found.items()}

    def _named(self) -> dict[str, Tally]:
        out = {f"sae{i}": tally for i, tally in enumerate(self.tallies)}
        out |= {f"sae{i}+{name}": tally for i, own in enumerate(self.beside) for name, tally in own.items()}
        return out | ({} if self.joint is None else {JOINT: self.joint})

    def state(self) -> dict[str, Tensor]:
        """All sums, for a file."""
        return {key: value for name, tally in self._named().items() for key, value in tally.state(name).items()}

    def restore(self, state: Mapping[str, Tensor], *, batches: int, tokens: int, windows: int) -> None:
        """Go on from what `state` gave."""
        for name, tally in self._named().items():
            tally.restore(name, state)
        self.batches, self.tokens, self.windows = batches, tokens, windows


def _edits(sae: Sae, passes: Passes, rebuilt: Float[Tensor, "token d_out"]) -> dict[Site, Edit]:
    """Each of the SAE's output sites gets its share of `rebuilt`."""
    parts = rebuilt.split([passes.acts[site].shape[-1] for site in sae.facts.output_sites], dim=1)
    return {site: lambda _, part=part: part for site, part in zip(sae.facts.output_sites, parts, strict=True)}


def _targets(passes: Passes, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " token"]:
    """The next token at each counted position, -1 at the end of a window."""
    following = torch.nn.functional.pad(passes.ids[:, 1:], (0, 1), value=-1)
    ends = torch.arange(following.shape[1], device=following.device) + 1 >= lengths.to(following.device)[:, None]
    return following.masked_fill(ends, -1)[passes.keep]


def _number(group: str) -> tuple[int, str]:
    name = group.partition(" ")[2]
    return (int(name), "") if group.startswith("position") else (0, name)


def _span(number: int) -> str:
    """Positions that share the base-2 logarithm `number`."""
    return "1" if number == 0 else f"{1 << number}-{(1 << (number + 1)) - 1}"
