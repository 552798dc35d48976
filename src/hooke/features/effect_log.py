"""Effect log: measurements in a folder of their own, one a line of a file, safe once written, so that a run that was stopped goes on."""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hooke.errors import BadConfig, BadFile
from hooke.files import parse_json, sole_writer, write_error

_LOG = "effects.jsonl"


class EffectLog:
    """The measurements of one SAE in a folder of their own, one a line; open for this process alone inside ``with``."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        """Go on with what is in `folder`; `about` is all that decides what its lines say. Raises `BadConfig` where that was otherwise."""
        self._path, self._about = folder / _LOG, json.loads(json.dumps(about))
        self.rows: list[dict[str, Any]] = []
        """What was measured so far."""

    def __enter__(self) -> "EffectLog":
        with contextlib.ExitStack() as held:
            held.enter_context(sole_writer(self._path.parent))
            try:
                whole = self._restore() if self._path.is_file() else 0
                self._file: BinaryIO = held.enter_context(self._path.open("r+b" if whole else "wb"))
                self._file.seek(whole)
                self._file.truncate()  # half a line, of a process that was killed
            except OSError as error:
                raise write_error(error, self._path) from error
            if not whole:
                self._put([self._about])
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def _restore(self) -> int:
        """Read the whole lines; their length in bytes."""
        data = self._path.read_bytes()
        data = data[: data.rfind(b"\n") + 1]
        try:
            about, *self.rows = map(parse_json, data.splitlines()) if data else [self._about]
        except ValueError as error:
            raise BadFile(f"{self._path} is damaged ({error}). Delete it to begin again.") from error
        if about != self._about:
            differ = sorted(key for key in {*about, *self._about} if about.get(key) != self._about.get(key))
            raise BadConfig(f"{self._path} holds effects measured with another {', '.join(differ)}. Give the same to go on, or delete it.")
        return len(data)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep `rows`; once this returns they are safe."""
        self._put(rows)
        self.rows += rows

    def _put(self, rows: Iterable[dict[str, Any]]) -> None:
        try:
            self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(error, self._path) from error
