"""Session: the secrets of one run of the server, and the addresses that it answers to."""

import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hooke.errors import Missing
from hooke.files import data_dir, write_error

API = "/api/v1"


@dataclass(frozen=True)
class Session:
    """What the browser and the server know of each other. Nothing that the server sends holds the token."""

    port: int
    """The port it listens on."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """256 bits: stands in the address that is printed, and is swapped for the cookie; scripts send it as a bearer."""
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """The cookie's value."""

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers keep cookies by host, whatever the port; two servers must not take each other's."""
        return f"hooke-{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The ``Host`` headers that are answered, all there are."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    @property
    def address(self) -> str:
        """Where the page is, without its key."""
        return f"http://127.0.0.1:{self.port}/"

    def link(self, path: str = "") -> str:
        """An address that lets a browser in: the token is in the fragment, which reaches no log and no other site."""
        return f"{self.address}{path.lstrip('/')}#k={self.token}"

    def is_token(self, given: str) -> bool:
        """Whether this is the token; takes as long for any answer."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def is_secret(self, given: str) -> bool:
        """Whether this is the cookie's value."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.secret.encode())


def _folder() -> Path:
    return data_dir() / "serving"


@contextmanager
def announced(session: Session) -> Iterator[None]:
    """While inside, `running` of this user finds the session; the file is for their eyes alone."""
    folder = _folder()
    path = folder / f"{session.port}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"pid": os.getpid(), "port": session.port, "token": session.token}, file)
    except OSError as error:
        raise write_error(error, path) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running() -> Session:
    """The session of the server that this user started last. Raises `Missing` where none runs."""
    for path in sorted(_folder().glob("*.json"), key=lambda path: -path.stat().st_mtime):
        try:
            found = json.loads(path.read_text())
            os.kill(int(found["pid"]), 0)
            return Session(int(found["port"]), str(found["token"]))
        except (ValueError, KeyError, TypeError, OSError):
            continue  # half written, or left behind by a killed server
    raise Missing("no `hooke serve` is running here. Start it in another terminal: hooke serve")
