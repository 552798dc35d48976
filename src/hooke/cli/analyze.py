"""`hooke analyze`: what a model noticed in texts."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hooke.cli.output import console_for, print_line, say
from hooke.errors import BadConfig, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from hooke.analysis import Analysis, Reader, TextResult

_SAVED = "Wrote"


def analyze(
    *inputs: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="Texts, files (.txt, .jsonl, .csv, also .gz or .zst), or - for standard input.")
    ],
    model: Annotated[str, Parameter(help="A carried model's name, a folder, or org/name on a hub.")] = "gemma-3-270m",
    sae: Annotated[
        tuple[str, ...], Parameter(negative="", help="Name (see `hooke saes`) or file of an SAE; may be given several times.")
    ] = (),
    top: Annotated[int, Parameter(help="Features shown for each text.")] = 6,
    pool: Annotated[Literal["max", "mean", "sum"], Parameter(help="How a feature's activations become one number to rank by.")] = "mean",
    min_label_score: Annotated[float, Parameter(help="Leave out features whose label scores less.")] = 0.0,
    batch_tokens: Annotated[int, Parameter(help="Tokens per forward pass.")] = 1024,
    field: Annotated[str | None, Parameter(help="The field of a JSONL file that holds the text.")] = None,
    column: Annotated[str | None, Parameter(help="The column of a CSV file that holds the text.")] = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")] = False,
    jsonl: Annotated[bool, Parameter(negative="", help="Print one JSON object per text as soon as it is read.")] = False,
    html: Annotated[Path | None, Parameter(help="Also write a page with everything to this file.")] = None,
) -> None:
    """Show the features a model used on each text, and the broader topics they make up."""
    from hooke.text.intake import texts_from

    _refuse_options(inputs)
    _check_output(json, jsonl, html)
    texts = texts_from(inputs, field=field, column=column)
    first = next(texts, None)  # so that bad input is reported before the model is loaded
    console = console_for(stderr=True)
    reader = _reader(console, model, sae, top=top, pool=pool, min_label_score=min_label_score, batch_tokens=batch_tokens, jsonl=jsonl)
    results = _counted(console, reader.read(_with_first(first, texts)))
    if jsonl:
        for result in results:
            print_line(_result_json(result))
        return
    from hooke.analysis import conclude

    analysis = conclude(reader, list(results))
    _show(analysis, top, as_json=json, html=html)


def _refuse_options(inputs: tuple[str, ...]) -> None:
    """Cyclopts takes a lone - for an option unless texts may begin with hyphens; then options it does not know reach us as texts."""
    for text in inputs:
        if re.fullmatch(r"--?[A-Za-z][\w-]*(=.*)?", text):
            from hooke.cli import app

            known = [name for argument in app["analyze"].assemble_argument_collection() for name in argument.names if name.startswith("--")]
            raise BadConfig(
                str(unknown("option", text.partition("=")[0], known, "Texts that look like options can come from a file or from -."))
            )


def _check_output(json: bool, jsonl: bool, html: Path | None) -> None:
    if json and jsonl:
        raise BadConfig("--json and --jsonl are two forms of the same output; give one of them.")
    if jsonl and html is not None:
        raise BadConfig("--jsonl prints each text as soon as it is read, and a page needs all of them; give --html without --jsonl.")
    if html is not None and not html.parent.is_dir():
        raise BadConfig(f"cannot write {html}: there is no folder {html.parent}.")
    if html is not None and html.is_dir():
        raise BadConfig(f"cannot write {html}: it is a folder.")


def _reader(console: "Console", model: str, sae: tuple[str, ...], *, jsonl: bool, **options: Any) -> "Reader":
    with console.status("Loading") as status:
        from hooke.analysis import Options, Reader

        # A stream should give its first results soon; a whole document is faster in larger chunks.
        chosen = Options(**options, chunk=32 if jsonl else 512)
        return Reader.load(model, sae, chosen, progress=lambda text: say(console, status, text))


def _with_first(first: str | None, rest: Iterator[str]) -> Iterator[str]:
    if first is not None:
        yield first
        yield from rest


def _counted(console: "Console", results: Iterable["TextResult"]) -> Iterator["TextResult"]:
    """The results, with a running count on a terminal."""
    with console.status("Reading") as status:
        for count, result in enumerate(results, 1):
            status.update(f"Reading: {count:,} texts")
            yield result


def _result_json(result: "TextResult") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result)


def _show(analysis: "Analysis", top: int, *, as_json: bool, html: Path | None) -> None:
    if html is not None:
        from hooke.files import atomic_write
        from hooke.report.analysis import page

        with atomic_write(html) as file:
            file.write(page(analysis).encode())
    if as_json:
        print_line(analysis.to_json())
    else:
        from hooke.report.analysis_terminal import print_table

        print_table(analysis, console_for(), top)
    if html is not None:
        sys.stderr.write(f"{_SAVED} {html}\n")
