"""Tables for a terminal in which nothing is ever cut: a cell that is too long for its column goes on in the next line."""

from typing import Any

from rich.table import Column, Table


def table(*headings: str, **options: Any) -> Table:
    """A table with these columns, their headings bold and no frame; `options` are rich's."""
    columns = [Column(heading, overflow="fold") for heading in headings]
    return Table(*columns, **{"box": None, "header_style": "bold"} | options)
