"""The pack's card: its README, with every figure taken from the pack's own files."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from hooke.atlas import NO_MEANING, Atlas
from hooke.files import atomic_write
from hooke.names import Site
from hooke.sae import Sae, digest

# Figures of the table of quality: key in the evaluation's ``core``, heading, form.
_FIGURES = (
    ("l0_mean", "L0", "{:.1f}"),
    ("delta_loss", "Δ loss (nats)", "{:.3f}"),
    ("loss_recovered_mean", "recovered (mean abl.)", "{:.3f}"),
    ("kl", "KL", "{:.3f}"),
    ("fvu", "FVU", "{:.4f}"),
    ("ev_coordinates", "R² of a coordinate, mean", "{:.3f}"),
)


def write_card(
    file: Path, package: Path, atlas_file: Path, sites: list[Site], quality: dict[str, Any], elsewhere: dict[str, dict[str, Any]]
) -> None:
    """Write the card of the pack in `package`, every figure from its files, its atlas, `quality`, what `hooke eval --json` printed of the
    mix, and `elsewhere`, what it printed of each source that was never in the mix."""
    atlas, saes = Atlas(atlas_file), [Sae.load(package / f"{site}.safetensors") for site in sites]
    text = (Path(__file__).parent / "card-template.md").read_text("utf-8")
    figures = {
        "saes": _quality(saes, quality),
        "baselines": _baselines(quality),
        "elsewhere": _elsewhere(elsewhere),
        "sparsity": _sparsity(saes, atlas),
        "labels": _labels(saes, atlas),
        "effects": effects_table(saes, atlas),
        "made": _made(saes),
        "mix": _mix(saes),
        "held": f"{saes[0].facts.metrics['tokens']:,.0f}",
        "atlas_tokens": f"{atlas.facts['tokens']:,}",
        "background": f"{atlas.saes[saes[0].name].facts['background_texts']:,}",
        "digests": _digests(saes),
        "clean": f"{quality['saes'][0]['core']['clean_loss']['value']:.3f}",
        "judged": f"{quality['tokens']:,}",
        "context": str(saes[0].facts.context),
    }
    with atomic_write(file) as out:
        out.write(text.format(**figures).encode())


def _digests(saes: list[Sae]) -> str:
    rows = [[f"`{sae.name}`", f"`{digest(sae)}`", str(sae.facts.training["seed"])] for sae in saes]
    return markdown(["SAE", "sha256 of its weights", "seed"], rows)


def _quality(saes: list[Sae], quality: dict[str, Any]) -> str:
    rows = [[f"`{sae.name}`", *_shown(found["core"])] for sae, found in zip(saes, quality["saes"], strict=True)]
    return markdown(["SAE", *(heading for _, heading, _ in _FIGURES)], rows)


def _baselines(quality: dict[str, Any]) -> str:
    rows = []
    for found in quality["saes"]:
        for name in ("pca", "random"):
            rows.append([f"`{found['sae']}`", name, *_shown(found["baselines"][name])])
    return markdown(["beside", "baseline", *(heading for _, heading, _ in _FIGURES)], rows)


def _elsewhere(results: dict[str, dict[str, Any]]) -> str:
    rows = [[name, f"`{found['sae']}`", *_shown(found["core"])] for name, result in results.items() for found in result["saes"]]
    return markdown(["source", "SAE", *(heading for _, heading, _ in _FIGURES)], rows)


def _shown(figures: dict[str, Any]) -> list[str]:
    """The figures of `_FIGURES`, each with its interval where it has one; empty where there is none."""
    cells = []
    for key, _, form in _FIGURES:
        found = figures.get(key) or {}
        value, low, high = (found.get(part) for part in ("value", "low", "high"))
        ends = f" [{form.format(low)}, {form.format(high)}]" if low is not None and high is not None else ""
        cells.append("" if value is None else form.format(value) + ends)
    return cells


def _sparsity(saes: list[Sae], atlas: Atlas) -> str:
    head = ["SAE", "features", "L0 asked for", "L0", "dead", "silent in the atlas", "denser than 10 %", "FVU", "FVU before int8"]
    rows = []
    for sae in saes:
        m, density = sae.facts.metrics, np.array(atlas.table(sae.name).density)
        shares = [f"{m['dead']:.2%}", f"{(density == 0).mean():.2%}", f"{(density > 0.1).mean():.2%}"]
        asked = sae.facts.training["l0"]
        rows.append(
            [f"`{sae.name}`", f"{sae.d_sae:,}", str(asked), f"{m['l0']:.1f}", *shares, f"{m['fvu']:.4f}", f"{m['fvu_float32']:.4f}"]
        )
    return markdown(head, rows)


def _labels(saes: list[Sae], atlas: Atlas) -> str:
    head = ["SAE", "label ≥ 0.7", "≥ 0.8", "≥ 0.9", "no consistent meaning", "explained, headlines", "explained, short neutral"]
    rows = []
    for sae in saes:
        table, facts = atlas.table(sae.name), atlas.saes[sae.name].facts
        scores = np.array([score for score in table.score if score is not None])
        nothing = sum(label == NO_MEANING for label in table.label)
        shares = [(scores >= bar).sum() / sae.d_sae for bar in (0.7, 0.8, 0.9)] + [nothing / sae.d_sae]
        explained = [facts["explained_headlines"], facts["explained_background"]]
        rows.append([f"`{sae.name}`", *(f"{share:.0%}" for share in shares), *(f"{share:.3f}" for share in explained)])
    return markdown(head, rows)


def effects_table(saes: list[Sae], atlas: Atlas) -> str:
    """Of every SAE the shares of features by what they do; of those that put words of their own in, and of those that move expectations,
    more than 95 % of random steps as long; SAEs that nobody measured say so."""
    head = [
        "SAE",
        "measured",
        "reads",
        "writes",
        "both",
        "unclear",
        "puts words in, beyond 19 of 20 random steps",
        "moves expectations so far",
        "KL, median",
    ]
    rows = []
    for sae in saes:
        found = atlas.effects(sae.name)
        if not found:
            rows.append([f"`{sae.name}`", "no", *([""] * 7)])
            continue
        kinds = Counter(atlas.feature(f"{sae.name}/{index}").kind for index in found)
        full = [effect.full for effect in found.values()]
        shares = [kinds[kind] / len(found) for kind in ("reads", "writes", "both", "unclear")]
        shares += [np.mean([one.writes for one in full]), np.mean([one.kl_p <= 0.05 for one in full])]
        kl = f"{np.median([one.kl.mean for one in full]):.3f} (random steps {np.median([one.kl_random[0] for one in full]):.3f})"
        rows.append([f"`{sae.name}`", f"{len(found):,}", *(f"{share:.1%}" for share in shares), kl])
    return markdown(head, rows)


def _made(saes: list[Sae]) -> str:
    """How much each SAE learnt from."""
    head = ["SAE", "tokens read", "learnt from each", "left out", "steps", "tokens a step"]
    rows = []
    for sae in saes:
        made = sae.facts.training
        counts = [f"{n:,}" for n in (sum(made["tokens"].values()), made["left_out"], made["steps"], made["batch"])]
        rows.append([f"`{sae.name}`", counts[0], f"{made['epochs']} times", *counts[1:]])
    return markdown(head, rows)


def _mix(saes: list[Sae]) -> str:
    """What the SAEs read, a column for those that read the same."""
    same: dict[tuple[tuple[str, int], ...], list[Sae]] = {}
    for sae in saes:
        same.setdefault(tuple(sorted(sae.facts.training["tokens"].items())), []).append(sae)
    read = [dict(tokens) for tokens in same]
    corpora = sorted({name for tokens in read for name in tokens}, key=lambda name: -max(tokens.get(name, 0) for tokens in read))
    head = ["corpus", *("layer " + ", ".join(str(sae.site.layer) for sae in those) for those in same.values())]

    def part(tokens: dict[str, int], name: str) -> str:
        return f"{tokens[name]:,}, {tokens[name] / sum(tokens.values()):.1%}" if name in tokens else ""

    return markdown(head, [[name, *(part(tokens, name) for tokens in read)] for name in corpora])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
