"""SAEBench: the core figures of an evaluation as files in SAEBench's schema (formats: 14), by its formulas."""

import importlib.metadata
import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hooke.evals.geometry import nearest
from hooke.evals.run import Evaluation
from hooke.files import atomic_write
from hooke.sae import Sae

# Columns of SAEBench's token means that are ours under another name.
_TOKEN_MEANS = {
    "reconstruction_quality": {"explained_variance_legacy": "legacy", "mse": "e2_share", "cossim": "cosine"},
    "shrinkage": {"l2_norm_in": "x_norm", "l2_norm_out": "hat_norm", "l2_ratio": "ratio", "relative_reconstruction_bias": "batch_bias"},
    "sparsity": {"l0": "l0", "l1": "l1"},
}
_USAGE = {
    "freq_over_1_percent": "frequent_share",
    "freq_over_10_percent": "dense_share",
    "normalized_freq_over_1_percent": "frequent_mass",
    "normalized_freq_over_10_percent": "dense_mass",
    "frac_alive": "alive_share",
    "average_max_encoder_cosine_sim": "encoder_max_cosine",
    "average_max_decoder_cosine_sim": "decoder_max_cosine",
}


def write(folder: Path, evaluation: Evaluation, saes: Sequence[Sae]) -> list[Path]:
    """One file for each SAE under ``folder/core``, each written whole or not at all; their paths.

    Special tokens are left out of every figure. The ablation is SAEBench's: zeros at every position, special ones too. Ours that go by
    other formulas stand under keys of their own, ``hooke_...``, in ``eval_result_unstructured``.
    """
    out = []
    for row, sae in zip(evaluation.result["saes"], saes, strict=True):
        release, _, rest = sae.name.partition("/")
        path = folder / "core" / f"{release}_{rest.replace('/', '_')}_eval_results.json"
        with atomic_write(path) as file:
            file.write(json.dumps(_envelope(evaluation, row, sae), indent=2, allow_nan=False).encode())
        out.append(path)
    return out


def _envelope(evaluation: Evaluation, row: dict[str, Any], sae: Sae) -> dict[str, Any]:
    result = evaluation.result
    return {
        "eval_type_id": "core",
        "eval_config": {
            "model_name": sae.facts.model,
            "dataset": ", ".join(corpus["name"] for corpus in result.get("corpus", [])) or "unnamed",
            "context_size": result.get("context", sae.facts.context),
            "llm_dtype": result.get("dtype", "bfloat16"),
            "exclude_special_tokens_from_reconstruction": True,
            **{f"compute_{name}": True for name in _COMPUTED},
        },
        "eval_id": str(uuid.uuid4()),
        "datetime_epoch_millis": int(time.time() * 1000),
        "eval_result_metrics": _metrics(evaluation, row, sae),
        "eval_result_details": _details(evaluation, sae),
        "sae_bench_commit_hash": f"hooke {importlib.metadata.version('hooke')}",
        "sae_lens_id": "custom_sae",
        "sae_lens_release_id": sae.name.partition("/")[0],
        "sae_lens_version": "none",
        "sae_cfg_dict": _settings(sae, result),
        "eval_result_unstructured": {f"hooke_{name}": row["core"][name]["value"] for name in ("fvu", "delta_loss", "loss_recovered_mean")},
    }


_COMPUTED = ("kl", "ce_loss", "l2_norms", "sparsity_metrics", "variance_metrics", "featurewise_density_statistics")


def _metrics(evaluation: Evaluation, row: dict[str, Any], sae: Sae) -> dict[str, dict[str, float]]:
    core, sums, ablated = row["core"], evaluation.sums[sae.name], row["baselines"]["zero_everywhere"]
    paired = {name: core[f"paired_{name}"]["value"] for name in ("loss", "clean_loss", "kl")}
    over, kl_over = ablated["loss"]["value"], ablated["kl"]["value"]
    square, d = sums["x2"], sae.W_dec.shape[1]
    groups: dict[str, dict[str, float]] = {
        "model_behavior_preservation": {
            "kl_div_score": (kl_over - paired["kl"]) / kl_over,
            "kl_div_with_ablation": kl_over,
            "kl_div_with_sae": paired["kl"],
        },
        "model_performance_preservation": {
            "ce_loss_score": (over - paired["loss"]) / (over - paired["clean_loss"]),
            "ce_loss_with_ablation": over,
            "ce_loss_with_sae": paired["loss"],
            "ce_loss_without_sae": paired["clean_loss"],
        },
        # SAEBench subtracts the square of the mean square where the square of the mean was meant (formats: 14.5).
        "reconstruction_quality": {"explained_variance": 1 - sums["e2"] / (square - (square / d) ** 2)},
    }
    for group, names in _TOKEN_MEANS.items():
        groups.setdefault(group, {}).update({name: sums[column] for name, column in names.items()})
    read = evaluation.result["tokens"]
    groups["token_stats"] = {
        "total_tokens_eval_reconstruction": int(ablated["tokens"]["value"]),
        "total_tokens_eval_sparsity_variance": read,
    }
    figures = core | row["geometry"]
    groups["misc_metrics"] = {name: figures[own]["value"] for name, own in _USAGE.items()}
    return {group: {name: _number(value) for name, value in found.items()} for group, found in groups.items()}


def _details(evaluation: Evaluation, sae: Sae) -> list[dict[str, Any]]:
    found, encoder, decoder = evaluation.features[sae.name], sae.W_enc.T.cpu(), sae.W_dec.cpu()
    columns = {
        "feature_density": found["density"],
        "consistent_activation_heuristic": found["consistency"],
        "encoder_bias": sae.b_enc,
        "encoder_norm": encoder.norm(dim=1),
        "encoder_decoder_cosine_sim": torch.cosine_similarity(encoder, decoder, dim=1) if encoder.shape == decoder.shape else None,
        "max_decoder_cosine_sim": nearest(decoder)[0],
        "max_encoder_cosine_sim": nearest(encoder)[0],
    }
    values = {name: [-1.0] * sae.d_sae if column is None else column.tolist() for name, column in columns.items()}
    return [{"index": i} | {name: round(_number(column[i]), 10) for name, column in values.items()} for i in range(sae.d_sae)]


def _number(value: float | int) -> float | int:
    """NaN is written as -1 there."""
    return value if value == value and abs(value) != float("inf") else -1


def _settings(sae: Sae, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_name": sae.facts.model,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "hook_layer": sae.site.layer,
        "hook_name": f"blocks.{sae.site.layer}.hook_{sae.site.kind}",
        "context_size": sae.facts.context or result.get("context"),
        "hook_head_index": None,
        "architecture": sae.facts.activation,
        "apply_b_dec_to_input": False,
        "finetuning_scaling_factor": False,
        "activation_fn_str": "relu" if sae.facts.activation == "jumprelu" else sae.facts.activation,
        "activation_fn_kwargs": {} if sae.facts.k is None else {"k": sae.facts.k},
        "prepend_bos": sae.facts.bos,
        "normalize_activations": "none",
        "dtype": "float32",
        "device": "cpu",
        "model_from_pretrained_kwargs": {},
        "dataset_path": "",
        "dataset_trust_remote_code": False,
        "seqpos_slice": [None],
        "training_tokens": -100000,
        "sae_lens_training_version": None,
        "neuronpedia_id": None,
    }
