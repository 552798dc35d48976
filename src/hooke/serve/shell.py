"""Shell: the built page, held in memory. It is the same for everyone and holds no data."""

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
_FOREVER = "public, max-age=31536000, immutable"  # names carry a digest of what is in them


class Shell:
    """The page's files by address."""

    def __init__(self) -> None:
        self._files = dict(_walk(files("hooke.serve").joinpath("static"), ""))

    def knows(self, path: str) -> bool:
        """Whether the page or one of its files is at `path`."""
        return path in self._files or _is_page(path)

    def serve(self, request: Request) -> Response:
        """The file at the address, or the page."""
        path = request.url.path
        if path in self._files:
            kind = _TYPES.get(path.rpartition(".")[2], "application/octet-stream")
            return Response(self._files[path], media_type=kind, headers={"Cache-Control": _FOREVER})
        if not _is_page(path) or "/index.html" not in self._files:
            told = problem("not-found", 404, "nothing is at this address.")
            return Response(told.body(), told.status, media_type=MEDIA_TYPE)
        return Response(self._files["/index.html"], media_type=_TYPES["html"], headers={"Cache-Control": "no-cache"})


def _is_page(path: str) -> bool:
    first = path.split("/")[1] if path.startswith("/") else ""
    return first in ("", "f") or (first in PAGES and PAGES[first])


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name) if folder.is_dir() else []:
        path = f"{prefix}/{entry.name}"
        found += _walk(entry, path) if entry.is_dir() else [(path, entry.read_bytes())]
    return found
