"""Text stays text, whatever it is made of."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from hooke.text.marks import marked
from hooke.text.markup import Markup, join, tag


@given(st.text(), st.text())
def test_round_trip_through_a_parser(text: str, value: str) -> None:
    seen: list[object] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, attrs))

    parser = Parser()
    parser.feed(tag("p", text, title=value))
    assert seen == [("p", [("title", marked(value))])]


def test_children_and_attributes() -> None:
    assert tag("p", None, ["a<b", Markup("<i>c</i>")], class_="x", aria_label="y", hidden=False, checked=True) == (
        '<p class="x" aria-label="y" checked>a&lt;b<i>c</i></p>'
    )
    assert tag("input", name="n") == '<input name="n">'
    assert join("a&b", tag("b", "c")) == "a&amp;b<b>c</b>"
