"""`hooke monitor run`: texts read with a monitor, a JSON line for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.options import Column, Field, Texts
from hooke.cli.output import Status, print_line, talk
from hooke.cli.values import count
from hooke.errors import HookeError
from hooke.text import figures
from hooke.text.intake import Record

if TYPE_CHECKING:
    from hooke.monitors import Drift

_SHIFTED = 1.0
"""Spreads of single texts that the mean text may be off before it is said."""
_MANY = 0.5
"""Share of alarms from which on it is said what else may raise them."""
_DRIFT = {"tokens": "length", "features": "what the features say", "probe": "what the probe says"}


def run(
    monitor: Annotated[Path, Parameter(help="The monitor's file.")],
    *inputs: Texts,
    field: Field = None,
    column: Column = None,
    at_once: Annotated[int, count(1, 4096), Parameter(help="Texts read together: 1 answers each as it comes, more are faster.")] = 32,
) -> None:
    """Read texts with a monitor: a JSON line for each, and at the end whether they are like those it was made from."""
    from hooke.text.arguments import texts_from

    texts = texts_from(inputs, field=field, column=column)
    with Status() as status:
        from hooke.analysis import Options, Reader
        from hooke.monitors import Drift, Monitor, watch

        made = Monitor.load(monitor)
        reader = Reader.load(made.model, [made.sae], Options(chunk=at_once), progress=status)
    drift, fields, faults = Drift(made), [], []
    for raised in watch(reader, made, _kept(texts, fields, faults), drift):
        known = fields.pop(0)
        names = {index: reader.labelled_saes[0].named(index)["name"] for index in raised.because}
        print_line({**known, "alarm": raised.alarm, "score": raised.score, "because": [names[i] or str(i) for i in raised.because]})
    if drift.texts or not faults:
        _report(drift)
    for fault in faults:
        raise fault


def _report(drift: "Drift") -> None:
    from hooke.monitors import FEWEST

    report = drift.report()
    read = figures.count(report["texts"], "text")
    talk(read + "".join(f"; {name}: {part:.1%} alarms" for name, part in report.get("alarms", {}).items()))
    if drift.cut:
        talk(f"{figures.count(drift.cut, 'text')} of them were too long: only the beginning was read.")
    if report["texts"] < FEWEST:
        talk(f"With fewer than {FEWEST} texts nothing is said of drift.")
        return
    if max(report["alarms"].values()) > _MANY:
        talk("Most texts raise an alarm. Texts unlike all that it was made from may do so, too: read some.")
    for name, shift in report["shift"].items():
        if shift is not None and abs(shift) > _SHIFTED:
            said = f"Drift: in {_DRIFT.get(name, name)} these texts are unlike those it was made from ({shift:+.1f} spreads)"
            talk(f"{said}; its rate of false alarms is not known here.")


def _kept(texts: Iterator[str], fields: list[dict], faults: list[HookeError]) -> Iterator[str]:
    """The texts, what else stood in their records put by in the same order. What is wrong with the source ends them and is put by, too:
    what came before it is answered."""
    try:
        for number, text in enumerate(texts):
            own = text.fields if isinstance(text, Record) else {}
            fields.append({**own, **({} if "id" in own else {"number": number})})
            yield text
    except HookeError as error:
        faults.append(error)
