"""An evaluation as one HTML page: SAEs among their baselines, where they are good and where not, and every figure with its interval."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from hooke.report.document import document, masthead
from hooke.report.evaluation_charts import Point, histogram, scatter
from hooke.text.marks import stripped
from hooke.text.markup import Markup, join, tag

Figures = Mapping[str, Mapping[str, float | None]]

# What each figure is called, and how many decimals say enough.
_FIGURES = {
    "l0_mean": ("L0", 1),
    "fvu": ("FVU", 4),
    "cosine": ("cosine", 3),
    "delta_loss": ("Δ loss", 3),
    "loss_recovered_mean": ("recovered (mean abl.)", 3),
    "loss_recovered_zero": ("recovered (zero abl.)", 3),
    "kl": ("KL", 3),
}
_SHARES = {"dead_share": ("dead", 3), "dense_share": ("denser than 10 %", 3)}
_BASELINES = {
    "pca": "PCA",
    "random": "random dictionary",
    "identity": "identity",
    "mean": "the mean",
    "zero": "zero",
    "zero_everywhere": "zero, also at special positions",
    "noise": "noise of the same size",
}
_IN_PLOTS = ("pca", "random")


def page(result: Mapping[str, Any]) -> str:
    """The page of what `hooke eval --json` prints: no script, no outside address."""
    rows = result["saes"]
    core = [row for row in rows if "core" in row]
    model = stripped(str(result["model"]))
    lede = "What sparse autoencoders keep of a model, how sparse and how alive they are, beside baselines. "
    lede += "Whiskers and brackets hold 95 % of the resamples of the text."
    return document(
        f"{_count(len(rows), 'SAE')} of {model}, judged · Hooke",
        files("hooke.report").joinpath("evaluation.css").read_text("utf-8"),
        tag("header", masthead([f"{_count(len(rows), 'SAE')} of ", tag("bdi", model), ", judged"], lede)),
        tag(
            "main",
            _read(result, core) if core else None,
            _pareto(core) if core else None,
            _table(core) if core else None,
            _density(core) if core else None,
            _groups(core, "by_corpus", "By source", "corpus") if core else None,
            _groups(core, "by_position", "By position in the window", "position") if core else None,
            [_labelled(rows, suite) for suite in ("probing", "tpp") if any(suite in row for row in rows)],
            _everything(rows),
        ),
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _short(name: str) -> str:
    """An SAE's name without its collection."""
    return stripped(name).partition("/")[2] or stripped(name)


def _read(result: Mapping[str, Any], core: Sequence[Mapping[str, Any]]) -> Markup:
    corpora = ", ".join(f"{stripped(one['name'])} ({one['tokens']:,} tokens)" for one in result.get("corpus", []) if "tokens" in one)
    clean = core[0]["core"]["clean_loss"]
    said = f"{result['tokens']:,} tokens in {result['windows']:,} windows: {corpora}. Special tokens are neither counted nor replaced. "
    said += f"The model's own loss on them is {_written(clean, 3)} nats a token. Baselines ran on "
    said += f"{int(core[0]['baselines']['mean']['tokens']['value']):,} of the tokens, and were fitted on others."
    joint = result.get("joint")
    both = f" All SAEs in at once cost {_written(joint['delta_loss'], 3)} nats." if joint else ""
    return tag("section", tag("h2", "What was read"), tag("p", said + both))


def _written(figure: Mapping[str, float | None], decimals: int) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "–"
    ends = "" if low is None or high is None else f" [{low:.{decimals}f}, {high:.{decimals}f}]"
    return f"{value:.{decimals}f}{ends}"


def _cell(figure: Mapping[str, float | None] | None, decimals: int) -> Markup:
    if figure is None:
        return tag("td")
    value, _, ends = _written(figure, decimals).partition(" ")
    return tag("td", value, " " if ends else None, tag("small", ends) if ends else None)


def _pareto(core: Sequence[Mapping[str, Any]]) -> Markup:
    plots = []
    for key, name in (("fvu", "share of variance unexplained"), ("delta_loss", "Δ loss, nats")):
        points = []
        for row in core:
            points.append(_point(row["core"], key, _short(row["sae"]), baseline=False))
            points += [
                _point(row["baselines"][b], key, f"{_BASELINES[b]}, {row['writes'][0]}", baseline=True, square=b == "random")
                for b in _IN_PLOTS
            ]
        drawn = scatter([point for point in points if point is not None], "L0, active features a token", name)
        plots.append(
            tag(
                "figure",
                drawn,
                tag("figcaption", f"{name}, against L0. Filled: SAEs. Hollow: PCA, and as squares random dictionaries, of the same sites."),
            )
        )
    return tag(
        "section", tag("h2", "Sparse and faithful"), tag("p", "Lower and further left is better."), tag("div", plots, class_="plots")
    )


def _point(figures: Figures, key: str, name: str, *, baseline: bool, square: bool = False) -> Point | None:
    x, y = figures["l0_mean"]["value"], figures[key]
    if x is None or y["value"] is None:
        return None
    return Point(x, y["value"], name, y["low"], y["high"], baseline, square)


def _rows(head: Sequence[str], rows: Iterable[Markup]) -> Markup:
    names = tag("tr", [tag("th", name, scope="col") for name in head])
    return tag("div", tag("table", tag("thead", names), tag("tbody", rows)), class_="wide")


def _table(core: Sequence[Mapping[str, Any]]) -> Markup:
    columns, rows = _FIGURES | _SHARES, []
    for row in core:
        cells = [_cell(row["core"].get(key), digits) for key, (_, digits) in columns.items()]
        control = f" control: {row['control']}" if "control" in row else ""
        rows.append(tag("tr", tag("th", tag("code", stripped(row["sae"])), control, scope="row"), cells, class_="sae"))
        for name, label in _BASELINES.items():
            cells = [_cell(row["baselines"][name].get(key), digits) for key, (_, digits) in columns.items()]
            rows.append(tag("tr", tag("th", label, scope="row"), cells))
    return tag(
        "section",
        tag("h2", "Beside the baselines"),
        tag(
            "p",
            "FVU is the share of variance left unexplained. Δ loss is what the model's loss rises by when the reconstruction takes the"
            " activations' place; recovered is the share of the way back from an ablation. PCA has as many components, and the random"
            " dictionary as many features and as many active, as the SAE; the noise is as far from the activations as the SAE is.",
        ),
        _rows(["", *(name for name, _ in columns.values())], rows),
    )


def _density(core: Sequence[Mapping[str, Any]]) -> Markup:
    plots = []
    for row in core:
        density = row["density"]
        drawn = histogram(density["counts"], density["log10_low"], density["log10_high"], "log10 of the share of tokens it fires on")
        told = f"{_short(row['sae'])}: {row['d_sae']:,} features, {density['dead']:,} of them never fired here."
        plots.append(tag("figure", drawn, tag("figcaption", told)))
    return tag("section", tag("h2", "How often features fire"), tag("div", plots, class_="plots"))


def _groups(core: Sequence[Mapping[str, Any]], key: str, heading: str, what: str) -> Markup:
    columns = {name: _FIGURES[name] for name in ("l0_mean", "fvu", "cosine", "delta_loss", "kl")}
    tables = []
    for number, row in enumerate(core):
        rows = []
        for name, figures in row[key].items():
            count = tag("td", f"{int(figures['tokens']['value']):,}")
            cells = [_cell(figures[column], digits) for column, (_, digits) in columns.items()]
            clean = _cell(figures["clean_loss"], 3)
            rows.append(tag("tr", tag("th", tag("bdi", stripped(name)), scope="row"), count, clean, cells))
        table = _rows([what, "tokens", "clean loss", *(name for name, _ in columns.values())], rows)
        tables.append(tag("details", tag("summary", _short(row["sae"])), table, open=number == 0))
    return tag("section", tag("h2", heading), tables)


def _labelled(rows: Sequence[Mapping[str, Any]], suite: str) -> Markup:
    tables = []
    for row in rows:
        found = row.get(suite)
        if found is None or "rows" not in found:
            continue
        names = [name for name, value in found["rows"][0].items() if isinstance(value, Mapping) and "value" in value]
        size = "k" if suite == "probing" else "n"
        lines = []
        for one in found["rows"]:
            what = ", ".join(str(part) for part in (one["method"], one.get("pool"), one.get("selection")) if part)
            number = tag("td", "all" if one.get(size) is None else str(one[size]))
            lines.append(tag("tr", tag("th", what, scope="row"), number, [_cell(one.get(name), 3) for name in names]))
        tables.append(tag("details", tag("summary", _short(row["sae"])), _rows(["method", size, *names], lines), open=not tables))
    heading = {"probing": "Sparse probing", "tpp": "Targeted probe perturbation: a diagnostic, no score"}[suite]
    return tag("section", tag("h2", heading), tables)


def _everything(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Every figure that the other tables leave out."""
    tables = []
    with_groups = [{**row, **{f"group {name}": figures for name, figures in row.get("groups", {}).items()}} for row in rows]
    groups = dict.fromkeys(f"group {name}" for row in rows for name in row.get("groups", {}))
    for suite in ("core", *groups, "geometry", "uniformity"):
        shown = [row for row in with_groups if suite in row]
        names = dict.fromkeys(name for row in shown for name in row[suite])
        lines = [
            tag("tr", tag("th", name.replace("_", " "), scope="row"), [_cell(row[suite].get(name), _digits(name)) for row in shown])
            for name in names
        ]
        if shown:
            heads = ["", *(_short(row["sae"]) for row in shown)]
            tables.append(tag("details", tag("summary", suite), _rows(heads, lines), open=suite != "core"))
    return tag("section", tag("h2", "All figures"), join(tables))


def _digits(name: str) -> int:
    return 0 if name.endswith("tokens") else 4
