"""What is private in a text is found whatever stands around it; what only looks like it stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.text.private import COVER, covered, hidden, masked

PRIVATE = {
    "a.b@c.org": "[e-mail]",
    "jo+news@mail.example.co.uk": "[e-mail]",
    "GB29 NWBK 6016 1331 9268 19": "[account]",
    "020 7946 0958": "[number]",
    "(020) 7946-0958": "[number]",
    "+33 6 12 34 56 78": "[number]",
    "06 12 34 56 78": "[number]",
    "555-123-4567": "[number]",
    "4929 1234 5678 9012": "[number]",
    "123456789": "[number]",
}
HARMLESS = (
    "1,250,000 people",
    "2004-05-06",
    "2016-07-31 12:30",
    "31/12/2019 10",
    "1990 1991 1992",
    "1914-1918",
    "3.141592653589",
    "12 15 9 33 41",
    "room 12, 90210",
    "@nobody",
    "a @ b",
)


@pytest.mark.parametrize(("given", "mark"), PRIVATE.items())
def test_private_matters_are_masked(given, mark):
    assert masked(given) == mark
    assert masked(f"Write to {given}, or to {given}.") == f"Write to {mark}, or to {mark}."


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_private_stays(text):
    assert masked(f"see {text}, then") == f"see {text}, then"


@given(st.lists(st.sampled_from([*PRIVATE, *HARMLESS, " and ", "word", "\n", "é"]), max_size=6).map(" ".join), st.data())
def test_pieces_are_hidden_wherever_a_text_is_cut(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    gone = hidden(pieces)
    shown = covered(pieces)
    assert len(shown) == len(pieces)
    assert [n for n, piece in enumerate(shown) if piece != pieces[n]] == gone
    assert (COVER in "".join(shown)) == bool(gone) == (masked(text) != text)


def test_a_long_text_takes_no_longer_than_it_is_long():
    """Of every pattern the worst case: what begins like it over and over."""
    for text in ("a.b" * 100_000, "1 " * 100_000, "AB12 " * 60_000, ("9" * 9 + "a") * 30_000, "a@" * 100_000):
        assert len(masked(text)) > 0


@pytest.mark.parametrize("beside", HARMLESS[:8])
def test_a_number_is_found_beside_what_only_looks_like_one(beside):
    assert "[number]" in masked(f"{beside}, 020 7946 0958")
    assert "[number]" in masked(f"020 7946 0958 {beside}")
