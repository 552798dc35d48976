"""A model hub on this machine, for the real `huggingface_hub` client: downloads with all that can go wrong, and uploads.

It speaks what the client asks for: metadata and files (large ones by a redirect to another path, as the real hub does), folder listings,
and commits with small files inline and large ones by the LFS protocol. What goes wrong is asked for file by file, in `Hub.faults`.
"""

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from loopback import Quiet, listening, turn_client

LARGE = (".safetensors", ".npz", ".pt", ".bin")


@dataclass
class Repo:
    """One repository at one commit."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path."""
    gated: bool = False
    """Whether only those with a token get anything but listings."""
    revisions: dict[str, str] = field(default_factory=dict)
    """Commits by branch or tag, beside ``main``."""

    @property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for name, data in sorted(self.files.items()):
            digest.update(name.encode() + data)
        return digest.hexdigest()

    def resolves(self, revision: str) -> bool:
        return revision in ("main", self.commit, *self.revisions)


def etag(name: str, data: bytes) -> str:
    """What the hub keeps a file under: SHA-256 of large ones, Git's digest of small ones."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class Hub:
    """What the server knows and has seen."""

    url: str = ""
    """Where it listens."""
    repos: dict[str, Repo] = field(default_factory=dict)
    """Repositories by ``org/name``."""
    moved: dict[str, str] = field(default_factory=dict)
    """Old names of repositories, answered with a redirect."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """By file name, what happens to its next transfers: ``cut`` (the connection ends half-way), ``flip`` (a byte is another), ``short``
    (a shorter file is sent than was promised), ``500``."""
    seen: list[str] = field(default_factory=list)
    """Every request, ``METHOD path``, with `` +token`` where it had one and `` from N`` where it resumed."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Large files received, by SHA-256."""

    def add(self, repo: str, files: dict[str, bytes], **facts: Any) -> Repo:
        """A repository with these files."""
        self.repos[repo] = Repo(dict(files), **facts)
        return self.repos[repo]


class _Handler(Quiet):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        self._send(json.dumps(value).encode(), status, **{"Content-Type": "application/json", **headers})

    def _send(self, body: bytes = b"", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._json({"error": message}, status, **{"X-Error-Code": code, "X-Error-Message": message})

    def _note(self) -> bytes:
        resumed = re.search(r"bytes=(\d+)-", self.headers.get("Range", ""))
        token = " +token" if self.headers.get("Authorization") else ""
        self.hub.seen.append(f"{self.command} {self.path}{token}" + (f" from {resumed[1]}" if resumed else ""))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _repo(self, name: str) -> Repo | None:
        if (repo := self.hub.repos.get(name)) is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        return repo

    def do_GET(self) -> None:
        self._note()
        url = urlsplit(self.path)
        path = unquote(url.path)
        if found := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._content(found[2], self.hub.repos[found[1]].files[found[2]])
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(found[1], found[2], found[3])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", path):
            return self._tree(found[1], found[2], found[3], "recursive" in parse_qs(url.query))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            if repo := self._repo(found[1]):
                files = [{"rfilename": name} for name in repo.files]
                self._json({"id": found[1], "sha": repo.commit, "siblings": files, "tags": [], "private": False})
            return None
        return self._refuse(404, "EntryNotFound", f"no such place: {path}")

    def _resolve(self, name: str, revision: str, file: str) -> None:
        if name in self.hub.moved:
            return self._send(status=307, Location=f"/{self.hub.moved[name]}/resolve/{revision}/{file}")
        repo = self._repo(name)
        if repo is None:
            return None
        if repo.gated and not self.headers.get("Authorization"):
            return self._refuse(403, "GatedRepo", f"Access to model {name} is restricted. You must be authenticated to access it.")
        if not repo.resolves(revision):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file not in repo.files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": repo.commit}
            return self._send(b"Entry not found", 404, **headers)
        data = repo.files[file]
        about = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if file.endswith(LARGE):
            linked = {"X-Linked-Etag": f'"{etag(file, data)}"', "X-Linked-Size": str(len(data))}
            # Another host, as with the real hub: the client follows redirects within one host by itself, and takes no token elsewhere.
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            return self._send(status=302, Location=f"{elsewhere}/cdn/{name}/{file}", **about, **linked)
        return self._content(file, data, ETag=f'"{etag(file, data)}"', **about)

    def _content(self, file: str, data: bytes, **headers: str) -> None:
        """The bytes, whole or from where the client has to resume, with the next fault of this file."""
        faults = self.hub.faults.get(file.rpartition("/")[2], [])
        fault = faults.pop(0) if faults and self.command == "GET" else ""
        if fault == "500":
            return self._refuse(500, "Oops", "Internal Error")
        if fault == "flip":
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault == "short":
            data = data[:-1]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        at = int(start[1]) if start else 0
        if at:
            headers |= {"Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}"}
        self.send_response(206 if at else 200)
        for key, value in {"Content-Length": str(len(data) - at), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault == "cut":
            self.wfile.write(data[at : at + (len(data) - at) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        self.wfile.write(data[at:])
        return None

    def _tree(self, name: str, revision: str, folder: str, recursive: bool) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        if not repo.resolves(revision):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        inside = {file: data for file, data in repo.files.items() if not folder or file.startswith(folder + "/")}
        if not inside:
            return self._refuse(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        rows = []
        for file, data in sorted(inside.items()):
            if recursive or "/" not in file[len(folder) :].strip("/"):
                lfs = {"lfs": {"oid": etag(file, data), "size": len(data), "pointerSize": 130}} if file.endswith(LARGE) else {}
                rows.append({"type": "file", "path": file, "size": len(data), "oid": "0" * 40, **lfs})
        return self._json(rows)

    def do_PUT(self) -> None:
        body = self._note()
        if found := re.fullmatch(r"/lfs/([0-9a-f]{64})", self.path):
            if hashlib.sha256(body).hexdigest() != found[1]:
                return self._refuse(400, "BadDigest", "digest mismatch")
            self.hub.uploads[found[1]] = body
            return self._send()
        return self._refuse(404, "EntryNotFound", self.path)

    def do_POST(self) -> None:
        body = self._note()
        path = unquote(urlsplit(self.path).path)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if not self.headers.get("Authorization"):
            return self._refuse(401, "", "Invalid username or password.")
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            status = 409 if name in self.hub.repos else 200
            self.hub.repos.setdefault(name, Repo())
            return self._json({"url": f"{self.hub.url}/{name}", "name": name}, status)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular"} for f in files]
            return self._json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        if re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            objects = json.loads(body)["objects"]
            made = [{**o, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}} for o in objects]
            return self._json({"transfer": "basic", "objects": made})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            return self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        return self._refuse(404, "EntryNotFound", path)

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = self.hub.uploads[value["oid"]]
        self._json({"success": True, "commitOid": repo.commit, "commitUrl": f"{self.hub.url}/{name}/commit/{repo.commit}"})


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A hub that listens while inside."""
    hub = Hub()
    with listening(type("Handler", (_Handler,), {"hub": hub})) as hub.url:
        yield hub


def connect(hub: Hub, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Turn the client of this process to `hub`, with a cache of its own and no token."""
    turn_client(hub.url, cache / "hub", patch)
    patch.setenv("HOOKE_HOME", str(cache / "hooke"))
    patch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again


def environment(hub: Hub, cache: Path) -> dict[str, str]:
    """The same for a process of its own."""
    switches = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    return {**switches, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub")}
