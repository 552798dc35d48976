"""What `hooke eval` found as tables in a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Figure, heading, decimals, whether it is a share shown in per cent. With the widest name that is 80 columns.
_CORE = (
    ("l0_mean", "L0", 1, False),
    ("fvu", "FVU", 4, False),
    ("delta_loss", "Δ loss", 3, False),
    ("loss_recovered_mean", "recovered", 3, False),
    ("kl", "KL", 3, False),
    ("dead_share", "dead", 1, True),
    ("dense_share", "dense", 1, True),
)
_NAMES = {
    "identity": "identity",
    "mean": "mean",
    "zero": "zero",
    "zero_everywhere": "zero everywhere",
    "pca": "PCA",
    "random": "random dictionary",
    "noise": "noise of equal size",
}


def print_tables(result: Mapping[str, Any], console: "Console") -> None:
    """One table of core figures with baselines, then what the other suites found."""
    core = [row for row in result["saes"] if "core" in row]
    if core:
        for row in core:
            console.print(row["sae"], style="bold", highlight=False)
            console.print(_core_table(row))
            console.print()
        corpora = ", ".join(f"{one['name']} {one['tokens']:,}" for one in result["corpus"] if "tokens" in one)
        console.print(
            f"{result['tokens']:,} tokens ({corpora}), clean loss {written(core[0]['core']['clean_loss'], 3)} nats. "
            f"± is half of a 95 % interval over {result['resamples']} resamples of the windows; baselines are on fewer tokens.",
            style="dim",
            highlight=False,
        )
    if "joint" in result:
        joint = result["joint"]
        said = f"All at once: Δ loss {written(joint['delta_loss'], 3)}, KL {written(joint['kl'], 3)} nats."
        console.print(said, highlight=False)
    for suite in ("geometry", "uniformity"):
        if any(suite in row for row in result["saes"]):
            console.print()
            console.print(_suite_table(suite, result["saes"]))
    for suite, figures in (("probing", ("balanced_accuracy", "auroc")), ("tpp", ("tpp", "on_target", "off_target"))):
        for row in result["saes"]:
            if suite in row:
                console.print()
                console.print(_labelled_table(suite, row, figures))


def written(figure: Mapping[str, float | None], decimals: int, *, percent: bool = False, spread: bool = True) -> str:
    """A figure, with half its interval behind ±.

    >>> written({"value": 0.25, "low": 0.2, "high": 0.32}, 2)
    '0.25 ±0.06'
    """
    value = figure["value"]
    if value is None:
        return "–"
    half = _half(figure, decimals, percent=percent) if spread else ""
    return (f"{100 * value:.{decimals}f}%" if percent else f"{value:.{decimals}f}") + (f" ±{half}" if half else "")


def _core_table(row: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table("", *(heading for _, heading, _, _ in _CORE), box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify, column.no_wrap, column.min_width = "right", True, 6
    table.add_row("the SAE", *(written(row["core"][key], digits, percent=percent, spread=False) for key, _, digits, percent in _CORE))
    table.add_row("  ±", *(_half(row["core"][key], digits, percent=percent) for key, _, digits, percent in _CORE), style="dim")
    for name, label in _NAMES.items():
        figures = row["baselines"][name]
        cells = [written(figures[key], digits, spread=False) if key in figures else "" for key, _, digits, _ in _CORE]
        table.add_row(label, *cells, style="dim")
    return table


def _half(figure: Mapping[str, float | None], decimals: int, *, percent: bool) -> str:
    low, high = figure["low"], figure["high"]
    return "" if low is None or high is None else f"{(100 if percent else 1) * (high - low) / 2:.{decimals}f}"


def _suite_table(suite: str, rows: list[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    shown = [row for row in rows if suite in row]
    table = Table(suite, *(row["sae"] for row in shown), box=None, header_style="bold", pad_edge=False)
    for key in dict.fromkeys(key for row in shown for key in row[suite]):
        table.add_row(
            key.replace("_", " "), *(written(row[suite][key], 0 if key == "tokens" else 3) if key in row[suite] else "" for row in shown)
        )
    return table


def _labelled_table(suite: str, row: Mapping[str, Any], figures: tuple[str, ...]) -> Any:
    from rich.table import Table

    found = row[suite]
    if "skipped" in found:
        return f"{suite}, {row['sae']}: skipped, {found['skipped']}"
    rows = found["rows"]
    known = [name for name in figures if any(name in one for one in rows)]
    size = "k" if suite == "probing" else "n"
    title = f"{suite}: {row['sae']} on {found['labels']}, {found['documents']:,} documents"
    table = Table(
        "method", "pooled, selected", size, *known, box=None, header_style="bold", pad_edge=False, title=title, title_justify="left"
    )
    for one in rows:
        cells = [written(one[name], 3) if isinstance(one.get(name), Mapping) else str(one.get(name, "")) for name in known]
        table.add_row(
            one["method"],
            " ".join(filter(None, (one.get("pool"), one.get("selection")))),
            "all" if one.get(size) is None else str(one[size]),
            *cells,
        )
    return table
