"""Launch: the port taken, the atlases opened, the page offered to the browser, and everything put away at the end."""

import errno
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import uvicorn

from hooke.atlas.notes import Notes
from hooke.errors import BadConfig, Busy
from hooke.serve.app import make_app
from hooke.serve.library import Library
from hooke.serve.microscope import Microscope
from hooke.serve.session import Session, announced
from hooke.serve.worker import Worker

PORT = 1665
"""The port that is tried first; the year of the Micrographia."""
_GRACE = 2


def listening(port: int | None) -> socket.socket:
    """A socket on this machine alone, at `port`; by default at `PORT`, or any free one where that is taken."""
    for one in (PORT, 0) if port is None else (port,):
        if not 0 <= one <= 65535:
            raise BadConfig(f"port {one} cannot be; ports are numbers from 1 to 65535.")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", one))
            sock.listen(128)
            return sock
        except OSError as error:
            sock.close()
            if error.errno == errno.EACCES:
                raise BadConfig(f"port {one} needs more rights than you have; take one above 1023.") from error
            if error.errno != errno.EADDRINUSE:
                raise
    raise Busy(f"port {port} is in use. Leave --port away to take a free one, or end what uses it.")


class Launched:
    """A server that is ready to run."""

    def __init__(self, sock: socket.socket, atlases: Sequence[Path], model: str | None, saes: Sequence[str], runs: Sequence[Path]) -> None:
        """`sock` as `listening` gives it; `model` None runs none. Opens the atlases, so that what is wrong with them is said first."""
        self._sock = sock
        self.session = Session(sock.getsockname()[1])
        """Its key and address."""
        self.library = Library(atlases, Notes())
        """What it knows."""

        def load(say: Callable[[str], None]) -> Microscope:
            microscope = Microscope.load(model or "", saes, say)
            self.library.check([microscope.sae(name) for name in microscope.saes])
            return microscope

        self.worker = Worker(model, load)
        """Its model."""
        app = make_app(self.session, self.library, self.worker, list(runs))
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE, lifespan="on", ws="none"
        )
        self._server = _Server(config)

    def run(self, *, ready: Callable[[], None], open_page: str | None) -> None:
        """Answer until `stop`; `ready` is called before the first answer; `open_page` is the address that the browser opens, if any."""
        with announced(self.session):
            ready()
            if open_page is not None:
                threading.Thread(target=webbrowser.open, args=(self.session.link(open_page),), daemon=True).start()
            self._server.run(sockets=[self._sock])

    def stop(self) -> None:
        """End soon; what the model is at ends here and says so, other requests under way have two seconds."""
        self.worker.stop()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Signals are the command's own to take."""

    def capture_signals(self) -> Any:
        return nullcontext()
