"""Training recovers planted directions, exports what it trained, and says what is wrong when something is."""

import math
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from hooke import kernels
from hooke.errors import BadConfig, HookeError, ShapeMismatch
from hooke.names import Site
from hooke.sae import Sae
from hooke.train import Progress, TrainConfig, train
from hooke.train.trainer import SaeTrainer, measure

pytestmark = pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning")
D, PLANTED, ACTIVE, BATCH = 32, 64, 3, 512
NAME, SITE = "toy/resid_post.0/64", Site(0, "resid_post")
CONFIG = TrainConfig(d_sae=PLANTED, l0=ACTIVE, steps=350, lr=5e-3, dead_after=20_000, aux_k=16)
SHORT = replace(CONFIG, steps=8)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Arrays as small as these give several threads nothing but each other to wait for."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def directions() -> torch.Tensor:
    """Unit rows, far apart: random ones pushed away from each other for a while."""
    rows = torch.nn.functional.normalize(torch.randn(PLANTED, D, generator=torch.Generator().manual_seed(5)), dim=1)
    for _ in range(200):
        push = (rows @ rows.T).fill_diagonal_(0).relu()
        rows = torch.nn.functional.normalize(rows - 0.1 * push @ rows, dim=1)
    return rows


TRUE = directions()


def acts(n: int, seed: int) -> torch.Tensor:
    """Sparse non-negative sums of the planted directions, moved away from zero and stretched as activations are."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, PLANTED, generator=generator).topk(ACTIVE).indices
    codes = torch.zeros(n, PLANTED).scatter_(1, chosen, 1 + torch.rand(n, ACTIVE, generator=generator))
    return 7 * codes @ TRUE + torch.linspace(-5, 20, D)


def stream(steps: int, sites: tuple[Site, ...] = (SITE,)):
    for step in range(steps):
        yield {site: acts(BATCH, 1000 * site.layer + step) for site in sites}


def run(configs: dict[str, TrainConfig], steps: int, sites: tuple[Site, ...] = (SITE,), report=lambda _: None) -> dict[str, Sae]:
    held = {site: acts(4000, 900_000 + site.layer) for site in sites}
    return train(configs, stream(steps, sites), held, held, model="toy", context=16, report=report)


@pytest.fixture(scope="module")
def trained() -> Sae:
    return run({NAME: CONFIG}, CONFIG.steps)[NAME]


def test_planted_directions_are_found(trained):
    cosine = (torch.nn.functional.normalize(trained.W_dec, dim=1) @ TRUE.T).amax(0)
    assert float(cosine.mean()) >= 0.9


def test_l0_is_the_wanted_one_on_text_not_seen(trained):
    found = measure(trained, acts(4000, 77))
    assert abs(found["l0"] - ACTIVE) / ACTIVE < 0.05
    assert found["fvu"] < 0.1
    assert trained.facts.metrics["l0"] == pytest.approx(ACTIVE, rel=1e-3)
    assert trained.facts.metrics["fvu"] == pytest.approx(found["fvu"], rel=0.2)


def test_facts_say_how_it_was_made(trained):
    assert (trained.name, trained.facts.model, trained.facts.context, trained.facts.activation) == (NAME, "toy", 16, "jumprelu")
    assert trained.facts.training["steps"] == CONFIG.steps
    assert trained.facts.training["l0"] == CONFIG.l0


def test_decoder_rows_have_length_one(trained):
    assert float((trained.W_dec.norm(dim=1) - 1).abs().max()) < 1e-6


def test_folding_gives_the_arithmetic_of_training():
    trainer = SaeTrainer(NAME, SHORT, acts(2000, 3))
    for batch in stream(SHORT.steps):
        trainer.step(batch[SITE])
    sae = trainer.finish(acts(2000, 4), model="toy", context=16)
    raw = acts(300, 5)
    x = (raw - trainer.mean) / trainer.scale
    W_enc, W_dec = torch.from_numpy(trainer.W_enc), torch.from_numpy(trainer.W_dec)
    pre = x @ W_enc.T + torch.from_numpy(trainer.b_enc)
    threshold = sae.threshold / trainer.scale
    codes = pre * (pre > threshold)
    near = ((pre - threshold).abs() < 1e-4).any(1)  # rounding may carry these over the threshold
    assert float(near.float().mean()) < 0.1
    torch.testing.assert_close(sae.encode(raw).dense()[~near], trainer.scale * codes[~near], atol=2e-3, rtol=1e-4)
    back = trainer.scale * (codes @ W_dec + torch.from_numpy(trainer.b_dec)) + trainer.mean
    torch.testing.assert_close(sae.reconstruct(raw)[~near], back[~near], atol=2e-3, rtol=1e-4)


def test_a_step_keeps_exactly_l0_entries_a_token(monkeypatch):
    kept, real = [], kernels.batch_topk

    def counted(*arguments):
        found = real(*arguments)
        kept.append(len(found[1]))
        return found

    monkeypatch.setattr(kernels, "batch_topk", counted)
    run({NAME: SHORT}, SHORT.steps)
    assert kept == [ACTIVE * BATCH] * SHORT.steps


@pytest.mark.parametrize("weight", [0.0, 1 / 32])
def test_dead_features_learn_through_the_auxiliary_loss_only(weight):
    config = replace(SHORT, dead_after=1, aux_weight=weight)
    trainer = SaeTrainer(NAME, config, acts(2000, 3))
    dead = np.arange(8)
    trainer.b_enc[dead] = -0.5  # far too low to be among the batch's largest, high enough to be positive somewhere
    trainer.W_enc[dead] *= 0.2
    trainer._silent[dead] = 100
    before, encoder, decoder = trainer.b_enc[dead].copy(), trainer.W_enc[dead].copy(), trainer.W_dec[dead].copy()
    trainer.b_enc[dead] = before = np.full(8, 0.01, np.float32)
    trainer.step(acts(BATCH, 1))
    moved = [np.abs(new[dead] - old).max(-1) for new, old in ((trainer.W_enc, encoder), (trainer.W_dec, decoder))]
    if weight:
        assert (moved[0] > 0).all()
        assert (moved[1] > 0).all()
    else:
        assert max(map(np.max, moved)) < 1e-6
        np.testing.assert_array_equal(trainer.b_enc[dead], before)


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
    assert torch.equal(both[short].W_dec, run({short: replace(SHORT, steps=5)}, 5)[short].W_dec)


def test_progress_is_reported():
    heard: list[Progress] = []
    run({NAME: replace(SHORT, steps=60)}, 60, report=heard.append)
    assert [p.step for p in heard] == [50, 60]
    assert heard[-1].tokens == 60 * BATCH
    assert 0 < heard[-1].fvu[NAME] < 1
    assert heard[-1].dead == {NAME: 0}


def test_a_stream_that_ends_early_is_an_error():
    with pytest.raises(HookeError, match="ended after 3 of 8 steps"):
        run({NAME: SHORT}, 3)


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(HookeError, match=rf"{NAME}: the loss is no longer finite.*Lower lr"):
        train(
            {NAME: SHORT},
            [{SITE: torch.full((BATCH, D), math.nan)}] * 12,
            {SITE: acts(50, 1)},
            {SITE: acts(50, 1)},
            model="toy",
            context=16,
        )


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
