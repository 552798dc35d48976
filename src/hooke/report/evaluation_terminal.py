"""What `hooke eval` found as tables in a terminal."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hooke.report.tables import table as table_of

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
_GROUP = (("l0_mean", "L0", 1), ("smoothness", "smoothness", 2), ("dead_share", "dead", 3))
_NAMES = {
    "identity": "identity",
    "mean": "mean",
    "zero": "zero",
    "zero_everywhere": "zero everywhere",
    "pca": "PCA",
    "random": "random dictionary",
    "noise": "noise of equal size",
}
_SIZE = {"probing": "k", "tpp": "n"}
_TPP = ("tpp", "on_target", "off_target")
_SAID = {
    "probing": "Balanced accuracy by features used; 0.5 is chance.",
    "tpp": "A diagnostic, no score: it can fall as training goes on. Balanced accuracy lost by features taken out: tpp is on target (the "
    "probe of their own class) minus off target (the others).",
}


def print_tables(result: Mapping[str, Any], console: "Console") -> None:
    """One table of core figures with baselines, then what the other suites found."""
    core = [row for row in result["saes"] if "core" in row]
    if core:
        for row in core:
            console.print(row["sae"] + (f"  control: {row['control']}" if "control" in row else ""), style="bold", highlight=False)
            console.print(_core_table(row))
            for group, figures in row.get("groups", {}).items():
                told = ", ".join(f"{label} {written(figures[key], digits)}" for key, label, digits in _GROUP)
                console.print(f"group {group}: {told}", highlight=False)
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
    for suite in ("probing", "tpp"):
        for row in result["saes"]:
            if suite in row:
                console.print()
                console.print(_labelled_table(suite, row), highlight=False)


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

    table = table_of("", *(heading for _, heading, _, _ in _CORE), pad_edge=False)
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

    shown = [row for row in rows if suite in row]
    table = table_of(suite, *(row["sae"] for row in shown), pad_edge=False)
    for key in dict.fromkeys(key for row in shown for key in row[suite]):
        table.add_row(
            key.replace("_", " "), *(written(row[suite][key], 0 if key == "tokens" else 3) if key in row[suite] else "" for row in shown)
        )
    return table


def by_size(suite: str, rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int | None, Mapping[str, float | None]]]:
    """Rows of ``probing`` or ``tpp`` as lines: by method and what the figure is of, then by the number of features (None: all).

    Of probing that is the balanced accuracy, of TPP each of its three figures.
    """
    lines: dict[tuple[str, str], dict[int | None, Mapping[str, float | None]]] = {}
    for row in rows:
        way = " ".join(filter(None, (row.get("pool"), row.get("selection"))))
        figures = {way: "balanced_accuracy"} if suite == "probing" else {name.replace("_", " "): name for name in _TPP}
        for shown, name in figures.items():
            lines.setdefault((row["method"].replace("_", " "), shown), {})[row.get(_SIZE[suite])] = row[name]
    return lines


def _labelled_table(suite: str, row: Mapping[str, Any]) -> Any:
    from rich.console import Group
    from rich.text import Text

    found = row[suite]
    if "skipped" in found:
        return f"{suite}, {row['sae']}: skipped, {found['skipped']}"
    lines, digits = by_size(suite, found["rows"]), 2 if suite == "probing" else 3
    sizes = sorted({size for line in lines.values() for size in line}, key=lambda size: (size is None, size))
    title = f"{suite}: {row['sae']} on {found['labels']}, {found['documents']:,} documents of {len(found['classes'])} classes"
    heads = ("method", "pooled, by" if suite == "probing" else "accuracy lost", *("all" if n is None else f"{n}" for n in sizes))
    table = table_of(*heads, pad_edge=False)
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True
    for (method, way), line in lines.items():
        table.add_row(method, way, *(written(line[size], digits, spread=False) if size in line else "" for size in sizes))
    halves = sorted(float(half) for line in lines.values() for figure in line.values() if (half := _half(figure, 3, percent=False)))
    spread = f" 95 % intervals over documents reach {halves[len(halves) // 2]:.3f} to each side (median)." if halves else ""
    return Group(Text(title), table, Text(_SAID[suite] + spread, style="dim"))
