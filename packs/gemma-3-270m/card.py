"""The pack's card: its README, with every figure taken from the pack's own files."""

from pathlib import Path

import numpy as np

from hooke.atlas import NO_MEANING, Atlas
from hooke.files import atomic_write
from hooke.names import Site
from hooke.sae import Sae


def write_card(file: Path, package: Path, sites: list[Site], losses: dict[str, dict[str, float]], loss_tokens: int) -> None:
    """Write the card of the pack in `package`, every figure from its files."""
    found, saes = Atlas(package / "atlas.sqlite"), [Sae.load(package / f"{site}.safetensors") for site in sites]
    rows, labels = [], []
    for sae in saes:
        m, loss, table = sae.facts.metrics, losses[sae.name], found.table(sae.name)
        dense = float((table.density > 0.1).mean())
        cells = [
            f"`{sae.name}`",
            f"{sae.d_sae:,}",
            f"{m['l0']:.1f}",
            f"{m['fvu']:.4f}",
            f"{m['fvu_float32']:.4f}",
            f"{m['dead']:.2%}",
            f"{dense:.2%}",
        ]
        rows.append([*cells, f"{loss['delta_loss']:.3f}", f"{loss['recovered_mean']:.3f}"])
        scores = np.array([score for score in table.score if score is not None])
        nothing = sum(label == NO_MEANING for label in table.label)
        entry = found.saes[sae.name].facts
        share = [f"{(scores >= bar).sum() / len(table.label):.0%}" for bar in (0.7, 0.8, 0.9)]
        labels.append(
            [
                f"`{sae.name}`",
                *share,
                f"{nothing / len(table.label):.0%}",
                f"{entry['explained_headlines']:.3f}",
                f"{entry['explained_background']:.3f}",
            ]
        )
    first = saes[0].facts.training
    tokens = first["tokens"]
    total = sum(tokens.values())
    text = (Path(__file__).parent / "card-template.md").read_text("utf-8").format(
        saes=markdown(
            ["SAE", "features", "L0", "FVU", "FVU before int8", "dead", "denser than 10 %", "Δ loss (nats)", "recovered (mean abl.)"], rows
        ),
        labels=markdown(
            ["SAE", "label ≥ 0.7", "≥ 0.8", "≥ 0.9", "no consistent meaning", "explained, headlines", "explained, short neutral"], labels
        ),
        mix=markdown(
            ["corpus", "tokens", "share"], [[name, f"{n:,}", f"{n / total:.1%}"] for name, n in sorted(tokens.items(), key=lambda t: -t[1])]
        ),
        total=f"{total:,}",
        reuse=first["reuse"],
        left_out=f"{first['left_out']:,}",
        batch=f"{first['batch']:,}",
        context=first["context"],
        steps=f"{first['steps']:,}",
        lr=first["lr"],
        l0=first["l0"],
        held=f"{saes[0].facts.metrics['tokens']:,.0f}",
        atlas_tokens=f"{found.facts['tokens']:,}",
        background=f"{found.saes[saes[0].name].facts['background_texts']:,}",
        clean=f"{losses[saes[0].name]['loss']:.3f}",
        loss_tokens=f"{loss_tokens:,}",
    )
    with atomic_write(file) as out:
        out.write(text.encode())


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
