"""Files in SAEBench's schema: every key it requires, its formulas where they differ from ours, and nothing that JSON cannot hold."""

import json
from dataclasses import replace

import pytest
import torch
from evals import reading

from hooke import tiny
from hooke.evals import EvalConfig, evaluate
from hooke.evals.run import padded
from hooke.evals.saebench import write
from hooke.names import Site

GROUPS = {
    "model_behavior_preservation": {"kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"},
    "model_performance_preservation": {"ce_loss_score", "ce_loss_with_ablation", "ce_loss_with_sae", "ce_loss_without_sae"},
    "reconstruction_quality": {"explained_variance", "explained_variance_legacy", "mse", "cossim"},
    "shrinkage": {"l2_norm_in", "l2_norm_out", "l2_ratio", "relative_reconstruction_bias"},
    "sparsity": {"l0", "l1"},
    "token_stats": {"total_tokens_eval_reconstruction", "total_tokens_eval_sparsity_variance"},
    "misc_metrics": {
        *("freq_over_1_percent", "freq_over_10_percent", "normalized_freq_over_1_percent", "normalized_freq_over_10_percent"),
        *("average_max_encoder_cosine_sim", "average_max_decoder_cosine_sim", "frac_alive"),
    },
}
REQUIRED = {
    *("eval_config", "eval_id", "datetime_epoch_millis", "eval_result_metrics", "sae_bench_commit_hash"),
    *("sae_lens_id", "sae_lens_release_id", "sae_lens_version", "sae_cfg_dict"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An SAE that is far from perfect, its windows, and its file."""
    model, sae = tiny.model(), replace(tiny.sae(), W_dec=0.7 * tiny.sae().W_dec)
    text = reading.windows(model, 60)
    config = EvalConfig(tokens=300, calibration_tokens=50, batch_tokens=10_000)
    evaluation = evaluate(model, [sae], text, config)
    (path,) = write(tmp_path_factory.mktemp("bench"), evaluation, [sae])
    front = 0
    while sum(len(window.ids) - 1 for window in text[:front]) < 50:
        front += 1
    return model, sae, text[front : front + evaluation.result["windows"]], evaluation, path


def test_the_envelope(made):
    *_, path = made
    assert path.relative_to(path.parents[1]).as_posix() == "core/tiny_resid_post.0_64_eval_results.json"
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found.keys() >= REQUIRED
    assert {group: set(values) for group, values in found["eval_result_metrics"].items()} == GROUPS
    assert all(isinstance(value, int | float) for values in found["eval_result_metrics"].values() for value in values.values())
    assert [row["index"] for row in found["eval_result_details"]] == list(range(64))
    dead = found["eval_result_details"][63]
    assert (dead["feature_density"], dead["consistent_activation_heuristic"]) == (0, -1)


def test_by_its_formulas(made):
    model, sae, windows, evaluation, path = made
    found = json.loads(path.read_text())["eval_result_metrics"]
    ids, keep = padded(model, windows)
    x = model.capture(ids, [sae.site])[sae.site][keep]
    codes = sae.encode(x)
    x, hat, f = x.double(), sae.decode(codes).double(), codes.dense().double()
    r2, n = (x - hat).square().sum(1), len(x)
    square = x.square().sum(1).mean()
    quality = {
        "explained_variance": 1 - r2.mean() / (square - (square / x.shape[1]) ** 2),
        "explained_variance_legacy": (1 - r2 / (x - x.mean(0)).square().sum(1)).mean(),
        "mse": (r2 / n).mean(),
        "cossim": torch.cosine_similarity(x, hat).mean(),
    }
    assert found["reconstruction_quality"] == pytest.approx({name: float(value) for name, value in quality.items()}, rel=1e-6)
    bias = hat.square().sum(1).mean() / (x * hat).sum(1).mean()
    assert found["shrinkage"]["relative_reconstruction_bias"] == pytest.approx(float(bias), rel=1e-6)
    assert found["sparsity"] == pytest.approx({"l0": float((f > 0).sum(1).double().mean()), "l1": float(f.sum(1).mean())}, rel=1e-6)
    losses = []
    for fn in (lambda acts: acts, torch.zeros_like):
        with model.edit(Site(0, "resid_post"), fn):
            losses.append(torch.cat([model.loss(torch.tensor([w.ids]))[0, 1:] for w in windows]).double().mean())
    told = found["model_performance_preservation"]
    assert told["ce_loss_without_sae"] == pytest.approx(float(losses[0]), abs=1e-5)
    assert told["ce_loss_with_ablation"] == pytest.approx(float(losses[1]), abs=1e-5)
    score = (told["ce_loss_with_ablation"] - told["ce_loss_with_sae"]) / (told["ce_loss_with_ablation"] - told["ce_loss_without_sae"])
    assert told["ce_loss_score"] == pytest.approx(score)
    assert evaluation.result["tokens"] == n
