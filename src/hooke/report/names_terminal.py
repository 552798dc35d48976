"""Names that the words behind them belie, in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from hooke.atlas.wording import percent
from hooke.explain.llm.words import Heard
from hooke.report.tables import table
from hooke.text.marks import stripped

_WORDS = 6


def print_belied(found: Sequence[Heard], console: Console) -> None:
    """A row a name, the one that its words belie most first."""
    grid = table("feature", "name", "holds for", "places", "fires on")
    for one in found:
        words = ", ".join(f"{stripped(word).strip() or repr(word)} {count:,}" for word, count in one.words[:_WORDS])
        grid.add_row(str(one.feature), Text(stripped(one.name)), percent(one.share or 0.0), f"{one.right:,} of {one.places:,}", Text(words))
    console.print(grid)
    said = "holds for: share of all that the feature fires on; tokens and places in its atlas count by how often there are such"
    console.print(Text(said, style="dim"))
