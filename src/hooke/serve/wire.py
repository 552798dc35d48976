"""Wire: plain values as JSON and as a stream of events. A number that is not finite is null."""

import json
import math
from collections.abc import AsyncIterator
from dataclasses import fields, is_dataclass
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

from hooke.errors import Busy
from hooke.serve.problems import MEDIA_TYPE
from hooke.serve.worker import Job

_AS_THEY_ARE = frozenset((str, int, bool, type(None)))


def plain(value: Any) -> Any:
    """Dataclasses, containers and numbers as JSON has them."""
    if type(value) in _AS_THEY_ARE:  # of the thousands of values of an answer nearly all are; told without asking what else they may be
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [own if type(own) in _AS_THEY_ARE else plain(own) for own in value]
    if isinstance(value, dict):
        return {str(key): plain(own) for key, own in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return value


def encoded(value: Any) -> bytes:
    """One JSON document. Halves of surrogate pairs, which no text has, are replaced."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with one JSON document."""
    return Response(encoded(value), status, headers, "application/json")


def stream(job: Job) -> Response:
    """What a job finds, as it finds it, as server-sent events; a reader who leaves cancels it."""

    async def lines() -> AsyncIterator[bytes]:
        async for name, value in job.events():
            yield b"event: " + name.encode() + b"\ndata: " + encoded(value) + b"\n\n" if name else b": waiting\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def outcome(job: Job, last: str) -> Response:
    """What a job gives under the name `last`, as one document; or the problem that it met."""
    async for name, value in job.events():
        if name == last:
            return reply(value)
        if name == "error":
            return Response(value.body(), value.status, media_type=MEDIA_TYPE)
    raise Busy("the server is shutting down; start it again: hooke serve.")
