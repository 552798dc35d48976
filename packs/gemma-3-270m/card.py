"""The pack's card: its README, with every figure taken from the pack's own files."""

from pathlib import Path

import numpy as np

from hooke.atlas import NO_MEANING, Atlas
from hooke.files import atomic_write
from hooke.names import Site
from hooke.sae import Sae


def write_card(file: Path, package: Path, sites: list[Site], losses: dict[str, dict[str, float]], loss_tokens: int) -> None:
    """Write the card of the pack in `package`, every figure from its files."""
    atlas, saes = Atlas(package / "atlas.sqlite"), [Sae.load(package / f"{site}.safetensors") for site in sites]
    made = saes[0].facts.training
    text = (Path(__file__).parent / "card-template.md").read_text("utf-8")
    figures = {
        "saes": _quality(saes, atlas, losses),
        "labels": _labels(saes, atlas),
        "mix": _mix(made["tokens"]),
        "total": f"{sum(made['tokens'].values()):,}",
        "left_out": f"{made['left_out']:,}",
        "batch": f"{made['batch']:,}",
        "steps": f"{made['steps']:,}",
        "held": f"{saes[0].facts.metrics['tokens']:,.0f}",
        "atlas_tokens": f"{atlas.facts['tokens']:,}",
        "background": f"{atlas.saes[saes[0].name].facts['background_texts']:,}",
        "clean": f"{losses[saes[0].name]['loss']:.3f}",
        "loss_tokens": f"{loss_tokens:,}",
    }
    with atomic_write(file) as out:
        out.write(text.format(**figures, **{name: made[name] for name in ("reuse", "context", "lr", "l0")}).encode())


def _quality(saes: list[Sae], atlas: Atlas, losses: dict[str, dict[str, float]]) -> str:
    head = ["SAE", "features", "L0", "FVU", "FVU before int8", "dead", "denser than 10 %", "Δ loss (nats)", "recovered (mean abl.)"]
    rows = []
    for sae in saes:
        m, loss, dense = sae.facts.metrics, losses[sae.name], float((atlas.table(sae.name).density > 0.1).mean())
        row = [f"`{sae.name}`", f"{sae.d_sae:,}", f"{m['l0']:.1f}", f"{m['fvu']:.4f}", f"{m['fvu_float32']:.4f}", f"{m['dead']:.2%}"]
        rows.append([*row, f"{dense:.2%}", f"{loss['delta_loss']:.3f}", f"{loss['recovered_mean']:.3f}"])
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


def _mix(tokens: dict[str, int]) -> str:
    total = sum(tokens.values())
    ranked = sorted(tokens.items(), key=lambda item: -item[1])
    return markdown(["corpus", "tokens", "share"], [[name, f"{n:,}", f"{n / total:.1%}"] for name, n in ranked])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
