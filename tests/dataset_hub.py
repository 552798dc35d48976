"""A dataset hub on loopback that answers the real client of huggingface_hub: repositories as folders in memory, with their refusals."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest


class DatasetHub:
    """Datasets by name, each a mapping from file name to bytes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.gated: dict[str, str] = {}
        """Datasets that ask for a token, with the one they take."""
        self.broken: set[str] = set()
        """Datasets whose answer is 503."""
        self.fetched: list[str] = []
        """Names of the files that were sent, in order."""

    def commit(self, repo: str) -> str:
        """The commit that a dataset is at: it changes with its files."""
        return hashlib.sha1(repr(sorted(self.datasets[repo].items())).encode()).hexdigest()

    def answer(self, method: str, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        parts = [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]
        api = parts[0] == "api"
        repo, rest = "/".join(parts[2:4] if api else parts[1:3]), parts[4:] if api else parts[3:]
        if repo in self.broken:
            return 503, {}, b"down"
        if repo not in self.datasets:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if self.gated.get(repo, token) != token:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        commit = self.commit(repo)
        if rest and rest[1] not in ("main", "v1", "refs/convert/parquet", commit):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if api:
            siblings = [{"rfilename": name} for name in self.datasets[repo]]
            return 200, {}, json.dumps({"id": repo, "sha": commit, "siblings": siblings, "private": False, "tags": []}).encode()
        name = "/".join(rest[2:])
        if name not in self.datasets[repo]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        data = self.datasets[repo][name]
        if method == "GET":
            self.fetched.append(name)
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}, data


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[DatasetHub]:
    """A hub that the client uses, with an empty cache at `cache`, for as long as this lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, headers, body = hub.answer(self.command, self.path, token)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = DatasetHub(f"http://127.0.0.1:{server.server_port}")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", cache + "/no-token")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
