"""Wire: plain values as JSON and as a stream of events. A number that is not finite is null."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

from hooke.errors import Busy
from hooke.files import plain
from hooke.serve.problems import MEDIA_TYPE
from hooke.serve.worker import Job


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
