"""A store that speaks S3's protocol on this machine (moto's server), and in front of it one that fails as real ones do."""

import contextlib
import http.client
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class Faults:
    """How often requests go wrong, as shares of all; and how many did."""

    errors: float = 0.0
    """Answered with 500 or 503, and not carried out."""
    unheard: float = 0.0
    """Carried out, and the connection cut before the answer: what a client tries again was done already."""
    cut: float = 0.0
    """Objects that break off in the middle of being read."""
    twice: float = 0.0
    """Writes that arrive a second time, later."""
    slow: float = 0.0
    """Answered after some time."""
    refused: tuple[str, ...] = ()
    """Methods that nobody may use."""
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    seen: dict[str, int] = field(default_factory=dict)
    later: list[threading.Timer] = field(default_factory=list)

    def met(self, kind: str) -> bool:
        """Whether the request at hand is to have this fault."""
        found = self.draw.random() < getattr(self, kind)
        if found:
            self.seen[kind] = self.seen.get(kind, 0) + 1
        return found


def _forward(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        upstream.request(method, path, body, headers)
        answer = upstream.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        upstream.close()


def _handler(port: int, faults: Faults) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

        def _answer(self) -> None:
            self._dispatch(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 (the base class' names)

        def _dispatch(self, body: bytes) -> None:
            if self.command in faults.refused:
                said = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                self._send(403, [], b"" if self.command == "HEAD" else said)
                return
            if faults.met("slow"):
                time.sleep(0.2)
            if faults.met("errors"):
                code = faults.draw.choice(["InternalError", "SlowDown"])
                said = f"<Error><Code>{code}</Code><Message>Please try again.</Message></Error>".encode()
                self._send(500 if code == "InternalError" else 503, [], b"" if self.command == "HEAD" else said)
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP | {"expect"}}
            status, found, raw = _forward(port, self.command, self.path, headers, body)
            if self.command == "PUT" and faults.met("twice"):
                timer = threading.Timer(0.1, _forward, (port, self.command, self.path, headers, body))
                timer.start()
                faults.later.append(timer)
            if self.command in ("PUT", "POST") and faults.met("unheard"):
                self.close_connection = True
                return
            if self.command == "GET" and len(raw) > 1000 and faults.met("cut"):
                self._send(status, found, raw, len(raw) // 2)
                self.close_connection = True
                return
            self._send(status, found, raw)

        def _send(self, status: int, headers: list[tuple[str, str]], raw: bytes, upto: int | None = None) -> None:
            self.send_response(status)
            kept = [(name, value) for name, value in headers if name.lower() not in _HOP]
            if not any(name.lower() == "content-length" for name, _ in kept):
                kept.append(("Content-Length", str(len(raw))))
            for name, value in kept:
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(raw[:upto])

    return Handler


@contextlib.contextmanager
def store(patch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """S3 for this process and its children is on this machine meanwhile; its faults can be set. There is one bucket, ``lab``."""
    from moto.server import ThreadedMotoServer

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    faults = Faults()
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    front = ThreadingHTTPServer(("127.0.0.1", 0), _handler(port, faults))
    front.daemon_threads = True
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    own = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.server_port}", "AWS_EC2_METADATA_DISABLED": "true", **KEYS}
    own |= dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), "/nowhere")
    for name, value in own.items():
        patch.setenv(name, value)
    forget()
    _forward(port, "POST", "/moto-api/reset", {}, b"")  # it is one for the whole process
    _forward(port, "PUT", "/lab", {}, b"")
    try:
        yield faults
    finally:
        forget()
        for timer in faults.later:
            timer.join()
        front.shutdown()
        front.server_close()
        thread.join()
        server.stop()


def forget() -> None:
    """Have the next call open the store anew, with the credentials that the environment has by then."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
