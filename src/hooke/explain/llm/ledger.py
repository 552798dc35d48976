"""The ledger: every answer that was given, one JSON line each, written down before anything is made of it, so that none is paid twice."""

import contextlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from hooke.errors import BadFile
from hooke.files import sole_file, write_error


@dataclass(frozen=True)
class Answer:
    """What a reader answered, and what it cost."""

    id: str
    """`Request.id`."""
    text: str
    """The answer as it came, valid or not."""
    tokens_in: int = 0
    """Tokens of the request, by the reader's own count."""
    tokens_out: int = 0
    """Tokens of the answer."""


class Ledger:
    """The answers in one file, by request. One process at a time writes to it; raises `Busy`."""

    def __init__(self, path: Path) -> None:
        """The ledger at `path`; a last line that a killed process left unfinished is taken off when it is opened to write."""
        self.path = path
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator["Ledger"]:
        """Inside, answers can be added."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with sole_file(self.path.with_suffix(".lock")), self.path.open("a+b") as self._file:
                self._read(self._file)
                yield self
        except OSError as error:
            raise write_error(error, self.path) from error
        finally:
            self._file = None

    def add(self, answer: Answer) -> None:
        """Write `answer` down, for good."""
        assert self._file is not None, "a ledger is written inside `opened`"
        with self._lock:
            self._file.write((json.dumps(asdict(answer), ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            self._file.flush()
            os.fsync(self._file.fileno())
            self.answers[answer.id].append(answer)

    def _read(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.answers.clear()
        whole = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                file.truncate(whole)
                break
            whole += len(line)
            try:
                answer = Answer(**json.loads(line))
            except (ValueError, TypeError, RecursionError) as error:
                raise BadFile(
                    f"{self.path}, line {number}: not a line of the ledger of answers. Take that line away, or move the "
                    "file: then what it holds is asked and paid again."
                ) from error
            self.answers[answer.id].append(answer)
