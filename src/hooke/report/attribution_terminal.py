"""Which features push what a model expects next, in a terminal: the features, where they are active, and how far to trust it."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hooke.analysis.pushed import Pushed
from hooke.attribute import Attribution
from hooke.text.marks import marked, stripped

_TITLE, _WORDS = 120, 4


def print_attribution(result: Attribution, words: Sequence[str], titles: Mapping[int, str | None], console: Console, top: int) -> None:
    """The largest pushes up and down, and the checks."""
    console.print(Text(marked(result.text), style="bold"), Text(f"  → {_asked(result, words)}"))
    console.print(Padding(pushes(result, titles, top), (0, 0, 0, 2), expand=False))
    for said in checks(result):
        console.print(Text(said, style="dim"))


def pushes(result: Attribution, titles: Mapping[int, str | None], top: int) -> Table:
    """A row for each of the features that push most: by how much, which, and on which words."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold", style="dim")
    for index, value in result.by_feature()[:top]:
        title = titles.get(index)
        own = [one for one in result.contributions if one.feature == index][:_WORDS]
        where = " ".join(f"“{marked(result.tokens[one.position])}”" for one in own)
        grid.add_row(f"{value:+.2f}", str(index), Text(stripped(title)[:_TITLE] if title else "no label"), Text(f"on {where}"))
    return grid


def checks(result: Attribution) -> list[str]:
    """How far the numbers can be trusted, a sentence each."""
    whole = result.metric - result.baseline
    said = [
        f"Nats, by the {result.method} method at {result.sae}. All features together make {result.total:+.2f}; it should be {whole:+.2f}"
    ]
    said[0] += "." if result.completeness is None else f" (completeness {result.completeness:.2f}, 1 is all)."
    tried = sum(one.exact is not None for one in result.contributions)
    if result.correlation is not None and result.method != "exact":
        said.append(f"Correlation with taking each of the {tried} largest out: {result.correlation:.2f}.")
        if result.correlation < 0.8:
            said.append("That is little: taking one out alone says otherwise than its share in all of them. Look at --method exact too.")
    said.append(f"What the SAE does not explain pushes {result.error:+.2f}, to first order.")
    return said


def print_pushed(texts: Sequence[str], found: Sequence[Pushed | None], console: Console) -> None:
    """After each text the word that the model expects, and what pushes it."""
    console.print(Text("What pushes the next word (nats, by integrated gradients)", style="bold"))
    for text, one in zip(texts, found, strict=True):
        if one is None:
            console.print(Text(f"{marked(text)[:_TITLE]} …: too long to follow", style="dim"))
            continue
        console.print(Text(marked(text)), Text(f"→ “{marked(one.token)}” {one.probability:.0%}", style="bold"))
        for push in one.features:
            title = stripped(push.title)[:_TITLE] if push.title else "no label"
            console.print(Text(f"  {push.value:+.2f}  {push.feature.rpartition('/')[2]}  {title}"))
        checked = {"completeness": one.completeness, "correlation with exact": one.correlation}
        known = [f"{name} {value:.2f}" for name, value in checked.items() if value is not None]
        console.print(Text(f"  {', '.join(known)}", style="dim"))


def _asked(result: Attribution, words: Sequence[str]) -> str:
    if len(words) > 1:
        return f"“{marked(words[0])}” stands {result.metric:+.2f} above “{marked(words[1])}”"
    return f"“{marked(words[0])}” has probability {math.exp(min(0.0, result.metric)):.3g} (log {result.metric:.2f})"
