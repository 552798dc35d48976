"""Values: how counts and shares are typed, the same for every command, and between which bounds."""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, get_origin

from cyclopts import Parameter, Token

from hooke.errors import BadConfig, unknown

_NUMBER = "a whole number such as 2000, 500k or 2M"
_POWERS = {"": 0, "k": 1, "m": 2, "b": 3, "g": 3}


def read_count(text: str, thousand: int = 1000) -> int | None:
    """The whole number that `text` means, as ``500000``, ``500,000``, ``500k`` or ``2M``; None where it is none.

    A width is counted in powers of two, as SAEs are named: its `thousand` is 1,024.

    >>> read_count("2M"), read_count("1.5k"), read_count("16k", 1024), read_count("1.5"), read_count("many")
    (2000000, 1500, 16384, None, None)
    """
    found = re.fullmatch(r"(-?[0-9][0-9_,]*(?:\.[0-9]+)?)([kKmMbBgG]?)", text.strip())
    if found is None or len(text) > 40:
        return None
    value = Fraction(re.sub("[_,]", "", found[1])) * thousand ** _POWERS[found[2].lower()]
    return int(value) if value.denominator == 1 else None


def count(low: int, high: int, thousand: int = 1000) -> Parameter:
    """A count between `low` and `high`, for ``Annotated[int, count(1, 10), Parameter(help=...)]``."""

    def convert(kind: Any, tokens: Sequence[Token]) -> Any:
        values = [
            _within(token, read_count(token.value, thousand), low, high, "a whole number such as 2000, 500k or 2M") for token in tokens
        ]
        return tuple(values) if get_origin(kind) is tuple else values[0]

    return Parameter(converter=convert)


def share(low: float | int = 0, high: float | int = 1) -> Parameter:
    """A number between `low` and `high`; never NaN or infinite."""

    def convert(kind: Any, tokens: Sequence[Token]) -> Any:
        values = [_within(token, _number(token.value), low, high, "a number") for token in tokens]
        return tuple(values) if get_origin(kind) is tuple else values[0]

    return Parameter(converter=convert)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _within(token: Token, value: Any, low: float | int, high: float | int, wanted: str) -> Any:
    name = token.keyword or "the number"
    if token.source != "cli":
        name = f"{name.strip('[]')} in {token.source}"
    if value is None:
        raise BadConfig(f"{name} {token.value[:40]!r} is not {wanted}.")
    if not low <= value <= high:  # false for NaN, too
        raise BadConfig(f"{name} {token.value[:40]} is out of range: it must be from {_shown(low)} to {_shown(high)}.")
    return value


def _shown(bound: float | int) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


TOKENS = count(1, 10**13)
"""Tokens to read or write in all."""
BATCH = count(1, 1 << 22)
"""What is held in memory at once: tokens of a pass, documents of a batch."""
WINDOW = count(2, 1 << 20)
"""Tokens of a window or a document."""
WIDTH = count(1, 1 << 24, thousand=1024)
"""Features of an SAE; 4k is 4,096."""
FEW = count(1, 100_000)
"""What is shown or kept of each thing."""
SEED = count(0, 2**63 - 1)
"""A seed."""
WORKERS = count(0, 1024)
"""Threads or processes; 0 is one a core."""


def _atlases(kind: Any, tokens: Sequence[Token]) -> Any:
    from hooke import stores
    from hooke.sae.buckets import fetch_one

    paths = [fetch_one(token.value, ".sqlite") if stores.is_bucket(token.value) else Path(token.value) for token in tokens]
    return tuple(paths) if get_origin(kind) is tuple else paths[0]


ATLAS = Parameter(converter=_atlases)
"""An atlas file; of an address (``s3://...``) what was fetched from there."""


def refuse_options(kind: Any, value: str | Sequence[str] | None, hint: str = "") -> None:
    """Raise `BadConfig` for an option where a text is meant, as a validator of what may begin with a hyphen.

    Cyclopts takes a lone - for an option unless texts may begin with hyphens; then options it does not know reach us as texts.
    """
    from hooke.cli import app

    for text in (value,) if isinstance(value, str) else value or ():
        if not re.fullmatch(r"--?[A-Za-z][\w-]*(=.*)?", text):
            continue
        arguments = app.app_stack.current_frame[-1].assemble_argument_collection()
        known = [name for argument in arguments for name in argument.names if name.startswith("--")]
        if (name := text.partition("=")[0]) in known:
            raise BadConfig(f"{name} is an option, and stands where a text is meant. {hint}".strip())
        raise BadConfig(str(unknown("option", name, known, hint)))


TEXT = Parameter(allow_leading_hyphen=True, validator=refuse_options)
"""A text, which may begin with a hyphen."""
TEXTS = Parameter(
    allow_leading_hyphen=True, validator=partial(refuse_options, hint="Texts that look like options can come from a file or from -.")
)
"""The same, or a file of texts."""
