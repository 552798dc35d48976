"""Characters that cannot be seen, or that move others, shown as marks: text from outside made safe to look at."""

import re
from collections.abc import Iterator

_NAMES = {
    "\t": "TAB",
    "\n": "LF",
    "\r": "CR",
    "\0": "NUL",
    "\a": "BEL",
    "\b": "BS",
    "\x1b": "ESC",
    "\x7f": "DEL",
    "\x9b": "CSI",
    "\u00ad": "SHY",
    "\u061c": "ALM",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u2028": "LS",
    "\u2029": "PS",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\ufeff": "BOM",
}

# Controls, soft hyphen, bidirectional controls, zero-width and blank letters, tags, halves of surrogate pairs. The two
# joiners stay where scripts and emoji need them, between characters outside ASCII; elsewhere they are only there to hide.
_HIDDEN = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
    "|(?<![^\0-\x7f\\s])[\u200c\u200d]|[\u200c\u200d](?![^\0-\x7f\\s])"
)


def runs(text: str) -> Iterator[tuple[str, str | None]]:
    """The pieces of `text` in order: what can be shown as it is with None, each hidden character with its name.

    >>> list(runs("pay\\u202egap"))
    [('pay', None), ('\\u202e', 'RLO'), ('gap', None)]
    """
    at = 0
    for hidden in _HIDDEN.finditer(text):
        if hidden.start() > at:
            yield text[at : hidden.start()], None
        yield hidden[0], _NAMES.get(hidden[0], f"U+{ord(hidden[0]):04X}")
        at = hidden.end()
    if at < len(text):
        yield text[at:], None


def marked(text: str) -> str:
    """`text` on one line with every hidden character written out, safe for a terminal and for an attribute.

    >>> marked("\\x1b[31mred")
    '⟨ESC⟩[31mred'
    """
    return "".join(" " if piece in "\t\n\r" else piece if name is None else f"⟨{name}⟩" for piece, name in runs(text))


def stripped(text: str) -> str:
    """`text` on one line without any hidden character: for names and labels, which have no use for them."""
    return " ".join("".join(" " if piece in "\t\n\r" else piece if name is None else "" for piece, name in runs(text)).split())


def half_pair(text: str) -> int | None:
    """Where `text` first has half of a surrogate pair, which is no character and cannot be written as UTF-8; None where it has none.

    >>> half_pair("ab\\ud800"), half_pair("ab")
    (2, None)
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
