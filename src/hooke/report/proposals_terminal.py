"""Features proposed to steer with, in a terminal: what each does to the words, what that costs, and what chance does."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hooke.atlas.wording import chance, percent
from hooke.propose import Proposal
from hooke.text.marks import stripped

_TITLE = 120


def print_proposals(words: Sequence[str], sae: str, found: Sequence[Proposal], titles: Mapping[int, str | None], console: Console) -> None:
    """A row a feature, the one that raises the words most first."""
    console.print(Text(f"What one dose does to {stripped(', '.join(words))} after neutral text ({sae})", style="bold"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("right", "left", "left", "right", "right"):
        grid.add_column(justify=justify, overflow="fold")
    heads = ("feature", "name", "odds rise by (nats)", "probability", "all moves by (nats)", "chance")
    grid.add_row(*(Text(head, style="dim") for head in heads))
    for one in found:
        title = titles.get(one.feature)
        style = "" if one.holds else "dim"
        grid.add_row(
            str(one.feature),
            stripped(title)[:_TITLE] if title else "no label",
            f"{one.rise.mean:+.2f} [{one.rise.low:+.2f}, {one.rise.high:+.2f}]",
            f"{chance(one.probability[0])} → {chance(one.probability[1])}",
            f"{one.kl.mean:.2f}",
            percent(one.p),
            style=style,
        )
    console.print(grid)
    console.print(Text("chance: the share of 20 steps (19 random ones as long, and this one) that raise the words as much", style="dim"))
    console.print(Text("Measured on text that nobody chose for it; a name alone says nothing of what a feature does.", style="italic"))
