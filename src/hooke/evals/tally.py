"""Tally: everything that is counted of one stand-in for activations, and the figures that follow from it (methods: 2.2 to 2.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.codes import Codes
from hooke.evals.sums import Figure, Sums, by_window
from hooke.model.partial import Losses

# What is summed for each token. e = x − x̂, c = x − centre; "next" is 1 where there is a next token, and the losses are 0 elsewhere.
COLUMNS = (
    *("n", "e2", "x2", "c2", "legacy", "cosine", "cosine_centred", "ratio", "hat2", "dot", "l0", "l1"),
    *("next", "clean", "loss", "kl", "e2_share", "batch_bias", "x_norm", "hat_norm"),
)
# L0 past this is counted as this.
_MAX_L0 = 4095
# Widest SAE whose features' densities are resampled: 50 MiB.
_MAX_RESAMPLED = 1 << 15
_DENSE, _FREQUENT = 0.1, 0.01


@dataclass(frozen=True)
class CountedTokens:
    """Where a batch's counted tokens are."""

    window: Int[Tensor, " token"]
    """Which window of the batch each is in."""
    pos: Int[Tensor, " token"]
    """Its position there."""
    weights: Float[Tensor, "resample window"]
    """See `resampling`."""
    corpora: Sequence[str]
    """Each window's corpus."""
    has_next: Float[Tensor, " token"]
    """1 where the window goes on, else 0."""

    def by_window(self, values: Float[Tensor, "token n"]) -> Float[Tensor, "window n"]:
        """`values` summed over each window's tokens."""
        return by_window(values, self.window, len(self.corpora))


@dataclass(frozen=True)
class Stand:
    """One stand-in for the activations of a batch and what the model makes of it."""

    x: Float[Tensor, "token d"]
    """The activations."""
    rebuilt: Float[Tensor, "token d"]
    """What stands in for them."""
    l0: Int[Tensor, " token"]
    """Numbers that each was made from."""
    l1: Float[Tensor, " token"]
    """Their sum."""

    def columns(self, centre: Float[Tensor, " d"], losses: Losses, which: int, has_next: Tensor) -> Float[Tensor, "token n"]:
        """A row of `COLUMNS` for each token; `which` of the losses are this stand-in's."""
        x, hat = self.x.double(), self.rebuilt.double()
        c, e = x - centre, x - hat
        e2, x2, hat2, dot = e.square().sum(1), x.square().sum(1), hat.square().sum(1), (x * hat).sum(1)
        batch = (x - x.mean(0)).square().sum(1)
        at = {
            "n": torch.ones_like(e2),
            "e2": e2,
            "x2": x2,
            "c2": c.square().sum(1),
            "legacy": 1 - e2 / batch,
            "cosine": torch.cosine_similarity(x, hat, dim=1),
            "cosine_centred": torch.cosine_similarity(c, hat - centre, dim=1),
            "ratio": hat2.sqrt() / torch.where(x2.sqrt() < 1e-4, 1, x2.sqrt()),
            "hat2": hat2,
            "dot": dot,
            "l0": self.l0,
            "l1": self.l1,
            "next": has_next,
            "clean": losses.clean,
            "loss": losses.cross_entropy[which],
            "kl": losses.kl[which],
            "e2_share": e2 / len(e2),
            "batch_bias": (hat2.mean() / dot.mean()).expand_as(e2),
            "x_norm": x2.sqrt(),
            "hat_norm": hat2.sqrt(),
        }
        return torch.stack([at[name].to(e2.device, torch.float64) for name in COLUMNS], 1)


class Tally:
    """Sums for one stand-in: over all tokens, by corpus, by position, and over the windows that baselines were run on."""

    def __init__(self, centre: Float[Tensor, " d"], d_sae: int | None = None, parts: Mapping[str, Sequence[int]] | None = None) -> None:
        """`centre` is near the mean activation: sums of squares around it lose nothing to cancellation. For an SAE its `d_sae`, and the
        `parts` of its features that were trained for a purpose, each as its first feature and the one after its last."""
        self.centre, self.d_sae = centre, d_sae
        self.parts = {"all": (0, d_sae or 0)} | {name: (start, stop) for name, (start, stop) in (parts or {}).items()}
        self.groups: dict[str, Sums] = {}

    def add(self, counted: CountedTokens, stand: Stand, losses: Losses, which: int) -> None:
        """Count a batch in."""
        columns = stand.columns(self.centre.to(stand.x.device), losses, which, counted.has_next)
        centred = stand.x.double() - self.centre.to(stand.x.device)
        everything = torch.ones_like(counted.window, dtype=torch.bool)
        self._add("all", counted, columns, centred, everything)
        if self.d_sae is None:
            return
        for name in sorted(set(counted.corpora)):
            inside = torch.tensor([corpus == name for corpus in counted.corpora], device=counted.window.device)
            self._add(f"corpus {name}", counted, columns, centred, inside[counted.window])
        bins = counted.pos.clamp_min(1).double().log2().floor().long()
        for number in bins.unique().tolist():
            self._add(f"position {number}", counted, columns, centred, bins == number)
        error = stand.x.double() - stand.rebuilt.double()
        for name, values in (("error", error), ("error squared", error.square()), ("centred squared", centred.square())):
            self.groups["all"].add(counted.weights, name, counted.by_window(values))

    def add_codes(self, counted: CountedTokens, codes: Codes) -> None:
        """Count which features fired."""
        assert self.d_sae is not None
        n, bins = len(counted.corpora), min(self.d_sae, _MAX_L0) + 1
        fired = torch.bincount(counted.window[codes.row] * self.d_sae + codes.feature, minlength=n * self.d_sae).view(n, -1).double().cpu()
        counts = torch.bincount(counted.window * bins + codes.l0.clamp_max(bins - 1), minlength=n * bins).view(n, -1).double().cpu()
        every = self.groups.setdefault("all", Sums())
        every.add(counted.weights if self.d_sae <= _MAX_RESAMPLED else counted.weights[:1], "fired", fired)
        every.add(counted.weights[:1], "windows", (fired > 0).double())
        every.add(counted.weights, "l0", counts)
        follows = (counted.window.diff() == 0) & (counted.pos.diff() == 1)
        columns = torch.cat([changes(codes, follows, start, stop) for start, stop in self.parts.values()], 1)
        every.add(counted.weights, "parts", counted.by_window(columns))

    def add_paired(self, counted: CountedTokens, stand: Stand, losses: Losses, which: int) -> None:
        """Count a batch in once more, among the windows that baselines were run on as well."""
        columns = stand.columns(self.centre.to(stand.x.device), losses, which, counted.has_next)
        self.groups.setdefault("paired", Sums()).add(counted.weights, "columns", counted.by_window(columns))

    def _add(self, group: str, counted: CountedTokens, columns: Tensor, centred: Tensor, inside: Tensor) -> None:
        sums, n = self.groups.setdefault(group, Sums()), len(counted.corpora)
        sums.add(counted.weights, "columns", by_window(columns[inside], counted.window[inside], n))
        resampled = group == "all" and self.d_sae is not None
        sums.add(counted.weights if resampled else counted.weights[:1], "centred", by_window(centred[inside], counted.window[inside], n))

    def of(self, group: str) -> dict[str, Float[Tensor, " resample"]]:
        """The sums of `COLUMNS` in a group, and ``variance``: ``Σ‖x − μ‖²`` around the group's own mean."""
        sums = self.groups[group]
        found = dict(zip(COLUMNS, sums["columns"].unbind(1), strict=True))
        if group != "paired":
            mean = sums["centred"] / found["n"][: len(sums["centred"]), None]
            found["variance"] = found["c2"] - found["n"] * mean.square().sum(1)
        return found

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Everything, for a file."""
        return {key: value for group, sums in self.groups.items() for key, value in sums.state(f"{prefix}|{group}").items()}

    def restore(self, prefix: str, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for group in {key.split("|")[1] for key in state if key.startswith(f"{prefix}|")}:
            self.groups.setdefault(group, Sums()).restore(f"{prefix}|{group}", state)


def fidelity(tally: Tally, group: str = "all") -> dict[str, Figure]:
    """The figures that every stand-in has."""
    s = tally.of(group)
    return {
        "tokens": Figure(float(s["n"][0])),
        "l0_mean": Figure.of(s["l0"] / s["n"]),
        "fvu": Figure.of(s["e2"] / s["variance"]),
        "cosine": Figure.of(s["cosine"] / s["n"]),
        "loss": Figure.of(s["loss"] / s["next"]),
        "clean_loss": Figure.of(s["clean"] / s["next"]),
        "delta_loss": Figure.of((s["loss"] - s["clean"]) / s["next"]),
        "kl": Figure.of(s["kl"] / s["n"]),
    }


def recovered(tally: Tally, baselines: Mapping[str, Tally], group: str = "all") -> dict[str, Figure]:
    """What is left of the damage that ablations do, on the same windows: ``(CE_A − CE_S)/(CE_A − CE_0)`` and ``(KL_A − KL_S)/KL_A``."""
    own, out = tally.of(group), {}
    for name in ("zero", "mean"):
        ablated = baselines[name].of("all")
        out[f"loss_recovered_{name}"] = Figure.of((ablated["loss"] - own["loss"]) / (ablated["loss"] - ablated["clean"]))
        out[f"kl_score_{name}"] = Figure.of((ablated["kl"] - own["kl"]) / ablated["kl"])
    return out


def core(tally: Tally, baselines: Mapping[str, Tally]) -> dict[str, Figure]:
    """All core figures of an SAE."""
    s, paired, noise = tally.of("all"), tally.of("paired"), baselines["noise"].of("all")
    out = fidelity(tally) | recovered(tally, baselines, "paired")
    for name in ("zero", "mean"):
        ablated = baselines[name].of("all")
        out[f"loss_{name}_ablated"] = Figure.of(ablated["loss"] / ablated["next"])
    # What these compare with: the same windows, which are fewer.
    out |= {"paired_loss": Figure.of(paired["loss"] / paired["next"]), "paired_clean_loss": Figure.of(paired["clean"] / paired["next"])}
    out |= {"paired_kl": Figure.of(paired["kl"] / paired["n"]), "paired_tokens": Figure(float(paired["n"][0]))}
    out["error_ratio"] = Figure.of((paired["loss"] - paired["clean"]) / (noise["loss"] - noise["clean"]))
    out |= _variants(tally, s)
    out |= {
        "mse": Figure.of(s["e2"] / s["n"]),
        "cosine_centred": Figure.of(s["cosine_centred"] / s["n"]),
        "norm_ratio": Figure.of(s["ratio"] / s["n"]),
        "reconstruction_bias": Figure.of(s["hat2"] / s["dot"]),
        "l1_mean": Figure.of(s["l1"] / s["n"]),
    }
    out["smoothness"] = part_figures(tally, "all")["smoothness"]
    counts = tally.groups["all"]["l0"].cumsum(1)
    for name, share in (("l0_p5", 0.05), ("l0_median", 0.5), ("l0_p95", 0.95)):
        out[name] = Figure.of((counts < share * counts[:, -1:]).sum(1).double())
    return out | _usage(tally, s["n"])


def changes(codes: Codes, follows: Bool[Tensor, " token_minus_one"], start: int, stop: int) -> Float[Tensor, "token 3"]:
    """Of each token, for features `start` to `stop`: how far their activations move until the next one, ``Σ|f_t+1 − f_t|``, what that can
    be at most, ``Σ(f_t+1 + f_t)``, both 0 where `follows` says that no next one follows it, and how many of them are active."""
    mine = (codes.feature >= start) & (codes.feature < stop)
    row, feature, value = codes.row[mine], codes.feature[mine], codes.value[mine].double()
    key = row * codes.d_sae + feature
    after = torch.searchsorted(key, key + codes.d_sae).clamp_max(max(0, len(key) - 1))
    stays = key[after] == key + codes.d_sae
    none = torch.zeros(len(codes), dtype=torch.float64, device=value.device)
    total, shared, active = (
        none.index_add(0, row[which], what)
        for which, what in (
            (slice(None), value),
            (stays, torch.minimum(value, value[after])[stays]),
            (slice(None), torch.ones_like(value)),
        )
    )
    both = torch.nn.functional.pad((total[1:] + total[:-1]) * follows, (0, 1))
    moved = both - 2 * torch.nn.functional.pad(shared[:-1] * follows, (0, 1))
    return torch.stack([moved, both, active], 1)


def part_figures(tally: Tally, name: str) -> dict[str, Figure]:
    """Of one part of an SAE's features: ``smoothness``, 0 where codes stay as they are from token to token and 1 where no feature stays
    on (arXiv 2511.05541), mean L0, and how many never fired."""
    sums, place = tally.groups["all"], 3 * list(tally.parts).index(name)
    moved, both, active = sums["parts"][:, place : place + 3].unbind(1)
    fired = sums["fired"][0, slice(*tally.parts[name])]
    return {
        "smoothness": Figure.of(moved / both),
        "l0_mean": Figure.of(active / tally.of("all")["n"]),
        "dead_share": Figure(float((fired == 0).double().mean())),
    }


def _variants(tally: Tally, s: Mapping[str, Tensor]) -> dict[str, Figure]:
    """Explained variance under its names."""
    sums, n = tally.groups["all"], s["n"][:, None]
    variance = sums["centred squared"] - sums["centred"].square() / n
    error = sums["error squared"]
    alive = variance[0] > 0
    order = variance[0].argsort(descending=True)
    out = {
        "ev": 1 - s["e2"] / s["variance"],
        "ev_legacy": s["legacy"] / s["n"],
        "ev_variance_ratio": 1 - (s["e2"] - (sums["error"].square() / n).sum(1)) / s["variance"],
        "ev_uncentred": 1 - s["e2"] / s["x2"],
        "ev_coordinates": (1 - error[:, alive] / variance[:, alive]).mean(1),
    }
    for k in (1, 5):
        out[f"ev_without_top_{k}"] = 1 - error[:, order[k:]].sum(1) / variance[:, order[k:]].sum(1)
    return {name: Figure.of(rows) for name, rows in out.items()}


def _usage(tally: Tally, n: Tensor) -> dict[str, Figure]:
    fired = tally.groups["all"]["fired"]
    density = fired / n[: len(fired), None]
    mass = density.sum(1)
    return {
        # No interval: which features never fired is a fact of this text, and more text can only lower it.
        "dead_share": Figure(float((fired[0] == 0).double().mean())),
        "alive_share": Figure(float((fired[0] > 0).double().mean())),
        "dense_share": Figure.of((density > _DENSE).double().mean(1)),
        "frequent_share": Figure.of((density > _FREQUENT).double().mean(1)),
        "dense_mass": Figure.of((density * (density > _DENSE)).sum(1) / mass),
        "frequent_mass": Figure.of((density * (density > _FREQUENT)).sum(1) / mass),
    }


def histogram(tally: Tally, low: float = -7.0, bins: int = 70) -> dict[str, object]:
    """How many features have which density, in equal steps of its decimal logarithm; those that never fired stand apart."""
    density = tally.groups["all"]["fired"][0] / tally.of("all")["n"][0]
    counts = torch.histc(density[density > 0].log10().clamp(low, 0), bins, low, 0)
    return {"log10_low": low, "log10_high": 0.0, "counts": counts.long().tolist(), "dead": int((density == 0).sum())}
