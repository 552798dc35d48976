"""Nothing in a table is ever cut: on a narrow terminal it goes on in the next line, in a pipe it is one line."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hooke.report.tables import table


def printed(rows: list[list[str]], width: int) -> str:
    found = table("name", "site", "features")
    for row in rows:
        found.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(found)
    return out.getvalue()


@given(
    st.lists(st.lists(st.text("abc/._-019", min_size=1, max_size=60), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(30, 90)
)
def test_every_character_of_every_cell_is_there(rows: list[list[str]], width: int) -> None:
    out = printed(rows, width)
    assert "…" not in out
    for character in "abc/._-019":
        heads = "namesitefeatures"
        assert out.count(character) == heads.count(character) + sum(cell.count(character) for row in rows for cell in row)
    lines = printed(rows, 10_000).splitlines()
    assert [line.split() for line in lines[1:]] == rows
