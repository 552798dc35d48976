"""Our core figures beside SAELens' own evaluation: the same model, SAE, texts and positions, each in an environment of its own.

    python benchmarks/eval_saelens.py ours --sae gemma-3-270m/resid_post.12/8k --corpus FILE --out runs/saelens
    PEER/python benchmarks/eval_saelens.py theirs --out runs/saelens          (an environment with sae-lens)
    python benchmarks/eval_saelens.py compare --out runs/saelens

`ours` writes windows of equal length, the SAE's weights and our figures; `theirs` runs `sae_lens.evals` on these. Both run the model in
float32. Which of our figures answers which of theirs is in PAIRS; differences are relative, and more than 1e-3 is a failure.
"""

import argparse
import json
from pathlib import Path
from typing import Any

LENGTH, DTYPE = 64, "float32"
# Theirs -> ours. Their zero ablation zeroes special positions too; their variance is the centred, streamed one, FVU's complement.
PAIRS = {
    "l0": "l0_mean",
    "l1": "l1_mean",
    "ce_loss_without_sae": "clean_loss",
    "ce_loss_with_sae": "loss",
    "ce_loss_with_ablation": "zero_everywhere loss",
    "ce_loss_score": "zero_everywhere recovered",
    "kl_div_with_sae": "kl",
    "mse": "mse",
    "explained_variance": "ev",
    "explained_variance_legacy": "ev_legacy",
    "cossim": "cosine",
    "l2_ratio": "norm_ratio",
    "relative_reconstruction_bias": "reconstruction_bias",
}


def ours(options: argparse.Namespace) -> None:
    import itertools

    from safetensors.torch import save_file

    from hooke.evals import EvalConfig, evaluate
    from hooke.model import Model
    from hooke.model.carried import carried_folder
    from hooke.sae import Sae
    from hooke.text.corpus import parse_corpora, windows

    sae, model = Sae.from_pretrained(options.sae), Model.load(options.model, dtype=DTYPE)
    stream = windows(parse_corpora(options.corpus), model.tokenizer, length=LENGTH, seed=0, held_out=True)
    full = (window for window in stream if len(window.ids) == LENGTH)
    front, own = (list(itertools.islice(full, n)) for n in (2, options.windows))
    body = LENGTH - 1
    # One batch, as theirs is: their legacy variance is around each batch's mean.
    config = EvalConfig(body * options.windows, ("core",), 10**9, calibration_tokens=2 * body, batch_tokens=LENGTH * options.windows)
    row = evaluate(model, [sae], [*front, *own], config).result["saes"][0]
    found = {name: figure["value"] for name, figure in row["core"].items()}
    over = row["baselines"]["zero_everywhere"]["loss"]["value"]
    found["zero_everywhere loss"] = over
    found["zero_everywhere recovered"] = (over - found["loss"]) / (over - found["clean_loss"])
    options.out.mkdir(parents=True, exist_ok=True)
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    save_file({name: getattr(sae, name).contiguous() for name in names}, options.out / "sae.safetensors")
    facts = {
        "model": str(carried_folder(options.model)),
        "hook": f"model.layers.{sae.site.layer}",
        "special": sorted(model.tokenizer.special),
        "ids": [window.ids for window in own],
        "ours": found,
    }
    (options.out / "ours.json").write_text(json.dumps(facts))


def theirs(options: argparse.Namespace) -> None:
    import torch
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.load_model import load_model
    from sae_lens.training.activation_scaler import ActivationScaler
    from safetensors.torch import load_file

    facts = json.loads((options.out / "ours.json").read_text())
    weights = load_file(options.out / "sae.safetensors")
    d_in, d_sae = weights["W_enc"].shape
    config = JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, dtype="float32", device="cpu", apply_b_dec_to_input=False)
    config.metadata.hook_name = facts["hook"]
    sae = JumpReLUSAE(config)
    sae.load_state_dict(weights)
    model = load_model("AutoModelForCausalLM", facts["model"], "cpu", {"dtype": torch.float32}, [facts["hook"]])
    ids = torch.tensor(facts["ids"])

    class Store:
        """Gives the same batch whenever it is asked."""

        context_size, store_batch_size_prompts, prepend_bos = ids.shape[1], len(ids), True

        def get_batch_tokens(self, *_: Any, **__: Any) -> torch.Tensor:
            return ids

        def reset_input_dataset(self) -> None:
            pass

    everything = get_eval_everything_config(len(ids), 1, 1)
    metrics, _ = run_evals(sae, Store(), model, ActivationScaler(), everything, exclude_special_tokens=facts["special"])
    flat = {name: value for group in metrics.values() for name, value in group.items()}
    (options.out / "theirs.json").write_text(json.dumps(flat))


def compare(options: argparse.Namespace) -> None:
    own = json.loads((options.out / "ours.json").read_text())["ours"]
    peer = json.loads((options.out / "theirs.json").read_text())
    print(f"{'SAELens':32}{'Hooke':28}{'theirs':>14}{'ours':>14}{'relative':>12}")
    worst = 0.0
    for theirs_name, name in PAIRS.items():
        a, b = peer[theirs_name], own[name]
        off = abs(a - b) / max(abs(a), 1e-9)
        worst = max(worst, off)
        print(f"{theirs_name:32}{name:28}{a:14.6f}{b:14.6f}{off:12.1e}")
    if worst > 1e-3:
        raise SystemExit(f"they differ by {worst:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ours", "theirs", "compare"))
    parser.add_argument("--sae", default="gemma-3-270m/resid_post.12/8k")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--corpus", action="append", default=[])
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    {"ours": ours, "theirs": theirs, "compare": compare}[options.what](options)


if __name__ == "__main__":
    main()
