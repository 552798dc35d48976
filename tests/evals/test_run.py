"""What a run finds where every answer is known; that breaking off changes nothing; what is refused."""

from dataclasses import replace

import pytest
import torch
from evals import reading

from hooke import tiny
from hooke.errors import BadConfig, BadFile, HookeError, ShapeMismatch
from hooke.evals import EvalConfig, evaluate
from hooke.evals.baselines import Calibration, noise, pca, sparse_noise
from hooke.evals.run import identity, padded
from hooke.names import Site
from hooke.sae import Sae

SMALL = EvalConfig(tokens=400, suites=("core",), calibration_tokens=200, batch_tokens=128)


@pytest.fixture(scope="module")
def text(model):
    return reading.windows(model, 80)


def calibrated_mean(model, text, site="resid_post.0"):
    """The mean over the windows in front, which baselines are fitted on."""
    n, front = 0, []
    while n < SMALL.in_front:
        front.append(text[len(front)])
        n += len(front[-1].ids) - 1
    ids, keep = padded(model, front)
    return model.capture(ids, [Site.parse(site)])[Site.parse(site)][keep].double().mean(0)


def value(figures, name):
    return figures[name]["value"]


def test_the_identity_costs_nothing(model, text):
    row = evaluate(model, [reading.identity()], text, SMALL).result["saes"][0]
    core = row["core"]
    assert (value(core, "delta_loss"), value(core, "kl"), value(core, "fvu")) == (0, 0, 0)
    assert value(core, "loss_recovered_zero") == value(core, "loss_recovered_mean") == 1
    assert value(core, "l0_mean") == tiny.D_MODEL
    assert value(core, "cosine") == pytest.approx(1)
    assert (value(core, "norm_ratio"), value(core, "reconstruction_bias")) == (pytest.approx(1), pytest.approx(1))
    assert value(row["baselines"]["identity"], "delta_loss") == value(row["baselines"]["identity"], "kl") == 0
    assert value(row["baselines"]["pca"], "fvu") == pytest.approx(0, abs=1e-9)  # as many components as there are dimensions


def test_the_mean_recovers_nothing(model, text):
    row = evaluate(model, [reading.constant(calibrated_mean(model, text))], text, SMALL).result["saes"][0]
    assert value(row["core"], "loss_recovered_mean") == pytest.approx(0, abs=1e-6)
    assert value(row["core"], "kl_score_mean") == pytest.approx(0, abs=1e-6)
    assert value(row["core"], "fvu") == pytest.approx(1, abs=0.05)
    assert (value(row["core"], "l0_mean"), value(row["core"], "dead_share")) == (0, 1)
    assert row["density"]["dead"] == row["d_sae"]


def test_zero_recovers_nothing_of_zero(model, text):
    row = evaluate(model, [reading.constant(torch.zeros(tiny.D_MODEL))], text, SMALL).result["saes"][0]
    assert value(row["core"], "loss_recovered_zero") == pytest.approx(0, abs=1e-6)
    assert value(row["core"], "loss") == pytest.approx(value(row["core"], "loss_zero_ablated"), abs=1e-6)


def test_the_planted_sae(model, text):
    result = evaluate(model, [tiny.sae()], text, SMALL).result
    row, core = result["saes"][0], result["saes"][0]["core"]
    assert value(core, "fvu") < 0.01
    # A concept word has its concept (court has two), what all share, and two directions of its own.
    assert 4 <= value(core, "l0_mean") < 4.1
    assert (value(core, "l0_p5"), value(core, "l0_median"), value(core, "l0_p95")) == (4, 4, 4)
    assert row["density"]["dead"] >= 9
    assert value(row["baselines"]["random"], "l0_mean") == pytest.approx(value(core, "l0_mean"), rel=0.1)
    assert value(row["baselines"]["random"], "fvu") > value(core, "fvu")
    assert value(row["baselines"]["pca"], "l0_mean") == 4
    assert sum(group["tokens"]["value"] for group in row["by_corpus"].values()) == result["tokens"]
    assert sum(group["tokens"]["value"] for group in row["by_position"].values()) == result["tokens"]
    assert set(row["by_corpus"]) == {"a", "b"}


def test_losses_are_those_of_the_model_itself(model, text):
    sae = reading.linear("resid_post.0", 0.7 * torch.eye(tiny.D_MODEL), torch.ones(tiny.D_MODEL))
    found = evaluate(model, [sae], text, replace(SMALL, baseline_tokens=1)).result
    front = []
    n = 0
    while n < SMALL.in_front:
        front.append(text[len(front)])
        n += len(front[-1].ids) - 1
    clean, spliced = [], []
    for window in text[len(front) : len(front) + found["windows"]]:
        ids = torch.tensor([window.ids])
        clean.append(model.loss(ids)[0, 1:])
        with model.edit(sae.site, lambda acts: torch.cat([acts[:, :1], sae.reconstruct(acts[:, 1:])], 1)):
            spliced.append(model.loss(ids)[0, 1:])
    core = found["saes"][0]["core"]
    assert value(core, "clean_loss") == pytest.approx(float(torch.cat(clean).double().mean()), abs=1e-5)
    assert value(core, "loss") == pytest.approx(float(torch.cat(spliced).double().mean()), abs=1e-5)


def test_a_transcoder_takes_the_mlps_place(model, text):
    """One that computes the MLP's output up to a constant error; and one that gives nothing, which is the zero ablation there."""
    nothing = reading.linear(
        "mlp_in.1", torch.zeros(tiny.D_MODEL, tiny.D_MODEL), torch.zeros(tiny.D_MODEL), "none", reads=["mlp_in.1"], writes=["mlp_out.1"]
    )
    row = evaluate(model, [nothing], text, SMALL).result["saes"][0]
    assert (row["reads"], row["writes"]) == (["mlp_in.1"], ["mlp_out.1"])
    assert value(row["core"], "loss") == pytest.approx(value(row["core"], "loss_zero_ablated"), abs=1e-6)
    assert value(row["core"], "loss_recovered_zero") == pytest.approx(0, abs=1e-5)
    assert value(row["core"], "ev_uncentred") == pytest.approx(0, abs=1e-6)


def test_several_at_once_compound(model, text):
    shrink = [reading.linear(site, 0.5 * torch.eye(tiny.D_MODEL), torch.zeros(tiny.D_MODEL)) for site in ("resid_post.0", "resid_post.1")]
    result = evaluate(model, shrink, text, SMALL).result
    alone = [value(row["core"], "kl") for row in result["saes"]]
    # Halving the last residual changes nothing after the norm; halving an earlier one is then all that is left.
    assert value(result["joint"], "kl") == pytest.approx(alone[0], rel=1e-3)
    assert alone[1] == pytest.approx(0, abs=1e-5)
    assert "joint" not in evaluate(model, shrink[:1], text, SMALL).result


def test_a_crosscoder_writes_all_its_sites(model, text):
    sites = ["resid_post.0", "resid_post.1"]
    both = reading.linear("resid_post.0", torch.eye(2 * tiny.D_MODEL), torch.zeros(2 * tiny.D_MODEL), "cross", reads=sites, writes=sites)
    core = evaluate(model, [both], text, SMALL).result["saes"][0]["core"]
    assert (value(core, "delta_loss"), value(core, "fvu")) == (0, 0)


class Broken(Exception):
    """Pulls the plug."""


@pytest.mark.parametrize("after", [1, 2])
def test_a_broken_off_run_goes_on_to_the_same_bits(model, text, tmp_path, monkeypatch, after):
    saes, work, told = [tiny.sae(), reading.identity("resid_post.1")], tmp_path / "work.safetensors", []
    monkeypatch.setattr("hooke.evals.run._SAVE_EVERY_S", -1.0)
    straight = evaluate(model, saes, text, SMALL).result

    def plug(line):
        told.append(line)
        if sum(line.startswith("Judging") for line in told) > after:
            raise Broken

    with pytest.raises(Broken):
        evaluate(model, saes, text, SMALL, work=work, progress=plug)
    again = []
    assert evaluate(model, saes, text, SMALL, work=work, progress=again.append).result == straight
    assert sum(line.startswith("Judging") for line in again) < sum(line.startswith("Judging") for line in told) + 10


def test_a_damaged_work_file_is_named(model, text, tmp_path):
    work = tmp_path / "work.safetensors"
    work.write_bytes(b"nothing of the kind")
    with pytest.raises(BadFile, match=r"holds no unfinished evaluation .* Delete it to begin again"):
        evaluate(model, [tiny.sae()], text, SMALL, work=work)


def test_too_little_text(model, text):
    with pytest.raises(BadConfig, match=r"shorter than asked for: 90,000 tokens were wanted and .* after 200 to fit baselines on"):
        evaluate(model, [tiny.sae()], text, replace(SMALL, tokens=90_000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"writes": ["resid_post.0", "resid_post.1"]}, r"writes width 32 at resid_post\.0, resid_post\.1 .*has width 64 there"),
        ({"reads": ["resid_post.0", "resid_post.1"], "writes": ["resid_post.0"]}, "reads width 32"),
    ],
)
def test_an_sae_of_something_else(model, text, change, said):
    sae = replace(tiny.sae(), facts=replace(tiny.sae().facts, **change))
    with pytest.raises(ShapeMismatch, match=said):
        evaluate(model, [sae], text, SMALL)


def test_a_control_says_what_was_frozen():
    sae = tiny.sae()
    assert "control" not in identity(sae)
    frozen = replace(sae, facts=replace(sae.facts, training={"frozen": "decoder"}))
    assert identity(frozen)["control"] == "frozen decoder"


def test_the_same_sae_twice_and_none(model, text):
    with pytest.raises(BadConfig, match="was given twice"):
        evaluate(model, [tiny.sae(), tiny.sae()], text, SMALL)
    with pytest.raises(BadConfig, match="no SAE to judge"):
        evaluate(model, [], text, SMALL)
    with pytest.raises(BadConfig, match="suites are some of core"):
        EvalConfig(suites=("cores",))


def test_losses_that_are_not_finite_are_told_with_their_document(model, text):
    sae = reading.linear("resid_post.0", 1e30 * torch.eye(tiny.D_MODEL), torch.zeros(tiny.D_MODEL))
    with pytest.raises(HookeError, match=r"with tiny/resid_post.0/linear are not finite in document \d+ of '[ab]'"):
        evaluate(model, [replace(sae, W_dec=1e10 * sae.W_dec)], text, SMALL)


def test_pca_is_the_best_projection():
    acts = torch.randn(500, 10) * torch.linspace(3, 0.1, 10) + 2
    calibration = Calibration.of(acts)
    rebuilt = pca(calibration, 4)(acts, acts).acts
    u, s, vh = torch.linalg.svd(acts.double() - acts.double().mean(0), full_matrices=False)
    expected = u[:, :4] * s[:4] @ vh[:4] + acts.double().mean(0)
    torch.testing.assert_close(rebuilt.double(), expected, rtol=1e-4, atol=1e-4)


def test_noise_is_as_far_away_as_the_sae():
    x, rebuilt = torch.randn(50, 8), torch.randn(50, 8)
    found = noise(0)(x, rebuilt).acts
    torch.testing.assert_close((found - x).norm(dim=1), (rebuilt - x).norm(dim=1))
    assert float(torch.cosine_similarity(found - x, rebuilt - x).abs().mean()) < 0.6


def test_the_random_dictionary_has_the_least_error_that_scaling_gives():
    acts = torch.randn(600, 16) + 1
    sae = Sae(torch.zeros(16, 200), torch.zeros(200), torch.zeros(200, 16), torch.zeros(16), torch.zeros(200), tiny.sae().facts)
    found = sparse_noise(Calibration.of(acts), sae, 20.0, 0)(acts, acts)
    assert float(found.l0.double().mean()) == pytest.approx(20, abs=0.1)
    centred, own = acts - acts.mean(0), found.acts - acts.mean(0)
    assert float((own * (centred - own)).sum()) == pytest.approx(0, abs=0.05)
    assert 0 < float((centred - own).square().sum() / centred.square().sum()) < 1
