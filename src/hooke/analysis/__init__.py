"""Analyze: which features a model used on each text, and which broader topics they make up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hooke.analysis.reader import Options, Reader
from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult, TopicScore
from hooke.analysis.summary import conclude
from hooke.errors import BadConfig
from hooke.model import Model
from hooke.sae import Sae

__all__ = ["Analysis", "Hit", "Options", "Reader", "TextResult", "TopicResult", "TopicScore", "analyze", "conclude"]


def analyze(
    texts: str | Iterable[Any],
    *,
    model: str | Path | Model = "gemma-3-270m",
    saes: str | Path | Sae | Sequence[str | Path | Sae] = (),
    top: int = Options.top,
    pool: Literal["max", "mean", "sum"] = Options.pool,
    min_label_score: float = Options.min_label_score,
    progress: Callable[[str], None] = lambda _: None,
) -> Analysis:
    """What the features of `saes` (default: the pack's layer that reads news best) say about each of `texts`, and their topics.

    `texts` is a text or several (a list, a column of a data frame); `model` and `saes` are names, paths, or what is loaded already.
    `top` features are given for each text, none whose label scores less than `min_label_score`; `pool` makes a feature's activations one
    number a text. Raises `BadConfig` naming the index of what is no text.

    >>> analysis = analyze("Striker scores twice in cup final", top=3)  # doctest: +SKIP
    >>> analysis.texts[0].topic  # doctest: +SKIP
    'sport'
    """
    options = Options(top=top, pool=pool, min_label_score=min_label_score)
    given = _texts([texts] if isinstance(texts, str) else texts)
    reader = Reader.load(model, [saes] if isinstance(saes, str | Path | Sae) else saes, options, progress=progress)
    return conclude(reader, list(reader.read(given)))


def _texts(texts: Any) -> list[str]:
    """All `texts`, each of which is one."""
    # What goes over its names where one means its values.
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping) or hasattr(texts, "columns"):
        kind = type(texts).__name__
        raise BadConfig(f"texts is {texts!r:.60} ({kind}), not texts. Give a text, a list of texts, or one column of a data frame.")
    given = list(texts)
    for index, text in enumerate(given):
        if not isinstance(text, str):
            raise BadConfig(f"texts[{index}] is {text!r:.60} ({type(text).__name__}), not text. Leave it out, or make it a string.")
    return given
