"""`hooke monitor run`: texts read with a monitor, a JSON line for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.output import console_for, print_line, say, talk
from hooke.text.intake import Record

_SHIFTED = 1.0
"""Spreads of single texts that the mean text may be off before it is said."""


def run(
    monitor: Annotated[Path, Parameter(help="The monitor's file.")],
    *inputs: Annotated[str, Parameter(allow_leading_hyphen=True, help="Texts, files (.txt, .jsonl, .csv), or - for standard input.")],
    field: Annotated[str | None, Parameter(help="The field of a JSONL file that holds the text.")] = None,
    column: Annotated[str | None, Parameter(help="The column of a CSV file that holds the text.")] = None,
) -> None:
    """Read texts with a monitor: a JSON line for each, and at the end whether they are like those it was made from."""
    from hooke.text.arguments import texts_from

    texts = texts_from(inputs, field=field, column=column)
    console = console_for(stderr=True)
    with console.status("Loading") as status:
        from hooke.analysis import Options, Reader
        from hooke.monitors import Drift, Monitor, watch

        made = Monitor.load(monitor)
        reader = Reader.load(made.model, [made.sae], Options(chunk=32), progress=lambda text: say(console, status, text))
    drift, fields = Drift(made), []
    for raised in watch(reader, made, _kept(texts, fields), drift):
        known = fields.pop(0)
        names = {index: reader.labelled_saes[0].named(index)["name"] for index in raised.because}
        print_line({**known, "alarm": raised.alarm, "score": raised.score, "because": [names[i] or str(i) for i in raised.because]})
    report = drift.report()
    talk(f"{report['texts']:,} texts" + "".join(f"; {name}: {part:.1%} alarms" for name, part in report.get("alarms", {}).items()))
    for name, shift in report.get("shift", {}).items():
        if abs(shift) > _SHIFTED:
            talk(f"Drift: {name} is {shift:+.1f} spreads off what the monitor was made from; its rate of false alarms is not known here.")


def _kept(texts: Iterator[str], fields: list[dict]) -> Iterator[str]:
    """The texts, what else stood in their records put by in the same order."""
    for number, text in enumerate(texts):
        own = text.fields if isinstance(text, Record) else {}
        fields.append({**own, **({} if "id" in own else {"number": number})})
        yield text
