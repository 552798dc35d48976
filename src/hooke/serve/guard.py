"""Guard: the outermost layer. Only the browser that was given the key, on this machine, by this host's name, gets at anything."""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from hooke.serve.problems import MEDIA_TYPE, Problem, problem
from hooke.serve.session import API, Session

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 2 << 20
"""Bytes of a request's body."""
_SAFE = ("GET", "HEAD")
_WITHOUT_KEY = (f"{API}/session", f"{API}/health")
_PLAIN = re.compile(rb"/[A-Za-z0-9._~/%-]*")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
"""What every answer carries."""


class Guard:
    """Looks at every request before anything else does, on the path as it was sent."""

    def __init__(self, app: App, session: Session, open_paths: Callable[[str], bool]) -> None:
        """`open_paths` tells the empty page and its files, which hold no data, from all else."""
        self._app, self._session, self._open = app, session, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with a problem."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web socket is spoken here
        answer = _with_headers(send)
        if (refusal := self._refusal(scope)) is not None:
            await _refuse(refusal, answer)
            return
        await self._app(scope, _bounded(receive), answer)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers, session = _Headers(scope["headers"]), self._session
        if headers.all("host") not in [[host] for host in session.hosts]:
            return problem("wrong-host", 421, f"this server answers to {' and '.join(session.hosts)} alone.")
        path: bytes = scope.get("raw_path") or b""
        if not _PLAIN.fullmatch(path) or b"//" in path or b"/." in path or b"%2f" in path.lower() or b"%2e" in path.lower():
            return problem("bad-path", 400, "this path is not one that the page or the interface has.")
        method, text = scope["method"], path.decode()
        if self._open(text):
            return None if method in _SAFE else problem("wrong-method", 405, "the page can only be read.")
        return self._origin_refusal(method, headers) or self._body_refusal(method, headers) or self._key_refusal(text, headers)

    def _origin_refusal(self, method: str, headers: "_Headers") -> Problem | None:
        refused = problem("other-origin", 403, "a page of another origin asked for this; only Hooke's own page may.")
        origins, sites = headers.all("origin"), headers.all("sec-fetch-site")
        own = [[f"http://{host}"] for host in self._session.hosts]
        if origins and origins not in own:
            return refused
        if sites and sites not in (["same-origin"], ["none"]):
            return refused
        if method not in _SAFE and not origins and not headers.bearer:
            return refused
        return refused if not sites and not origins and not headers.bearer and headers.all("cookie") else None

    def _body_refusal(self, method: str, headers: "_Headers") -> Problem | None:
        lengths = headers.all("content-length")
        if headers.all("transfer-encoding") or len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
            return problem("length-required", 411, "say how long the body is, once, in Content-Length.")
        length = int(lengths[0][:20]) if lengths else 0
        if length > MAX_BODY:
            return problem("too-large", 413, f"a request may have {MAX_BODY:,} bytes; this one has {length:,}. Send less text at a time.")
        kind = (headers.all("content-type") or [""])[0].partition(";")[0].strip().lower()
        if length and method not in _SAFE and kind != "application/json":
            return problem("wrong-type", 415, "bodies are JSON here: Content-Type: application/json.")
        return None

    def _key_refusal(self, path: str, headers: "_Headers") -> Problem | None:
        if path in _WITHOUT_KEY or self._session.is_token(headers.bearer) or self._session.is_secret(headers.cookie(self._session.cookie)):
            return None
        return problem("no-key", 401, "open the address that `hooke serve` printed; it carries the key to this page.")


class _Headers:
    """The request's headers, each as all the values it was sent with."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        return [value for own, value in self._raw if own == name.encode()]

    @property
    def bearer(self) -> str:
        found = self.all("authorization")
        return found[0][7:] if len(found) == 1 and found[0][:7].lower() == "bearer " else ""

    def cookie(self, name: str) -> str:
        pairs = [pair.strip().partition("=") for value in self.all("cookie") for pair in value.split(";")]
        own = [value for key, _, value in pairs if key == name]
        return own[0] if len(own) == 1 else ""


def _with_headers(send: Send) -> Send:
    async def answer(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message.get("headers", [])}
            kept = [(b"cache-control", b"no-store")] if b"cache-control" not in own else []
            message["headers"] = [*message.get("headers", []), *kept, *HEADERS]
        await send(message)

    return answer


def _bounded(receive: Receive) -> Receive:
    """The body, cut off past the limit whatever its header says."""
    left = MAX_BODY

    async def take() -> MutableMapping[str, Any]:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return take


async def _refuse(refusal: Problem, send: Send) -> None:
    body = refusal.body()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
