"""HTTP servers on this machine, for as long as a test lasts, and the hub's own client turned to one."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class Quiet(BaseHTTPRequestHandler):
    """A handler that logs nothing, and answers HEAD as GET (which has to leave the body out)."""

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class' name)
        pass

    def do_GET(self) -> None:
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self.do_GET()


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address at which `handler` answers while inside."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def turn_client(url: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Turn the hub's client in this process to the hub at `url`, with its cache in `cache` and no token."""
    from huggingface_hub import constants, hf_api
    from transformers.utils import hub

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        patch.delenv(name, raising=False)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another service, which these hubs do not play
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.setattr(constants, "ENDPOINT", url)
    for client in (hf_api.api, hub.hf_api()):  # made once for the whole process, perhaps by an earlier test
        patch.setattr(client, "endpoint", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
