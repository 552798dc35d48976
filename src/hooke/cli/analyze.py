"""`hooke analyze`: what a model noticed in texts."""

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.options import AtlasFile, BatchTokens, Column, Field, Html, Json, ModelName, ReadingSaes, Texts
from hooke.cli.output import Status, check_places, console_for, print_line, talk, write_text
from hooke.cli.values import FEW, share
from hooke.errors import BadConfig, Missing

if TYPE_CHECKING:
    from hooke.analysis import Analysis, Reader, TextResult
    from hooke.analysis.pushed import Pushed


def analyze(
    *inputs: Texts,
    model: ModelName = "gemma-3-270m",
    sae: ReadingSaes = (),
    atlas: AtlasFile = None,
    top: Annotated[int, FEW, Parameter(help="Features shown for each text.")] = 6,
    pool: Annotated[
        Literal["max", "mean", "sum"],
        Parameter(help="Which strength of a feature counts in a text: its mean, its largest, or its sum over the words."),
    ] = "mean",
    min_label_score: Annotated[
        float,
        share(),
        Parameter(help="Leave out features whose label (its rule in words; a reader's name is another thing) scores less."),
    ] = 0.0,
    batch_tokens: BatchTokens = 1024,
    pushed: Annotated[bool, Parameter(help="Also show which features push the word that the model expects after each text.")] = False,
    field: Field = None,
    column: Column = None,
    json: Json = False,
    jsonl: Annotated[bool, Parameter(help="Print one JSON object per text as soon as it is read.")] = False,
    html: Html = None,
    csv: Annotated[Path | None, Parameter(help="Also write a CSV file: a row for each text and feature, your own columns first.")] = None,
    parquet: Annotated[Path | None, Parameter(help="Also write the same as a Parquet file; needs hooke[parquet].")] = None,
) -> None:
    """Show the features a model used on each text, and the broader topics they make up."""
    from hooke.text.arguments import texts_from

    files = {"html": html, "csv": csv, "parquet": parquet}
    _check_output(files, json=json, jsonl=jsonl, pushed=pushed)
    texts = texts_from(inputs, field=field, column=column)
    first = next(texts, None)  # so that bad input is reported before the model is loaded
    sizes = {"top": top, "batch_tokens": batch_tokens}
    reader = _reader(model, sae, atlas, jsonl=jsonl, pool=pool, min_label_score=min_label_score, **sizes)
    results = _counted(reader.read(_with_first(first, texts)))
    results = _printed(results, kept=any(files.values())) if jsonl else results
    from hooke.analysis import conclude

    analysis = conclude(reader, list(results))
    _write(reader, analysis, files)
    pushes = _pushed(reader, analysis, top) if pushed else None
    if json:
        print_line(analysis.to_json() | ({} if pushes is None else {"pushed": [one and asdict(one) for one in pushes]}))
    elif not jsonl:
        _print_tables(analysis, pushes, top)


def _print_tables(analysis: "Analysis", pushes: "list[Pushed | None] | None", top: int) -> None:
    from hooke.report.analysis_terminal import print_table

    print_table(analysis, console_for(), top)
    if pushes is not None:
        from hooke.report.attribution_terminal import print_pushed

        print_pushed([text.text for text in analysis.texts], pushes, console_for())


def _check_output(files: dict[str, Path | None], *, json: bool, jsonl: bool, pushed: bool) -> None:
    if pushed and jsonl:
        raise BadConfig("--pushed goes with a table or --json; with --jsonl every text is printed before that is worked out.")
    if json and jsonl:
        raise BadConfig("--json and --jsonl are two forms of the same output; give one of them.")
    check_places(*files.values())
    if files["parquet"] is not None and importlib.util.find_spec("pyarrow") is None:
        raise Missing("writing Parquet needs pyarrow: pip install 'hooke[parquet]'.")


def _reader(model: str, sae: tuple[str, ...], atlas: Path | None, *, jsonl: bool, **options: Any) -> "Reader":
    with Status() as status:
        from hooke.sae.packs import default_sae

        found = named(sae or [default_sae(model)], status)
        from hooke.analysis import Options, Reader

        # A stream should give its first results soon; a whole document is faster in larger chunks.
        chosen = Options(**options, chunk=32 if jsonl else 512)
        return Reader.load(model, [one.open() for one in found], chosen, progress=status, atlas=atlas)


def _with_first(first: str | None, rest: Iterator[str]) -> Iterator[str]:
    if first is not None:
        yield first
        yield from rest


def _counted(results: Iterable["TextResult"]) -> Iterator["TextResult"]:
    """The results, with a running count on a terminal."""
    with Status("Reading") as status:
        for count, result in enumerate(results, 1):
            status.count(f"Reading: {count:,} texts")
            yield result


def _printed(results: Iterable["TextResult"], *, kept: bool) -> Iterator["TextResult"]:
    """The results, each printed as it comes; they go on only where they are `kept` for a file with all of them."""
    for result in results:
        print_line(asdict(result))
        if kept:
            yield result


def _pushed(reader: "Reader", analysis: "Analysis", top: int) -> "list[Pushed | None]":
    from hooke.analysis.pushed import pushed

    with Status("Following gradients"):
        return list(pushed(reader, [text.text for text in analysis.texts], top))


def _write(reader: "Reader", analysis: "Analysis", files: dict[str, Path | None]) -> None:
    """Write the files that were asked for, each whole or not at all."""
    if (path := files["html"]) is not None:
        from hooke.report.analysis import page

        write_text(path, page, analysis, reader.known(analysis.texts))
    from hooke.analysis.rows import write_csv, write_parquet

    for form, write in (("csv", write_csv), ("parquet", write_parquet)):
        if (path := files[form]) is not None:
            write(analysis, path)
            talk(f"Wrote {path}")
