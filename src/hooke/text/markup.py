"""HTML out of values: whatever is not finished markup is escaped, so nothing from outside can become an element."""

from collections.abc import Iterable
from html import escape

from hooke.text.marks import marked

_EMPTY = {"input", "meta"}


class Markup(str):
    """Finished HTML, made only here and from constants."""

    __slots__ = ()


Child = str | Iterable[str] | None


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """One element; plain strings among its children and attributes are text.

    A trailing underscore is left off an attribute's name and others become hyphens; None and False leave it out.

    >>> tag("b", "1 < 2", class_="x", hidden=True)
    '<b class="x" hidden>1 &lt; 2</b>'
    """
    written = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(key)
        elif value is not None and value is not False:
            written.append(f'{key}="{escape(marked(str(value)))}"')
    opening = f"<{' '.join(written)}>"
    if name in _EMPTY:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """The children one after another."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, str):
            parts.append(child if isinstance(child, Markup) else escape(marked(child)))
        elif child is not None:
            parts.extend(join(part) for part in child)
    return Markup("".join(parts))
