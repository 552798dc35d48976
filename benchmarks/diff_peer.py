"""Our differences of features between two groups beside those of interp_embed 0.1.0, each in an environment of its own.

    python benchmarks/diff_peer.py ours FILE.jsonl.zst --by group --n 250 --out runs/interp     writes texts, weights and our differences
    PEER/python benchmarks/diff_peer.py theirs --out runs/interp                                 (an environment with interp_embed)

Theirs is the share of one group's texts in which a feature is above 0 anywhere, less the share of the other's, of every feature (their
`Dataset.latents("binarize")`); names are left off. Printed are rank correlations and how many of either's first features are the other's.
"""

import argparse
import json
from pathlib import Path

import numpy as np

_FIRST = (10, 50, 200)


def ours(options: argparse.Namespace) -> None:
    import diff
    from safetensors.torch import save_file

    from hooke.analysis import Options, Reader
    from hooke.differences.grouping import group
    from hooke.differences.reading import read_pile
    from hooke.model.carried import carried_folder
    from hooke.sae.autoencoder import weights_of

    options.group, options.pair = [], None
    grouped = group(diff.load(options), options.by)
    reader = Reader.load("gemma-3-270m", [], Options())
    (judged,), (items, (tested,)) = diff.findings(read_pile(reader, grouped.texts), grouped, 0)
    own = np.array([kind == "feature" for kind in items.kind])
    options.out.mkdir(parents=True, exist_ok=True)
    sae = reader.labelled_saes[0].sae
    save_file({name: tensor.contiguous() for name, tensor in weights_of(sae).items()}, options.out / "sae.safetensors")
    told = {
        "model": str(carried_folder("gemma-3-270m")),
        "layer": sae.site.layer,
        "texts": grouped.texts,
        "group": grouped.group.tolist(),
        "feature": items.feature[own].tolist(),
        "effect": tested.effect[own].tolist(),
        "usual": items.usual[own].tolist(),
        "listed": judged.listed[own].tolist(),
    }
    (options.out / "ours.json").write_text(json.dumps(told))
    print(f"{len(grouped.texts)} texts, {own.sum()} features tested, {judged.listed[own].sum()} listed")


def theirs(options: argparse.Namespace) -> None:
    import torch
    from interp_embed import Dataset
    from interp_embed.saes import BaseSAE
    from safetensors.torch import load_file
    from scipy.sparse import csr_matrix
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told = json.loads((options.out / "ours.json").read_text())

    class Plain(BaseSAE):
        """Our SAE as a plain threshold on a product, after transformers' own forward pass."""

        def load_models(self) -> None:
            self.tokenizer = AutoTokenizer.from_pretrained(told["model"])
            self.model = AutoModelForCausalLM.from_pretrained(told["model"], dtype=torch.float32).model
            self.weights = load_file(options.out / "sae.safetensors")

        @torch.no_grad()
        def encode(self, texts: list[str]) -> list[csr_matrix]:
            rows = []
            for text in texts:
                # A beginning-of-sequence token in front, which this tokenizer's folder leaves out by itself; nothing is said of it.
                ids = torch.tensor([[self.tokenizer.bos_token_id, *self.tokenizer(text, add_special_tokens=False).input_ids]])
                acts = self.model(ids, output_hidden_states=True).hidden_states[told["layer"] + 1][0, 1:]
                pre = acts @ self.weights["W_enc"] + self.weights["b_enc"]
                rows.append(csr_matrix(torch.where(pre > self.weights["threshold"], pre, 0).numpy()))
            return rows

        def destroy_models(self) -> None:
            self.model = None

    data = Dataset([{"text": text} for text in told["texts"]], Plain(), batch_size=1)
    has, group = data.latents("binarize"), np.array(told["group"])
    shares = np.stack([has[group == n].mean(0) for n in (0, 1)])
    compare(told, shares[0] - shares[1])


def compare(told: dict, other: np.ndarray) -> None:
    from scipy.stats import spearmanr

    feature, effect, usual, listed = (np.array(told[name]) for name in ("feature", "effect", "usual", "listed"))
    for what, own in (("tested", effect == effect), ("tested, not in most texts", ~usual), ("in most texts", usual), ("listed", listed)):
        if own.sum() > 2:
            near = np.abs(effect[own] - other[feature[own]])
            rank = spearmanr(effect[own], other[feature[own]]).statistic
            print(f"{what}: {own.sum()} features, rank correlation {rank:.3f}, median gap of the differences {np.median(near):.4f}")
    best, their_best = np.argsort(-np.abs(effect), kind="stable"), np.argsort(-np.abs(other), kind="stable")
    for n in _FIRST:
        mine, others = set(feature[best[:n]].tolist()), set(their_best[:n].tolist())
        most = {int(feature[i]) for i in np.flatnonzero(usual)}
        alone = mine - others
        print(f"first {n}: {len(mine & others)} shared; {len(alone & most)} of the {len(alone)} that are ours alone fire in most texts")
    untested = set(their_best[:200].tolist()) - set(feature.tolist())
    print(f"of their first 200 we do not test {len(untested)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ours", "theirs"))
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--by", default="group")
    parser.add_argument("--text", default="text")
    parser.add_argument("--n", type=int, default=250)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    ours(options) if options.what == "ours" else theirs(options)


if __name__ == "__main__":
    main()
