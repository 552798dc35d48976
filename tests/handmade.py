"""A small atlas written by hand: two SAEs, a few windows of text, hostile strings, and every part of a record once."""

from pathlib import Path

import numpy as np
import planted

from hooke.atlas import NO_MEANING, AtlasWriter, Example, FeatureRecord, Label, SaeEntry, Score, TextWindow, TokenCount

FIRST, SECOND = "tiny/resid_post.3/8", "tiny/resid_post.7/4"
GROUPS = {"about": [0, 3], "word": [3, 8]}
KEPT = {"background_texts": 6000, "a": [1, None], "groups": GROUPS}
FACTS = {"model": "tiny", "topics": ["sport", "none"], "tokens": 1234, "corpora": {"b": 0.5, "a": 0.5}}
TEXTS = (
    "the rocket launch into space was delayed by wind",
    "oil prices rose as the launch of the café opened",
    "a <b>bold</b> \x1b[31mred \u202e evil \0 \" ' & token",
    "nobody looks at this window",
)
WORDS = sorted({word for text in TEXTS for word in text.split(" ")})
PIECES: dict[int, str | bytes] = {i: f" {word}" for i, word in enumerate(WORDS)} | {90: b"\xf0\x9f", 91: b"\x98\x80", 92: " unused"}


def token(word: str) -> int:
    return WORDS.index(word)


def windows() -> list[TextWindow]:
    ids = [np.array([token(word) for word in text.split(" ")]) for text in TEXTS]
    ids[1] = np.concatenate([ids[1], [90, 91]])
    return [TextWindow(i, "news", 10 + i, 5 * i, own) for i, own in enumerate(ids)]


def example(window: int, peak: int, *values: float) -> Example:
    """Fires from the peak on."""
    return Example(window, peak, np.arange(peak, peak + len(values)), np.array(values))


def record(index: int, topics: int = 2) -> FeatureRecord:
    """Feature 1 fires on rockets, 2 on prices, 3 on hostile text; others on nothing."""
    histogram = np.zeros(50, np.int64)
    if index not in (1, 2, 3):
        return planted.record(index, topics=np.zeros(topics), label=Label("" if index else "too rare to name", "none"))
    histogram[:3], histogram[49] = (30, 20, 9), 1
    text = {1: "rockets and space", 2: NO_MEANING, 3: "\x1b[31m<b>hostile</b> \u202elabel"}[index]
    return planted.record(
        index,
        count=60,
        density=index / 8,
        max=12.5,
        mean=3.25,
        quantiles=np.linspace(1, 12, 5),
        histogram=histogram,
        documents=17,
        persistence=0.125,
        commonest=0.5,
        purity=(0.4, 0.6, 0.9),
        tokens=[TokenCount(token("rocket"), 40, 0.4, 3.5), TokenCount(token("space"), 20, 0.2, -0.5)],
        top=[example(index - 1, 1, 12.5, 3.25), example((index + 1) % 3, 0, 11.0)],
        intervals=[[], [example(0, 2, 4.5)], [], [], [example(1, 8, 12.0)]],
        misses=[Example(1, 1, np.zeros(0, int), np.zeros(0))],
        promoted=[(token("rocket"), 1.5), (token("oil"), 0.5)],
        suppressed=[(token("wind"), -2.0)],
        neighbours=[(2, 0.75), (3, 0.5)],
        together=[(3, 0.125)],
        label=Label(text, "word", {"words": ["rocket"]}, Score(0.5 + index / 8, 0.5, 0.95, 40, 80), Score(0.8, 0.7, 0.9, 9, 9), 0.75, 0.5),
        output=Label("rockets", "output"),
        background=np.arange(8) + 70_000 * (index == 2),
        topics=np.arange(topics) / 4,
    )


def write(path: Path, **options: object) -> Path:
    entries = (
        SaeEntry(FIRST, "ab" * 32, 8, KEPT, np.linspace(-1, 1, 4, dtype=np.float32)),
        SaeEntry(SECOND, "", 4, {}, np.zeros(4, np.float32)),
    )
    with AtlasWriter(path, FACTS, **options) as writer:
        writer.windows(windows())
        writer.pieces(PIECES)
        for entry in entries:
            writer.sae(entry, map(record, range(entry.d_sae)))
        return writer.finish()
