"""A dataset hub on loopback that answers the real client of huggingface_hub: repositories as folders in memory, with their refusals."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from loopback import Quiet, listening, turn_client


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

    class Handler(Quiet):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, headers, body = hub.answer(self.command, self.path, token)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    with listening(Handler) as url:
        hub = DatasetHub(url)
        turn_client(url, Path(cache), monkeypatch)
        yield hub
