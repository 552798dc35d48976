"""Every figure against its formula on all tokens at once, by brute force, on generated data in several batches."""

import pytest
import torch

from hooke.codes import Codes
from hooke.evals.sums import resampling
from hooke.evals.tally import CountedTokens, Stand, Tally, core, fidelity, histogram, part_figures, recovered
from hooke.model.partial import Losses

D, M, SIZES = 12, 30, (4, 3, 5)
CORPORA = ("news", "books", "news", "books")
PARTS = {"about": [0, 7], "word": [7, M]}


def batches(seed: int):
    """Batches of tokens of unequal windows: place, stand-in, codes, losses of the SAE and of each baseline."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    number = 0
    for size in SIZES:
        lengths = torch.randint(5, 40, (size,), generator=generator)
        window = torch.repeat_interleave(torch.arange(size), lengths)
        pos = torch.cat([torch.arange(1, n + 1) for n in lengths.tolist()])
        n = len(window)
        x = (3 * torch.ones(D) + normal(n, D) * torch.linspace(0.2, 9, D)).float()
        rebuilt = (0.8 * x + 0.3 * normal(n, D)).float()
        dense = (normal(n, M) - torch.linspace(0, 4, M)).clamp_min(0).float()
        dense[:, -2:] = 0
        codes = Codes.from_dense(dense)
        has_next = (pos != lengths[window]).double()
        clean = normal(n).abs() * has_next
        losses = [clean + normal(n).abs() * has_next for _ in range(4)]
        kl = [normal(n).abs() for _ in range(4)]
        place = CountedTokens(window, pos, resampling(range(number, number + size), 0), [CORPORA[i % 4] for i in range(size)], has_next)
        number += size
        yield place, Stand(x, rebuilt, codes.l0, dense.double().sum(1).float()), codes, Losses(clean, losses, kl)


def counted(seed=0, centre=None):
    centre = torch.full((D,), 2.5, dtype=torch.float64) if centre is None else centre
    tally, beside = Tally(centre, M, PARTS), {name: Tally(centre) for name in ("zero", "mean", "noise")}
    for place, stand, codes, losses in batches(seed):
        tally.add_codes(place, codes)
        tally.add(place, stand, losses, 0)
        tally.add_paired(place, stand, losses, 0)
        for i, other in enumerate(beside.values(), 1):
            other.add(place, stand, losses, i)
    return tally, beside


def at_once(seed=0):
    parts = list(batches(seed))
    whole = {
        "x": torch.cat([p[1].x for p in parts]).double(),
        "hat": torch.cat([p[1].rebuilt for p in parts]).double(),
        "dense": torch.cat([p[2].dense() for p in parts]).double(),
        "next": torch.cat([p[0].has_next for p in parts]),
        "pos": torch.cat([p[0].pos for p in parts]),
        "clean": torch.cat([p[3].clean for p in parts]),
        "corpus": [p[0].corpora[i] for p in parts for i in p[0].window.tolist()],
    }
    for i in range(4):
        whole[f"ce{i}"] = torch.cat([p[3].cross_entropy[i] for p in parts])
        whole[f"kl{i}"] = torch.cat([p[3].kl[i] for p in parts])
    whole["legacy"] = torch.cat([_legacy(p[1]) for p in parts])
    return whole


def _legacy(stand):
    x, hat = stand.x.double(), stand.rebuilt.double()
    return 1 - (x - hat).square().sum(1) / (x - x.mean(0)).square().sum(1)


def naive(w):
    x, hat, f = w["x"], w["hat"], w["dense"]
    e, mean, n, m = x - hat, x.mean(0), len(x), w["next"].sum()
    var, err = (x - mean).square().sum(0), e.square().sum(0)
    order = var.argsort(descending=True)
    density = (f > 0).double().mean(0)
    delta = (w["ce0"] - w["clean"]).sum()
    l0 = (f > 0).sum(1).double()
    out = {
        "tokens": n,
        "fvu": err.sum() / var.sum(),
        "ev": 1 - err.sum() / var.sum(),
        "ev_legacy": w["legacy"].mean(),
        "ev_variance_ratio": 1 - e.var(0).sum() / x.var(0).sum(),
        "ev_uncentred": 1 - err.sum() / x.square().sum(),
        "ev_coordinates": (1 - err / var).mean(),
        "ev_without_top_1": 1 - err[order[1:]].sum() / var[order[1:]].sum(),
        "ev_without_top_5": 1 - err[order[5:]].sum() / var[order[5:]].sum(),
        "mse": e.square().sum(1).mean(),
        "cosine": torch.cosine_similarity(x, hat).mean(),
        "norm_ratio": (hat.norm(dim=1) / x.norm(dim=1)).mean(),
        "reconstruction_bias": hat.square().sum(1).mean() / (x * hat).sum(1).mean(),
        "loss": w["ce0"].sum() / m,
        "clean_loss": w["clean"].sum() / m,
        "delta_loss": delta / m,
        "kl": w["kl0"].mean(),
        "loss_recovered_zero": (w["ce1"] - w["ce0"]).sum() / (w["ce1"] - w["clean"]).sum(),
        "loss_recovered_mean": (w["ce2"] - w["ce0"]).sum() / (w["ce2"] - w["clean"]).sum(),
        "kl_score_mean": 1 - w["kl0"].mean() / w["kl2"].mean(),
        "error_ratio": delta / (w["ce3"] - w["clean"]).sum(),
        "l0_mean": l0.mean(),
        "l1_mean": f.sum(1).mean(),
        "dead_share": (density == 0).double().mean(),
        "dense_share": (density > 0.1).double().mean(),
        "frequent_share": (density > 0.01).double().mean(),
        "dense_mass": density[density > 0.1].sum() / density.sum(),
    }
    for name, share in (("l0_p5", 0.05), ("l0_median", 0.5), ("l0_p95", 0.95)):
        out[name] = torch.quantile(l0, share, interpolation="higher")
    return {name: float(value) for name, value in out.items()}


def test_every_figure_is_its_formula():
    tally, beside = counted()
    found, expected = core(tally, beside), naive(at_once())
    for name, value in expected.items():
        slack = {"rel": 1e-6} if name == "l1_mean" else {"rel": 1e-9, "abs": 1 if name.startswith("l0_p") else 1e-9}
        assert found[name].value == pytest.approx(value, **slack), name
        if found[name].low is not None and name != "tokens":
            assert found[name].low <= found[name].value + 1e-9, name
            assert found[name].high >= found[name].value - 1e-9, name


def test_nothing_depends_on_what_is_subtracted():
    near, far = (core(*counted(centre=torch.full((D,), c, dtype=torch.float64))) for c in (3.0, -40.0))
    for name in near.keys() - {"cosine_centred"}:
        assert near[name].value == pytest.approx(far[name].value, rel=1e-8), name
        assert near[name].low == pytest.approx(far[name].low, rel=1e-6) if near[name].low is not None else far[name].low is None


def test_groups_are_what_their_tokens_give_alone():
    tally, _ = counted()
    w = at_once()
    for group, inside in {
        "corpus news": torch.tensor([corpus == "news" for corpus in w["corpus"]]),
        "corpus books": torch.tensor([corpus == "books" for corpus in w["corpus"]]),
        "position 0": w["pos"] == 1,
        "position 3": (w["pos"] >= 8) & (w["pos"] <= 15),
    }.items():
        part = {name: value[inside] for name, value in w.items() if isinstance(value, torch.Tensor)}
        expected, found = naive(part), fidelity(tally, group)
        for name in found.keys() - {"l0_mean"}:
            assert found[name].value == pytest.approx(expected[name], rel=1e-9), (group, name)


def test_intervals_are_those_of_a_bootstrap_of_windows():
    tally, beside = counted()
    figure = core(tally, beside)["fvu"]
    per_window = []
    for place, stand, _, _ in batches(0):
        for i in range(len(place.corpora)):
            own = place.window == i
            x = stand.x[own].double()
            e2 = (x - stand.rebuilt[own].double()).square().sum()
            per_window.append((e2, x.square().sum(), x.sum(0), len(x)))
    weights = resampling(range(sum(SIZES)), 0)[1:]
    values = []
    for row in weights:
        e2, x2, total, n = (sum(w * part[k] for w, part in zip(row, per_window, strict=True)) for k in range(4))
        values.append(float(e2 / (x2 - total.square().sum() / n)))
    low, high = torch.tensor(values).quantile(torch.tensor([0.025, 0.975])).tolist()
    assert (figure.low, figure.high) == (pytest.approx(low, rel=1e-4), pytest.approx(high, rel=1e-4))


def test_density_histogram_counts_every_feature_once():
    found = histogram(counted()[0])
    assert sum(found["counts"]) + found["dead"] == M
    assert found["dead"] >= 2


def test_an_ablation_has_recovered_nothing():
    _, beside = counted()
    assert recovered(beside["mean"], beside)["loss_recovered_mean"].to_json() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert recovered(beside["zero"], beside)["kl_score_zero"].value == 0


def test_a_tally_comes_back_from_its_state():
    tally, beside = counted()
    other = Tally(tally.centre, M)
    other.restore("x", tally.state("x"))
    assert {k: v.to_json() for k, v in core(other, beside).items()} == {k: v.to_json() for k, v in core(tally, beside).items()}


@pytest.mark.parametrize("name", ["all", *PARTS])
def test_parts_of_the_features_by_brute_force(name):
    tally, _ = counted()
    w, (start, stop) = at_once(), PARTS.get(name, (0, M))
    f, moved, both = w["dense"][:, start:stop], 0.0, 0.0
    for now, then, pos, before in zip(f[1:], f[:-1], w["pos"][1:], w["pos"][:-1], strict=True):
        if pos == before + 1:
            moved, both = moved + (now - then).abs().sum(), both + (now + then).sum()
    found = part_figures(tally, name)
    assert found["smoothness"].value == pytest.approx(float(moved / both), rel=1e-9)
    assert found["smoothness"].low < found["smoothness"].value < found["smoothness"].high
    assert found["l0_mean"].value == pytest.approx(float((f > 0).sum(1).double().mean()))
    assert found["dead_share"].value == pytest.approx(float((f.sum(0) == 0).double().mean()))


def test_codes_that_stay_are_smooth_and_codes_that_never_do_are_not():
    stays, leaps = torch.tensor([[1.0, 0, 2, 0]] * 6), torch.eye(6)
    for dense, wanted in ((stays, 0.0), (leaps, 1.0)):
        tally = Tally(torch.zeros(2, dtype=torch.float64), dense.shape[1])
        place = CountedTokens(torch.zeros(6, dtype=torch.int64), torch.arange(6), resampling([0], 0), ["news"], torch.ones(6))
        tally.add_codes(place, Codes.from_dense(dense))
        moved, both, _ = tally.groups["all"]["parts"][0]
        assert moved / both == wanted
