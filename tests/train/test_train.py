"""Training recovers planted directions, exports what it trained, and says what is wrong when something is."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from hooke.errors import BadConfig, HookeError, ShapeMismatch, UnknownName
from hooke.kernels import cpu
from hooke.names import Site
from hooke.sae import Sae
from hooke.train import Hooks, InMemory, Progress, TrainConfig, train
from hooke.train.export import export, measure
from hooke.train.trainer import SaeTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
D, PLANTED, ACTIVE, BATCH = 32, 64, 3, 512
NAME, SITE = "toy/resid_post.0/64", Site(0, "resid_post")
CONFIG = TrainConfig(d_sae=PLANTED, l0=ACTIVE, steps=350, lr=5e-3, dead_after=20_000, aux_k=16)
SHORT = replace(CONFIG, steps=8)


def directions() -> torch.Tensor:
    """Unit rows, far apart: random ones pushed away from each other for a while."""
    rows = torch.nn.functional.normalize(torch.randn(PLANTED, D, generator=torch.Generator().manual_seed(5)), dim=1)
    for _ in range(200):
        add_grad = (rows @ rows.T).fill_diagonal_(0).relu()
        rows = torch.nn.functional.normalize(rows - 0.1 * add_grad @ rows, dim=1)
    return rows


TRUE = directions()


def acts(n: int, seed: int) -> torch.Tensor:
    """Sparse non-negative sums of the planted directions, moved away from zero and stretched as activations are."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, PLANTED, generator=generator).topk(ACTIVE).indices
    codes = torch.zeros(n, PLANTED).scatter_(1, chosen, 1 + torch.rand(n, ACTIVE, generator=generator))
    return 7 * codes @ TRUE + torch.linspace(-5, 20, D)


@dataclass(frozen=True)
class Drawn:
    acts: dict[Site, torch.Tensor]
    position: dict[str, int]


class Made:
    """A stream of `steps` batches, each made from its number."""

    device = "cpu"
    pairs = 0

    def __init__(self, steps: int, sites: tuple[Site, ...] = (SITE,)) -> None:
        self.steps, self.sites = steps, sites

    def batches(self, position=None):
        for step in range(position["step"] if position else 0, self.steps):
            yield Drawn({site: acts(BATCH, 1000 * site.layer + step) for site in self.sites}, {"step": step + 1})


def run(configs: dict[str, TrainConfig], steps: int, sites: tuple[Site, ...] = (SITE,), report=lambda _: ()) -> dict[str, Sae]:
    held = {site: acts(4000, 900_000 + site.layer) for site in sites}
    return train(configs, Made(steps, sites), held, model="toy", context=16, hooks=Hooks(report=report))


KINDS = {
    "batchtopk": {},
    "topk": {},
    "jumprelu": {},
    "jumprelu-step": {},
    "jumprelu-tanh": {"steps": 500, "lr": 1e-2},
    "gated": {"steps": 1000, "lr": 1e-2},
    "relu": {"steps": 1000},
    "nested": {"prefixes": (32,)},
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request) -> Sae:
    config = replace(CONFIG, architecture="batchtopk" if request.param == "nested" else request.param, **KINDS[request.param])
    return run({NAME: config}, config.steps)[NAME]


def test_planted_directions_are_found(trained):
    cosine = (torch.nn.functional.normalize(trained.W_dec, dim=1) @ TRUE.T).amax(0)
    assert float(cosine.mean()) >= 0.9


def test_l0_is_the_wanted_one_on_text_not_seen(trained):
    found = measure(trained, acts(4000, 77))
    assert abs(found["l0"] - ACTIVE) / ACTIVE < 0.05
    assert found["fvu"] < 0.2
    assert trained.facts.metrics["l0"] == pytest.approx(ACTIVE, rel=0.05)
    assert trained.facts.metrics["fvu"] == pytest.approx(found["fvu"], rel=0.2)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_coordinates_are_brought_to_one_scale_as_far_as_asked(power):
    spread = torch.logspace(-1, 2, D)
    raw = {SITE: torch.randn(4096, D, generator=torch.Generator().manual_seed(1)) * spread + 7}
    raw[SITE][:, 5] = 3.0  # never varies
    trainer = SaeTrainer(NAME, replace(SHORT, balance=power).resolved(BATCH), raw)
    found = trainer.normalised(raw, trainer.reads)
    assert found.mean(0).abs().max() < 1e-3
    assert float(found.square().mean()) == pytest.approx(1, rel=1e-3)
    live = torch.arange(D) != 5
    wanted = raw[SITE].std(0)[live] ** (1 - power)
    assert torch.allclose(found.std(0)[live] / found.std(0)[0], wanted / wanted[0], rtol=1e-3)


def test_a_balanced_sae_rebuilds_what_has_small_spread():
    """Half of the planted directions live in coordinates a hundred times smaller than the others': only a balanced SAE sees them."""
    small = torch.where(torch.arange(D) % 2 == 0, 1.0, 0.01)
    chosen = {name: Made(SHORT.steps) for name in ("plain", "balanced")}
    r2 = {}
    for name, power in (("plain", 0.0), ("balanced", 1.0)):
        stream = chosen[name]
        make = stream.batches

        def batches(position=None, make=make):
            return (replace(batch, acts={SITE: batch.acts[SITE] * small}) for batch in make(position))

        stream.batches = batches
        stream.steps = 200
        config = replace(CONFIG, steps=200, balance=power)
        held = acts(2048, 99) * small
        sae = train({NAME: config}, stream, {SITE: held}, model="toy", context=16)[NAME]
        error = (sae.reconstruct(held) - held).square().sum(0) / (held - held.mean(0)).square().sum(0)
        r2[name] = 1 - float(error[small < 1].mean())
    assert r2["balanced"] > 0.9
    assert r2["plain"] < r2["balanced"] - 0.2


def test_facts_say_how_it_was_made(trained, request):
    training, own = trained.facts.training, KINDS[request.node.callspec.params["trained"]]
    assert (trained.name, trained.facts.model, trained.facts.context) == (NAME, "toy", 16)
    assert trained.facts.activation == ("topk" if training["architecture"] == "topk" else "jumprelu")
    assert training["l0"] == CONFIG.l0
    assert training["lr"] == own.get("lr", CONFIG.lr)


def test_decoder_rows_have_length_one(trained):
    lengths = trained.W_dec.norm(dim=1)
    if trained.facts.activation == "topk":  # of one scale, so that values keep their order
        lengths = lengths.square().mean().sqrt()
    assert float((lengths - 1).abs().max()) < 1e-5


FORMS = {
    "batchtopk": {},
    "jumprelu": {},
    "gated": {},
    "relu": {},
    "transcoder": {"writes": ("mlp_out.0",), "skip": True},
    "crosscoder": {"reads": ("resid_post.0", "resid_post.1")},
}


@pytest.mark.parametrize("form", FORMS)
def test_folding_gives_the_arithmetic_of_training(form):
    """Of a gated SAE too: its export is a JumpReLU one. The thresholds are put back to those of training."""
    architecture = form if "coder" not in form else "batchtopk"
    config = replace(SHORT, architecture=architecture, **FORMS[form]).resolved(BATCH)
    sites = (SITE, Site(1, "resid_post"), Site(0, "mlp_out"))
    trainer = SaeTrainer(NAME, config, {site: acts(2000, 3 + site.layer) for site in sites})
    for batch in Made(SHORT.steps, sites).batches():
        trainer.step(batch.acts)
    if form == "gated":
        trainer.b_mag.add_(0.3)
    raw = {site: 2 * acts(300, 5 + site.layer) for site in sites}
    sae = export(trainer, {site: acts(2000, 7 + site.layer) for site in sites}, model="toy", context=16)

    x = trainer.normalised(raw, trainer.reads)
    blocks = len(trainer.reads)
    pre = torch.cat([part @ W.T for part, W in zip(x.chunk(blocks, 1), trainer.W_enc.chunk(blocks), strict=True)], 1)
    if form == "gated":
        codes = (pre + trainer.b_enc > 0) * (trainer.r_mag.exp() * pre + trainer.b_mag).relu()
    else:
        pre = pre + trainer.b_enc
        codes = pre * (pre > (trainer.threshold if form == "jumprelu" else 0))
    y = codes @ trainer.W_dec + trainer.b_dec + (x @ trainer.W_skip if config.skip else 0)
    mean, scale = zip(*(trainer.moments[site] for site in trainer.writes), strict=True)
    wanted = torch.cat([part * s + m for part, m, s in zip(y.chunk(len(mean), 1), mean, scale, strict=True)], 1)

    norms = (trainer.W_dec * torch.cat(scale)).norm(dim=1)
    threshold = torch.zeros(config.d_sae)
    if form == "jumprelu":
        threshold = norms * trainer.threshold
    if form == "gated":
        threshold = norms * (trainer.b_mag - trainer.r_mag.exp() * trainer.b_enc).clamp_min(0)
    open_sae = replace(sae, threshold=threshold)
    found = open_sae.reconstruct(torch.cat([raw[site] for site in trainer.reads], 1))
    off = (found - wanted).abs().amax(1) > 1e-3 * float(wanted.abs().max())
    assert float(off.float().mean()) < 0.05  # rounding carries a few pre-activations over their threshold


def test_topk_chooses_at_inference_what_it_chose_in_training():
    """Coordinates of very different spread stretch features differently; the order of their values must not change."""
    spread = torch.logspace(-2, 2, D)
    raw = {SITE: acts(2048, 3) * spread}
    trainer = SaeTrainer(NAME, replace(SHORT, architecture="topk").resolved(BATCH), raw)
    sae = export(trainer, raw, model="toy", context=16)
    pre = trainer.normalised(raw, trainer.reads) @ trainer.W_enc.T + trainer.b_enc
    wanted = pre.topk(ACTIVE).indices.sort().values
    found = sae.encode(raw[SITE]).feature.reshape(len(pre), -1)
    assert float((found == wanted).all(1).float().mean()) > 0.99


TOPICS = 12


def told(texts: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of 8 tokens: one of 12 directions runs through all of a text, three of 52 are new with every token and stronger."""
    generator = torch.Generator().manual_seed(seed)
    topic = torch.randint(TOPICS, (texts, 1), generator=generator).expand(-1, 8).reshape(-1, 1)
    chosen = torch.cat([topic, TOPICS + torch.rand(8 * texts, PLANTED - TOPICS, generator=generator).topk(3).indices], 1)
    values = 1 + torch.rand(8 * texts, 4, generator=generator) + torch.tensor([0.0, 1, 1, 1])
    return torch.zeros(8 * texts, PLANTED).scatter_(1, chosen, values) @ TRUE, torch.arange(texts).repeat_interleave(8)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_what_persists_is_found_by_the_group_about_and_by_the_contrast_alone(weight):
    rows, text = told(4000, 1)
    config = replace(CONFIG, l0=4, steps=400, about=float(TOPICS), contrast=weight)
    source = InMemory({SITE: rows}, BATCH, pairs=3, text=text)
    sae = train({NAME: config}, source, {SITE: told(500, 2)[0]}, model="toy", context=16)[NAME]
    assert sae.facts.groups == {"about": [0, TOPICS], "word": [TOPICS, PLANTED]}
    cosine = torch.nn.functional.normalize(sae.W_dec[:TOPICS], dim=1) @ TRUE[:TOPICS].T
    found = float(cosine.amax(0).mean())
    assert found > 0.65 if weight else found < 0.3
    assert sae.facts.metrics["fvu"] < 0.3


def test_a_temporal_sae_needs_a_stream_of_pairs():
    with pytest.raises(BadConfig, match=f"{NAME} is temporal .about. and learns from pairs of tokens, which this stream lacks"):
        run({NAME: replace(SHORT, about=0.25)}, SHORT.steps)


def test_groups_without_contrast_need_no_pairs_and_are_nested_dictionaries():
    half = SHORT.d_sae // 2
    saes = run({NAME: replace(SHORT, about=float(half), contrast=0.0)}, SHORT.steps)
    nested = run({NAME: replace(SHORT, prefixes=(half,))}, SHORT.steps)
    assert saes[NAME].facts.groups["about"] == [0, half]
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        assert torch.equal(getattr(saes[NAME], name), getattr(nested[NAME], name))


@pytest.mark.parametrize("frozen", ["decoder", "encoder", "soft-decoder", None])
def test_what_is_frozen_stays_as_it_was_drawn(frozen):
    trainer = SaeTrainer(NAME, replace(SHORT, frozen=frozen, lr=0.05).resolved(BATCH), {SITE: acts(2000, 3)})
    before = {name: parameter.value.clone() for name, parameter in trainer.parameters.items()}
    for batch in Made(SHORT.steps).batches():
        trainer.step(batch.acts)
    moved = {name: not torch.equal(before[name], parameter.value) for name, parameter in trainer.parameters.items()}
    assert moved == {"W_dec": frozen != "decoder", "W_enc": frozen != "encoder", "b_enc": True, "b_dec": True}
    cosine = (before["W_dec"] * torch.nn.functional.normalize(trainer.W_dec, dim=1)).sum(1)
    lowest = {"decoder": 1.0, "soft-decoder": 0.8}.get(frozen, -1.0)
    assert float(cosine.min()) >= lowest - 1e-5
    if frozen == "soft-decoder":
        assert float(cosine.min()) < 0.801  # some row has gone as far as it may
        assert float((trainer.W_dec.norm(dim=1) - 1).abs().max()) < 1e-5
    if frozen is None:
        assert float(cosine.min()) < 0.8


def test_unknown_settings_and_values_are_named():
    with pytest.raises(UnknownName, match=r"'d_sea'.*Did you mean 'd_sae'"):
        TrainConfig.parse({"d_sea": 5})
    with pytest.raises(BadConfig, match="l0='many'"):
        TrainConfig.parse({"l0": "many"})
    with pytest.raises(UnknownName, match=r"'batchtop'.*'batchtopk'"):
        TrainConfig.parse({"architecture": "batchtop"})
    assert TrainConfig.parse({"lr": 1.0, "prefixes": [4, 8]}).prefixes == (4, 8)


def test_a_step_keeps_exactly_l0_entries_a_token(monkeypatch):
    kept, real = [], cpu.largest

    def counted(*arguments):
        found = real(*arguments)
        if len(arguments[0]) == BATCH:  # a look at a few tokens comes before the first step
            kept.append(len(found[0].feature))
        return found

    monkeypatch.setattr(cpu, "largest", counted)
    run({NAME: SHORT}, SHORT.steps)
    assert kept == [ACTIVE * BATCH] * SHORT.steps


@pytest.mark.parametrize("weight", [0.0, 1 / 32])
def test_dead_features_learn_through_the_auxiliary_loss_only(weight):
    config = replace(SHORT, dead_after=1, aux_weight=weight).resolved(BATCH)
    trainer = SaeTrainer(NAME, config, {SITE: acts(2000, 3)})
    dead = torch.arange(8)
    trainer.W_enc[dead] *= 0.2
    trainer.b_enc[dead] = 0.01  # far too low to be among the batch's largest, high enough to be positive somewhere
    trainer._silent[dead] = 100
    before, encoder, decoder = trainer.b_enc[dead].clone(), trainer.W_enc[dead].clone(), trainer.W_dec[dead].clone()
    trainer.step({SITE: acts(BATCH, 1)})
    moved = [(new[dead] - old).abs().amax(-1) for new, old in ((trainer.W_enc, encoder), (trainer.W_dec, decoder))]
    if weight:
        assert float(torch.stack(moved).min()) > 0
    else:
        assert float(torch.stack(moved).max()) < 1e-6
        assert torch.equal(trainer.b_enc[dead], before)


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    for number, seed in enumerate((1, 1, 2)):
        run({NAME: replace(SHORT, seed=seed)}, SHORT.steps)[NAME].save(tmp_path / str(number))
    first, second, third = ((tmp_path / str(number)).read_bytes() for number in range(3))
    assert first == second
    assert first != third


def test_saes_side_by_side_equal_each_alone():
    sites = (SITE, Site(1, "resid_post"))
    configs = {"toy/resid_post.0/a": SHORT, "toy/resid_post.0/b": replace(SHORT, d_sae=40, seed=3), "toy/resid_post.1/c": SHORT}
    together = run(configs, SHORT.steps, sites)
    assert list(together) == list(configs)
    for name, config in configs.items():
        alone = run({name: config}, SHORT.steps, sites)[name]
        for part in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"):
            assert torch.equal(getattr(alone, part), getattr(together[name], part)), (name, part)
        assert alone.facts == together[name].facts


def test_a_shorter_run_beside_a_longer_one_stops_at_its_own_end():
    long, short = "toy/resid_post.0/long", "toy/resid_post.0/short"
    both = run({long: SHORT, short: replace(SHORT, steps=5)}, SHORT.steps)
    assert torch.equal(both[short].W_dec, run({short: replace(SHORT, steps=5)}, SHORT.steps)[short].W_dec)


def test_progress_is_reported():
    heard: list[Progress] = []
    run({NAME: replace(SHORT, steps=60)}, 60, report=lambda progress: heard.append(progress) or ())
    assert [p.step for p in heard] == list(range(1, 61))
    assert heard[-1].tokens == 60 * BATCH
    assert 0 < heard[-1].saes[NAME]["fvu"] < 1
    assert heard[-1].saes[NAME]["dead"] == 0
    assert heard[-1].saes[NAME]["l0"] == ACTIVE


def test_a_stream_that_ends_early_is_an_error():
    with pytest.raises(HookeError, match="ended after 3 of 8 steps"):
        run({NAME: SHORT}, 3)


def test_activations_that_are_not_finite_are_an_error():
    class Bad(Made):
        def batches(self, position=None):
            for number, drawn in enumerate(super().batches(position)):
                yield Drawn({SITE: torch.full((BATCH, D), math.nan)}, {}) if number == 5 else drawn

    with pytest.raises(HookeError, match=r"activations at resid_post.0 hold values that are not finite"):
        train({NAME: replace(SHORT, steps=40)}, Bad(40), {SITE: acts(500, 1)}, model="toy", context=16)


def test_a_loss_that_grows_without_end_is_an_error():
    with pytest.raises(HookeError, match=rf"{NAME}: the loss is no longer finite.*Lower lr"):
        run({NAME: replace(SHORT, steps=60, lr=1e30, architecture="relu")}, 60)


def test_a_site_that_is_not_there_is_named():
    with pytest.raises(ShapeMismatch, match=r"resid_post\.7.*resid_post\.0"):
        run({"toy/resid_post.7/x": SHORT}, 12)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d_sae", 0),
        ("l0", 0),
        ("l0", 65),
        ("steps", 0),
        ("lr", math.nan),
        ("lr", -1.0),
        ("warmup", -0.1),
        ("decay", math.inf),
        ("aux_weight", -1.0),
        ("aux_k", 0),
        ("dead_after", 0),
    ],
)
def test_a_setting_that_cannot_be_is_named(field, value):
    with pytest.raises(BadConfig, match=rf"{field}={value}"):
        replace(CONFIG, **{field: value})


def test_learning_rate_rises_stays_and_falls():
    config = TrainConfig(steps=100, lr=1.0, warmup=0.1, decay=0.3)
    rates = [config.lr_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:70] == pytest.approx([1.0] * 60)
    assert rates[-1] == pytest.approx(1 / 30)
    assert rates[70:] == sorted(rates[70:], reverse=True)
