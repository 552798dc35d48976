"""A server on this machine for tests: the planted model and atlas, notes of its own, requests byte by byte."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from hooke.atlas.notes import Notes
from hooke.serve.app import make_app
from hooke.serve.launch import _Server, listening
from hooke.serve.library import Library
from hooke.serve.microscope import Microscope
from hooke.serve.session import API, Session
from hooke.serve.worker import Worker


@dataclass
class Desk:
    """A running server and what is behind it."""

    session: Session
    library: Library
    worker: Worker

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, document (or text) and headers of an answer; with the key unless ``authorization`` says otherwise."""
        sent = {"Authorization": f"Bearer {self.session.token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        raw = None if body is None else json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.session.port, timeout=30)
        try:
            connection.request(method, path if path.startswith("/api") or not path.startswith("~") else path[1:], raw, sent)
            answer = connection.getresponse()
            told = answer.read().decode()
            kind = answer.headers.get_content_type()
            return answer.status, json.loads(told) if kind.endswith("json") and told else told, dict(answer.headers)
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The document at a path of the interface, which has to be there."""
        status, told, _ = self.ask("GET", API + path)
        assert status == 200, told
        return told

    def stream(self, path: str, body: Any) -> list[tuple[str, Any]]:
        """The events that a request gives."""
        status, told, _ = self.ask("POST", API + path, body)
        assert status == 200, told
        blocks = [block.split("\n", 1) for block in told.strip().split("\n\n") if block.startswith("event")]
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


@contextmanager
def desk(folder: Path, atlases: list[Path], load: Any = None, runs: list[Path] | None = None) -> Iterator[Desk]:
    """A server over `atlases`, with the microscope that `load` makes; without, there is no model."""
    sock = listening(0)
    session, library = Session(sock.getsockname()[1]), Library(atlases, Notes(folder / "notes.sqlite"))
    worker = Worker("tiny" if load else None, load or (lambda _: None))
    app = make_app(session, library, worker, runs or [])
    server = _Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        while worker.state == "loading":
            time.sleep(0.01)
        yield Desk(session, library, worker)
    finally:
        server.should_exit = True
        thread.join(10)


def tiny_microscope(_: Any) -> Microscope:
    """The planted model with its SAE."""
    from hooke import tiny

    return Microscope(tiny.model(), [tiny.sae()], [tiny.sae().name])
