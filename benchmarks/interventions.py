"""Interventions: what must be equal is equal, chance is chance, and SAELens' error term gives the same ablation.

    python benchmarks/interventions.py equal                      50 awkward texts; edits that change nothing, and a cache or none
    python benchmarks/interventions.py uniform --draws 1000       p values of random directions among random directions
    python benchmarks/interventions.py ours --out runs/ablation   activations, the SAE and our ablations
    PEER/python benchmarks/interventions.py theirs --out runs/ablation      the same by SAELens (an environment with sae-lens)

`equal` compares bits, tokens of likeliest continuations, and positions; `theirs` ends with 1 where a difference is over 1e-5 of the
activations' size.
"""

import argparse
import json
import time
from pathlib import Path

AWKWARD = (
    "The bank raised its rates again on Thursday.",
    "I \u2764\ufe0f it \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd and back",
    "<bos> is written out, and <eos> and <pad>, too",
    "   three spaces   between   words   ",
    "tabs\tand\nlines\r\nof all\n\n\nkinds",
    "na\u00efve caf\u00e9 Stra\u00dfe \u0130stanbul",
    "\u4e2d\u6587\u548c\u65e5\u672c\u8a9e\u306e\u6587",
    "zero\u200bwidth\u200djoined\ufeff text",
    "1234567890 3.14159 1e-9 0xDEADBEEF",
)
BATCHES = 5
"""Each awkward text is read this often, each time after another number of words."""
FEATURE, OTHER = 6213, 1444


def loaded(options: argparse.Namespace):
    from hooke.model import Model
    from hooke.sae import Sae

    return Model.load(options.model, dtype="float32"), Sae.from_pretrained(options.sae)


def equal(options: argparse.Namespace) -> None:
    import torch

    from hooke.intervene import intervene

    model, sae = loaded(options)
    texts = [f"{'so ' * n}{text}" for text in AWKWARD for n in range(BATCHES)]
    worse = {"scale 1": 0, "clamp to own value": 0, "clamp active to own value": 0, "mask of no position": 0, "before a position": 0}
    for text in texts:
        ids = torch.tensor(model.tokenizer.encode([text]))
        with torch.no_grad():
            clean = model.hidden(ids)
            own = sae.activations(model.capture(ids, sae.site)[sae.site].float(), torch.tensor([FEATURE, OTHER]))
            middle = ids.shape[1] // 2
            edits = {
                "scale 1": (sae.scale([FEATURE, OTHER], 1.0), None),
                "clamp to own value": (sae.clamp([FEATURE, OTHER], own), None),
                "clamp active to own value": (sae.clamp_active([FEATURE, OTHER], own), None),
                "mask of no position": (sae.add([FEATURE], 1e3), torch.zeros_like(ids, dtype=torch.bool)),
                "before a position": (sae.add([FEATURE], 1e3), middle),
            }
            for name, (edit, where) in edits.items():
                with intervene(model, edit, where=where):
                    found = model.hidden(ids)
                same = torch.equal(found[:, :middle], clean[:, :middle])
                if name == "before a position":
                    worse[name] += not same or bool((found[:, middle:] == clean[:, middle:]).all(-1).any())
                else:
                    worse[name] += not torch.equal(found, clean)
    wrong = 0
    for prompt in ("Yesterday in the city", "The minister said", "After the match the"):
        ids = torch.tensor(model.tokenizer.encode([prompt]))
        with intervene(model, sae.add([OTHER], 3000.0), where=ids.shape[1]):
            written = model.generate(ids, options.tokens, temperature=0.0)
            again = ids
            for _ in range(written.shape[1] - ids.shape[1]):
                with torch.no_grad():
                    again = torch.cat([again, model.head.logits(model.hidden(again)[:, -1]).argmax(-1, keepdim=True)], 1)
        wrong += not torch.equal(written, again)
    print(json.dumps({"texts": len(texts), "not bit-equal": worse, "continuations that differ with a cache": wrong, "of": 3}))


def uniform(options: argparse.Namespace) -> None:
    import numpy as np
    import torch
    from scipy.stats import ks_2samp

    from hooke.features.effects import EffectSettings, Meter, random_directions, share_above

    model, sae = loaded(options)
    meter = Meter.neutral(model, sae, EffectSettings(contexts=options.contexts))
    draw = torch.Generator().manual_seed(options.seed)
    steps = random_directions(sae, options.draws + options.controls, draw) * options.norm
    began = time.process_time()
    kl = [found.kl.mean() for found in meter.measure(steps)]
    controls, draws = np.array(kl[: options.controls]), np.array(kl[options.controls :])
    p = np.array([share_above(value, controls) for value in draws])
    result = {key: getattr(options, key) for key in ("draws", "controls", "contexts", "norm", "seed")}
    # All draws are ranked among the same controls, so that these are a sample too: of two samples, not of one and the uniform law.
    result |= {"ks_p": float(ks_2samp(draws, controls).pvalue), "share_at_0.05": float(np.mean(p <= 0.05))}
    print(json.dumps(result | {"processor_s": round(time.process_time() - began, 1)}))


def ours(options: argparse.Namespace) -> None:
    import torch
    from safetensors.torch import save_file

    model, sae = loaded(options)
    text = "The central bank raised its rates again on Thursday, and the striker scored twice in the cup final."
    acts = model.capture(text, [sae.site])
    x = acts[sae.site][acts.keep].float().clone()
    codes = sae.encode(x).dense()
    features = codes.max(0).values.argsort(descending=True)[:32]
    ablated = torch.stack([sae.ablate([int(i)])(x) for i in features])
    weights = {name: getattr(sae, name).float().contiguous() for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
    options.out.mkdir(parents=True, exist_ok=True)
    save_file({**weights, "x": x, "features": features, "ablated": ablated}, options.out / "ablation.safetensors")


def theirs(options: argparse.Namespace) -> None:
    import torch
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
    from safetensors.torch import load_file

    found = load_file(options.out / "ablation.safetensors")
    d_in, d_sae = found["W_enc"].shape
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae, dtype="float32", device="cpu", apply_b_dec_to_input=False))
    sae.load_state_dict({name: found[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")})
    sae.use_error_term = True
    x, worst, least = found["x"], 0.0, float("inf")
    for index, own in zip(found["features"].tolist(), found["ablated"], strict=True):

        def silent(acts, hook=None, index=index):
            acts = acts.clone()
            acts[..., index] = 0
            return acts

        with torch.no_grad(), sae.hooks(fwd_hooks=[("hook_sae_acts_post", silent)]):
            theirs = sae(x)
        worst = max(worst, float((theirs - own).norm() / theirs.norm()))
        least = min(least, float((own - x).norm() / x.norm()))
    print(json.dumps({"features": len(found["features"]), "tokens": len(x), "largest_difference": worst, "smallest_change": least}))
    if worst > 1e-5:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("equal", "uniform", "ours", "theirs"))
    parser.add_argument("--sae", default="gemma-3-270m/resid_post.12/8k")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--tokens", type=int, default=16, help="of a continuation")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--controls", type=int, default=500)
    parser.add_argument("--contexts", type=int, default=8)
    parser.add_argument("--norm", type=float, default=2227.0, help="length of a random step; the median of one dose at layer 12")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    {"equal": equal, "uniform": uniform, "ours": ours, "theirs": theirs}[options.what](options)


if __name__ == "__main__":
    main()
