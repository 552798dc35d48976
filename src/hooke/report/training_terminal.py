"""A training run in a terminal: what it will take."""

from rich.table import Table

from hooke.train.cost import CostSheet


def cost_table(sheet: CostSheet) -> Table:
    """Time, memory and disk, and the parts of each."""
    table = Table(title="What this run takes", box=None, padding=(0, 2, 0, 0), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(justify="right")
    for what, part, much in sheet.rows():
        table.add_row(what, part, much, style=None if what else "dim")
    return table
