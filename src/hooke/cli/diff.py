"""`hooke diff`: what a model reads more often in one pile of texts than in another."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.output import check_places, console_for, print_line, say, talk
from hooke.cli.values import FEW, SEED, refuse_options
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.differences import Differences

_FILES = "file"


def diff(
    *inputs: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="A file with a field of groups (--by, --trend), - for JSONL from standard input, or two files or more, each a group.",
        ),
    ],
    by: Annotated[str | None, Parameter(help="The field that says which group a text is of.")] = None,
    trend: Annotated[str | None, Parameter(help="In the place of groups, a field that is a number or a date.")] = None,
    group: Annotated[tuple[str, ...], Parameter(negative="", help="Compare only these groups; give it once for each.")] = (),
    family: Annotated[str | None, Parameter(help="The field of what belongs together: an author, a story; dealt out as a whole.")] = None,
    pair: Annotated[str | None, Parameter(help="The field that joins two texts, one of each group: a sentence, and it changed.")] = None,
    source: Annotated[str | None, Parameter(help="The field of where a text is from, to be held fixed; else source or outlet.")] = None,
    model: Annotated[str, Parameter(help="A carried model's name, a folder, or org/name on a hub.")] = "gemma-3-270m",
    sae: Annotated[
        tuple[str, ...], Parameter(negative="", help="Name (see `hooke saes`) or file of an SAE; may be given several times.")
    ] = (),
    atlas: Annotated[Path | None, Parameter(help="An atlas file that knows the SAEs; by default those at hand.")] = None,
    top: Annotated[int, FEW, Parameter(help="Rows shown of each list.")] = 8,
    seed: Annotated[int, SEED, Parameter(help="Of the halves and what is dealt out; the same seed gives the same result.")] = 0,
    field: Annotated[str | None, Parameter(help="The field of a JSONL file that holds the text.")] = None,
    column: Annotated[str | None, Parameter(help="The column of a CSV file that holds the text.")] = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")] = False,
    html: Annotated[Path | None, Parameter(help="Also write a page with everything to this file.")] = None,
    csv: Annotated[Path | None, Parameter(help="Also write a CSV file, a row for each finding.")] = None,
) -> None:
    """Show what differs between groups of texts: features, topics and words, with error control."""
    refuse_options(["diff"], inputs)
    check_places(html, csv)
    console = console_for(stderr=True)
    with console.status("Loading") as status:
        found = named(sae, lambda text: say(console, status, text))
        texts, name = _texts(inputs, by, trend, field, column)
        from hooke.analysis import Options, Reader
        from hooke.differences import compare
        from hooke.differences.assemble import detectable
        from hooke.differences.grouping import group as grouped_by
        from hooke.report.differences_wording import ahead

        grouped = grouped_by(texts, name, groups=group, family=family, pair=pair, trend=trend is not None)
        opened = [one.open() for one in found]
        reader = Reader.load(model, opened, Options(), progress=lambda text: say(console, status, text), atlas=atlas)
        most = sum(one.sae.d_sae for one in reader.labelled_saes) * len(grouped.comparisons)
        say(console, status, ahead(detectable(grouped, most), most))
        result = compare(reader, grouped, source=source, seed=seed, progress=lambda text: _told(console, status, text))
    _show(result, as_json=json, html=html, csv=csv, top=top)


def _told(console, status, text: str) -> None:
    """Counts go to the status line alone; what begins is said to a log, too."""
    if text.startswith("Reading:"):
        status.update(text)
    else:
        say(console, status, text)


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
    from hooke.files import atomic_write

    if html is not None:
        from hooke.report.differences import page

        with atomic_write(html) as file:
            file.write(page(result).encode())
    if csv is not None:
        from hooke.differences.rows import csv_text

        with atomic_write(csv) as file:
            file.write(csv_text(result).encode())
    if as_json:
        print_line(result.to_json())
    else:
        from hooke.report.differences_terminal import print_differences

        print_differences(result, console_for(), top)
    for path in filter(None, (html, csv)):
        talk(f"Wrote {path}")
