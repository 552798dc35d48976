"""`hooke monitor make`: a monitor from labelled texts."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.options import Column, Field, Json, ModelName, Seed
from hooke.cli.output import Status, check_places, console_for, print_line, talk
from hooke.cli.values import count, share

if TYPE_CHECKING:
    from hooke.monitors import Monitor


def make(
    file: Annotated[str, Parameter(help="A JSONL or CSV file of labelled texts.")],
    *,
    by: Annotated[str, Parameter(help="The field that says of what kind a text is.")],
    kind: Annotated[str, Parameter(help="The kind that raises an alarm.")],
    out: Annotated[Path, Parameter(help="The monitor's file, JSON.")],
    false_alarms: Annotated[float, share(0.0001, 0.5), Parameter(help="Share of other texts that may raise an alarm.")] = 0.05,
    features: Annotated[int, count(1, 1000), Parameter(help="Features that are weighed.")] = 8,
    model: ModelName = "gemma-3-270m",
    sae: Annotated[str | None, Parameter(help="Name (see `hooke saes`) or file of an SAE.")] = None,
    seed: Annotated[Seed, Parameter(help="Of which texts teach, set the threshold, and try.")] = 0,
    field: Field = None,
    column: Column = None,
    json: Json = False,
) -> None:
    """Make a monitor from labelled texts: learn, set the threshold, and try it, each on texts of its own."""
    check_places(out)
    from hooke.text.arguments import texts_from

    with Status() as status:
        found = named([sae] if sae else [], status)
        texts = list(texts_from([file], field=field, column=column))
        from hooke.analysis import Options, Reader
        from hooke.monitors import labelled, make_monitor

        grouped = labelled(texts, by, kind)
        reader = Reader.load(model, [one.open() for one in found], Options(), progress=status)
        told = lambda done: status.count(f"Reading: {done:,} of {len(grouped.texts):,} texts")  # noqa: E731
        made = make_monitor(reader, grouped, kind, rate=false_alarms, features=features, seed=seed, progress=told)
    made.save(out)
    for note in grouped.notes:
        talk(note)
    if json:
        print_line(asdict(made))
    else:
        _print(made, {column: reader.labelled_saes[0].named(column)["name"] for column in made.scorers[0].columns})
    talk(f"Wrote {out}")


def _print(made: "Monitor", names: dict[int, str | None]) -> None:
    from rich.table import Table
    from rich.text import Text

    from hooke.monitors import LIMITS
    from hooke.text.marks import marked, stripped

    console = console_for()
    console.print(Text(f"Alarms on {marked(made.kind)}, {made.rate:.1%} false alarms allowed; tried on texts that had no part in it:"))
    table = Table("", "AUC", "false alarms", "caught", box=None, padding=(0, 2, 0, 0))
    for scorer in made.scorers:
        table.add_row(scorer.name, *(_figure(scorer.figures[name], name == "auc") for name in ("auc", "false_alarms", "caught")))
    table.add_row("plain words", _figure(made.words_auc, True), "", "")
    console.print(table)
    console.print(Text("Features: " + "; ".join(f"{stripped(name or 'no label')} ({index})" for index, name in names.items())))
    for limit in LIMITS:
        console.print(Text(limit, style="dim"))


def _figure(values: list[float], area: bool) -> str:
    value, low, high = values
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if area else f"{value:.1%} [{low:.1%}, {high:.1%}]"
