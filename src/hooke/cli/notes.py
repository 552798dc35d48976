"""`hooke notes`: what you wrote about features."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hooke.cli.options import Json
from hooke.cli.output import console_for, print_line, write_text
from hooke.errors import BadConfig, BadFile

_MOST = 64 << 20


def notes(
    *,
    export: Annotated[Path | None, Parameter(help="Write all notes to this file, as JSON.")] = None,
    take: Annotated[
        Path | None, Parameter(name="--import", help="Take in a file that --export wrote; the later of two notes stays.")
    ] = None,
    json: Json = False,
) -> None:
    """List your notes, stars and labels, or carry them to another machine."""
    from hooke.atlas.notes import Notes

    own = Notes()
    if take is not None:
        sys.stderr.write(f"Took in {own.load(_read(take)):,} notes.\n")
    document = own.export()
    write_text(export, lambda: json_format.dumps(document, ensure_ascii=False, indent=1) + "\n")
    if json:
        print_line(document)
    elif export is None and take is None:
        _show(document["notes"])


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > _MOST:
            raise BadFile(f"{path} is larger than any document of notes.")
        return json_format.loads(path.read_bytes())
    except OSError as error:
        raise BadConfig(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is no document of notes: {str(error)[:200]}.") from error


def _show(rows: list[dict[str, object]]) -> None:
    from rich.text import Text

    from hooke.report.tables import table as table_of
    from hooke.text.marks import marked

    console = console_for()
    if not rows:
        console.print("Nothing is written yet. For example: hooke feature 12/99 --star --note 'fires in headlines on rates'")
        return
    table = table_of("", "feature", "your label", "note")
    for row in rows:
        name = f"{row['sae']}/{row['index']}"
        table.add_row("★" if row["star"] else "", *(Text(marked(str(cell))) for cell in (name, row["label"], row["note"])))
    console.print(table)
