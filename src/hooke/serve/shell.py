"""Shell: the built page, held in memory. It is the same for everyone and holds no data."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import Request, Response

from hooke.serve.problems import MEDIA_TYPE, problem

PAGES = {
    "read": True,
    "features": True,
    "search": True,
    "lists": True,
    "compare": True,
    "saes": True,
    "runs": True,
    "steer": True,
    "layers": True,
}
"""Which pages there are; those of later versions stand at false."""
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_WORDS = re.compile(r"(/[A-Za-z0-9_-]+){1,4}/?")
_FOREVER = "public, max-age=31536000, immutable"  # names carry a digest of what is in them


class Shell:
    """The page's files by address."""

    def __init__(self) -> None:
        self._files = dict(_walk(files("hooke.serve").joinpath("static"), ""))

    def knows(self, path: str) -> bool:
        """Whether `path` is for the page to answer: its own files, its pages, and what is written as a page's address and is none."""
        return path in self._files or _is_page(path) or _looks_like_page(path)

    def serve(self, request: Request) -> Response:
        """The file at the address, or the page."""
        path = request.url.path
        if path in self._files:
            kind = _TYPES.get(path.rpartition(".")[2], "application/octet-stream")
            return Response(self._files[path], media_type=kind, headers={"Cache-Control": _FOREVER})
        known = _is_page(path)
        if not (known or _looks_like_page(path)) or "/index.html" not in self._files:
            told = problem("not-found", 404, "nothing is at this address.")
            return Response(told.body(), told.status, media_type=MEDIA_TYPE)
        # The page itself says what is wrong with an address that it does not have, and what there is.
        return Response(self._files["/index.html"], 200 if known else 404, {"Cache-Control": "no-cache"}, _TYPES["html"])


def _is_page(path: str) -> bool:
    first = path.split("/")[1] if path.startswith("/") else ""
    return first in ("", "f") or (first in PAGES and PAGES[first])


def _looks_like_page(path: str) -> bool:
    """Whether a person may have typed or followed this: a path of words, without a file's suffix, beside the interface."""
    return _WORDS.fullmatch(path) is not None and path.split("/")[1] not in ("api", "assets")


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name) if folder.is_dir() else []:
        path = f"{prefix}/{entry.name}"
        found += _walk(entry, path) if entry.is_dir() else [(path, entry.read_bytes())]
    return found
