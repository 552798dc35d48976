"""Analyze: which features a model used on each text, and which broader topics they make up."""

from collections.abc import Callable, Iterable, Sequence

from hooke.analysis.reader import Options, Reader
from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult, TopicScore
from hooke.analysis.summary import conclude

__all__ = ["Analysis", "Hit", "Options", "Reader", "TextResult", "TopicResult", "TopicScore", "analyze", "conclude"]


def analyze(
    texts: Iterable[str],
    *,
    model: str = "gemma-3-270m",
    saes: Sequence[str] = (),
    options: Options | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Analysis:
    """What the features of `saes` (default: the pack's layer that reads news best) say about each of `texts`, and their topics.

    >>> analysis = analyze(["Striker scores twice in cup final"])  # doctest: +SKIP
    >>> analysis.texts[0].topic  # doctest: +SKIP
    'sport'
    """
    reader = Reader.load(model, saes, options or Options(), progress=progress)
    return conclude(reader, list(reader.read(texts)))
