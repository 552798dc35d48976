"""`hooke diff`: what a model reads more often in one pile of texts than in another."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.options import AtlasFile, Column, Field, Html, Json, ModelName, ReadingSaes, Seed
from hooke.cli.output import Status, check_places, console_for, print_line, write_text
from hooke.cli.values import FEW, TEXTS
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.differences import Differences

_FILES = "file"


def diff(
    *inputs: Annotated[
        str,
        TEXTS,
        Parameter(
            help="A file with a field of groups (--by, --trend), - for JSONL from standard input, or two files or more, each a group."
        ),
    ],
    by: Annotated[str | None, Parameter(help="The field that says which group a text is of.")] = None,
    trend: Annotated[str | None, Parameter(help="In the place of groups, a field that is a number or a date.")] = None,
    group: Annotated[tuple[str, ...], Parameter(help="Compare only these groups; give it once for each.")] = (),
    family: Annotated[str | None, Parameter(help="The field of what belongs together: an author, a story; dealt out as a whole.")] = None,
    pair: Annotated[str | None, Parameter(help="The field that joins two texts, one of each group: a sentence, and it changed.")] = None,
    source: Annotated[str | None, Parameter(help="The field of where a text is from, to be held fixed; else source or outlet.")] = None,
    model: ModelName = "gemma-3-270m",
    sae: ReadingSaes = (),
    atlas: AtlasFile = None,
    top: Annotated[int, FEW, Parameter(help="Rows shown of each list.")] = 8,
    seed: Annotated[Seed, Parameter(help="Of the halves and what is dealt out; the same seed gives the same result.")] = 0,
    field: Field = None,
    column: Column = None,
    json: Json = False,
    html: Html = None,
    csv: Annotated[Path | None, Parameter(help="Also write a CSV file, a row for each finding.")] = None,
) -> None:
    """Show what differs between groups of texts: features, topics and words, with error control."""
    check_places(html, csv)
    with Status() as status:
        found = named(sae, status)
        texts, name = _texts(inputs, by, trend, field, column)
        from hooke.analysis import Options, Reader
        from hooke.differences import compare
        from hooke.differences.assemble import detectable
        from hooke.differences.grouping import group as grouped_by
        from hooke.report.differences_wording import ahead

        grouped = grouped_by(texts, name, groups=group, family=family, pair=pair, trend=trend is not None)
        opened = [one.open() for one in found]
        reader = Reader.load(model, opened, Options(), progress=status, atlas=atlas)
        most = sum(one.sae.d_sae for one in reader.labelled_saes) * len(grouped.comparisons)
        status(ahead(detectable(grouped, most), f"at most {most:,} tests"))
        told = lambda text: (status.count if text.startswith("Reading:") else status)(text)  # noqa: E731 (of counts no log)
        result = compare(reader, grouped, source=source, seed=seed, progress=told)
    _show(result, as_json=json, html=html, csv=csv, top=top)


def _texts(inputs: tuple[str, ...], by: str | None, trend: str | None, field: str | None, column: str | None) -> tuple[list[str], str]:
    """The texts with their fields, and the field of the groups."""
    from hooke.differences.grouping import MAX_GROUPS, piles
    from hooke.text.arguments import texts_from

    if by is not None and trend is not None:
        raise BadConfig("--by names groups and --trend a number or a date: give one of them.")
    wanted = by or trend
    if wanted is not None:
        if inputs == ("-",) and column is None:  # plain lines have no groups
            field = field or "text"
        return list(texts_from(inputs, field=field, column=column, form="auto")), wanted
    if len(inputs) < 2:
        raise BadConfig("nothing to compare: name a field of groups with --by (or --trend), or give two files.")
    if len(inputs) > MAX_GROUPS:
        raise BadConfig(
            f"{len(inputs):,} files were given, and at most {MAX_GROUPS} groups are compared at once. Give fewer, or one file with a field"
            " of groups and --by."
        )
    names = [Path(one).name.partition(".")[0] or one for one in inputs]
    names = names if len(set(names)) == len(names) else list(inputs)
    digests = [hashlib.sha256(Path(one).read_bytes()).hexdigest() for one in inputs if Path(one).is_file()]
    if len(set(digests)) < len(digests):
        raise BadConfig("two of the files are the same, so there is no difference between them. Give different files.")
    own = [list(texts_from([one], field=field, column=column)) for one in inputs]
    return piles(own, names, _FILES), _FILES


def _show(result: "Differences", *, as_json: bool, html: Path | None, csv: Path | None, top: int) -> None:
    from hooke.differences.rows import csv_text
    from hooke.report.differences import page

    write_text(html, page, result)
    write_text(csv, csv_text, result)
    if as_json:
        print_line(result.to_json())
    else:
        from hooke.report.differences_terminal import print_differences

        print_differences(result, console_for(), top)
