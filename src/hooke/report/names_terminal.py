"""Names held against words and marks, in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from hooke.atlas.wording import percent
from hooke.explain.llm.marks import SAID
from hooke.explain.llm.words import Heard
from hooke.report.tables import table
from hooke.text.marks import stripped

if TYPE_CHECKING:
    from hooke.analysis.marking import Learnt

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


def print_learnt(learnt: "Learnt", console: Console) -> None:
    """How good a likelihood is on texts left out: what it says beside what is so, and the first names of a text without and with it."""
    grid = table("said", "names", "right")
    for tenth, count, right in learnt.calibration:
        grid.add_row(f"{tenth} to {tenth + 1} in 10", f"{count:,}", percent(right))
    console.print(grid)
    firsts = table("first three names", *SAID.values(), "texts without a good one", "shown")
    for called, own in (("as they stood", learnt.before), ("the likeliest", learnt.after)):
        firsts.add_row(called, *(percent(own.said[value]) for value in SAID.values()), percent(own.none), f"{own.shown:.2f}")
    console.print(firsts)
