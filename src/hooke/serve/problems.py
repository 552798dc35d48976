"""Problems: what went wrong as RFC 9457 documents, the same sentence that the command line would print."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from hooke.errors import BadConfig, BadFile, Busy, DigestMismatch, HookeError, LimitReached, Missing, ShapeMismatch, UnknownName

MEDIA_TYPE = "application/problem+json"
# The first that fits counts.
_STATUS: tuple[tuple[type[HookeError], int], ...] = (
    (BadConfig, 400),
    (UnknownName, 404),
    (Missing, 404),
    (DigestMismatch, 409),
    (LimitReached, 413),
    (BadFile, 422),
    (ShapeMismatch, 422),
    (Busy, 429),
)


@dataclass(frozen=True)
class Problem:
    """What went wrong, what was asked and what to do."""

    type: str
    """``urn:hooke:problem:KIND``."""
    title: str
    """The kind in words."""
    status: int
    """HTTP status."""
    detail: str
    """What was asked, what is known, what to do."""

    def body(self) -> bytes:
        """The document."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()


def problem(kind: str, status: int, detail: str) -> Problem:
    """A problem of a `kind` that is written in lower case with hyphens."""
    return Problem(f"urn:hooke:problem:{kind}", kind.replace("-", " ").capitalize(), status, detail)


def problem_of(error: HookeError) -> Problem:
    """The problem that an error of ours is."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    return problem(kind, status, str(error))


def unexpected() -> Problem:
    """What is said where the server itself is at fault; what happened stands in its terminal, not in the answer."""
    return problem("internal-error", 500, "the server met an error of its own; its terminal says what happened.")


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "What was wrong with the request",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
"""What every route may answer besides its own, for the schema."""
