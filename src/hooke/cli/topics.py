"""`hooke topics`: the topics of a corpus, out of the features that its texts are about."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.named import named
from hooke.cli.options import Column, Field, Json, ModelName, ReadingSaes, Seed, Texts
from hooke.cli.output import Status, console_for, print_line
from hooke.cli.values import FEW
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.analysis.corpus_topics import CorpusTopics


def topics(
    *inputs: Texts,
    topics: Annotated[int, FEW, Parameter(help="How many topics to make.")] = 20,
    model: ModelName = "gemma-3-270m",
    sae: ReadingSaes = (),
    seed: Annotated[Seed, Parameter(help="Of the merging; the same seed gives the same topics.")] = 0,
    field: Field = None,
    column: Column = None,
    json: Json = False,
) -> None:
    """Group texts into topics of their own, by the features of what they are about."""
    from hooke.text.arguments import texts_from

    if topics < 2:
        raise BadConfig(f"--topics {topics} is too few: ask for at least 2.")
    texts = list(texts_from(inputs, field=field, column=column))
    with Status() as status:
        named_saes = named(sae, status)
        from hooke.analysis import Options, Reader
        from hooke.analysis.corpus_topics import corpus_topics

        opened = [one.open() for one in named_saes]
        reader = Reader.load(model, opened, Options(top=_ATOMS, chunk=512), progress=status)
        status.count(f"Reading {len(texts):,} texts")
        found = corpus_topics(list(reader.read(texts)), topics, seed=seed)
    if json:
        print_line(found.to_json())
    else:
        _print(found, texts)


_ATOMS = 12
"""Features of what each text is about that topics are made of."""


_FIGURES = (
    "coherence: how much oftener than by chance a topic's words stand in the same texts, -1 to 1; diversity: the share of words that are"
    " in one topic alone; stability: whether other seeds sort the texts alike, 1 is the same. lda and nmf sort them by words alone, and"
    " their topics are made of such words: that they score higher here is usual. No topic of theirs has a name."
)
"""What the figures beneath the topics are."""


def _print(found: "CorpusTopics", texts: list[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from hooke.text.marks import marked, stripped

    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in (None, None):
        grid.add_column(width=width, overflow="fold")
    for topic in found.topics:
        headlines = [Text(marked(texts[n][:100]), style="dim") for n in topic.texts[:3]]
        said = Text("\n").join([Text(stripped(topic.name), style="bold"), Text(", ".join(map(marked, topic.words))), *headlines, Text("")])
        grid.add_row(Text(f"{topic.share:.0%}"), said)
    console = console_for()
    console.print(grid)
    rows = {"these topics": vars(found), **found.baselines}
    table = Table("", "coherence (NPMI)", "diversity", "stability", box=None, padding=(0, 2, 0, 0))
    for name, own in rows.items():
        table.add_row(name, *("–" if own[key] is None else f"{own[key]:.2f}" for key in ("coherence", "diversity", "stability")))
    console.print(table)
    console.print(Text(_FIGURES, style="dim"))
