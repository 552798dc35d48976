"""Hidden characters: found, named, never lost by accident."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hooke.text.marks import marked, runs, stripped


@given(st.text())
def test_runs_hold_the_whole_text(text: str) -> None:
    assert "".join(piece for piece, _ in runs(text)) == text


@given(st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs", "Ll", "Lo"])))
def test_nothing_that_steers_a_terminal_or_a_page_is_left(text: str) -> None:
    for safe in (marked(text), stripped(text)):
        assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") or c in "\u202a\u202e\u2066\u2069\u200b\ufeff" for c in safe)


def test_names_and_codes() -> None:
    assert marked("a\u202eb\u200bc\x1b[0m\x01\nd") == "a⟨RLO⟩b⟨ZWSP⟩c⟨ESC⟩[0m⟨U+0001⟩ d"
    assert stripped("  a\u202eb\x1b\n\tc ") == "ab c"


def test_joiners_stay_where_they_are_spelling() -> None:
    persian, family = "می\u200cخواهم", "👩\u200d👩\u200d👧"
    assert marked(persian) == persian
    assert marked(family) == family
    assert marked("pay\u200dpal") == "pay⟨ZWJ⟩pal"
    assert stripped("\u200cx") == "x"
