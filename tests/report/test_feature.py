"""A context on a page: the same words and tints, however briefly they are written."""

import re

from hooke.atlas.feature import Context
from hooke.report.feature import highlighted

CONTEXT = Context([" the", " bank", " rate", " rose", " <b>", " fast"], [0.0, 4.1, 4.2, 10.0, 9.9, 0.0], 3, "news", 0, 0)


def tints(drawn: str) -> list[tuple[str, str]]:
    """Each word with the classes that it stands in."""
    pieces = re.findall(r'<span class="([^"]*)"[^>]*>([^<]*)</span>|([^<]+)', drawn)
    return [(word, classes) for classes, tinted, plain in pieces for word in (tinted or plain).split()]


def test_neighbours_of_one_tint_share_it_and_nothing_else_changes() -> None:
    whole, brief = highlighted(CONTEXT, 10.0, figures=True), highlighted(CONTEXT, 10.0)
    assert tints(brief) == tints(whole)
    assert dict(tints(brief)) == {"the": "", "bank": "s3", "rate": "s3", "rose": "s5 peak", "&lt;b&gt;": "s5", "fast": ""}
    assert (whole.count("<span"), brief.count("<span")) == (4, 3)
    assert ("title=" in whole, "title=" in brief) == (True, False)
