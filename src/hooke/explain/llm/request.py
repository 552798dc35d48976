"""Requests: what is put to a reader, known by a digest of all that it says; as lines of the OpenAI Batch form, and answers from such."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooke.errors import BadFile, unknown
from hooke.explain.llm.answer import MAX_ANSWER
from hooke.files import atomic_write
from hooke.text.unpack import DAMAGE, unpacked

_ID = re.compile(r"(\d{1,9})-([0-9a-f]{12})\Z")
_CHARACTERS = 3.7
"""Characters a token, about: 41 requests about features of the default SAE have 3.70 by Gemma's tokenizer."""
_MOST_LINE, _MOST_BYTES = 1 << 20, 1 << 30
_URL = "/v1/chat/completions"


@dataclass(frozen=True)
class Request:
    """One question about one feature."""

    feature: int
    """Its index."""
    system: str
    """What the reader is told to do."""
    text: str
    """What there is to read."""
    most: int
    """Tokens that the answer may have."""
    reader: str
    """The model that is asked; an answer of another does for another request."""
    about: str
    """The weights that the feature is of: their digest."""

    @property
    def id(self) -> str:
        """The feature's index and a digest of everything else: the same question has the same wherever it is asked."""
        said = json.dumps([self.about, self.reader, self.system, self.text])
        return f"{self.feature}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"

    @property
    def tokens(self) -> int:
        """About how many tokens it has."""
        return round(sum(len(part) for part in (self.system, self.text)) / _CHARACTERS) + 8

    def body(self, complaint: str = "") -> dict[str, Any]:
        """The body of a chat request; with a `complaint` about an answer before, which is told without showing that answer again."""
        again = f"\n\nAn answer before was not valid: {complaint}. Answer again." if complaint else ""
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": self.text + again}]
        return {"model": self.reader, "messages": messages, "temperature": 0, "max_tokens": self.most}


def write_batch(path: Path, requests: Iterable[Request]) -> int:
    """Write `requests` at `path` as JSON Lines in the form of OpenAI's Batch service; how many there were."""
    rows = [{"custom_id": request.id, "method": "POST", "url": _URL, "body": request.body()} for request in requests]
    with atomic_write(path) as out:
        out.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return len(rows)


def read_batch(path: Path) -> dict[str, str]:
    """The answers in a file, by ``custom_id``; one that failed at the reader's is empty. Raises `BadFile`.

    Lines are those that the Batch service gives back (``response.body.choices``), or, of a reader that is no service,
    ``{"custom_id": ..., "answer": ...}`` with the answer as a text or as the JSON object itself.
    """
    found: dict[str, str] = {}
    try:
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                found[str(row["custom_id"])] = _content(row)
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise BadFile(
                    f"{path}, line {number}: not an answer ({str(error)[:100] or type(error).__name__}). Each line is one JSON object with"
                    ' "custom_id" and either "response", as the Batch service writes it, or "answer".'
                ) from error
    except (OSError, *DAMAGE) as error:
        raise BadFile(f"{path} cannot be read: {error}.") from error
    return found


def told_apart(
    path: Path, answers: Mapping[str, str], requests: Iterable[Request], what: str = "feature"
) -> tuple[dict[str, str], list[str]]:
    """The `answers` to these requests, and what is wrong with each of the others; `BadFile` where not one is to any of them.

    `what` has a request's number as its `feature`.
    """
    known = {request.id: request.feature for request in requests}
    features = set(known.values())
    fitting = {name: text for name, text in answers.items() if name in known}
    wrong = [f"{name[:40]}: {_why(name, features, what)}" for name in answers if name not in known]
    if answers and not fitting:
        raise BadFile(f"{path} has no answer to what was asked. {wrong[0]}")
    return fitting, wrong


def features_in(answers: Iterable[str]) -> list[int]:
    """The features that answers with these ids are about."""
    return sorted({int(match[1]) for name in answers if (match := _ID.match(name))})


def chosen_features(text: str, d_sae: int) -> list[int]:
    """The features that ``0-99,256`` means, of `d_sae`."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or int(high or low) >= d_sae or int(low) > int(high or low):
            raise unknown("features", part.strip(), [], f"Give numbers and ranges below {d_sae:,}, for example --features 0-99,256.")
        found.update(range(int(low), int(high or low) + 1))
    return sorted(found)


def _why(name: str, features: set[int], what: str) -> str:
    match = _ID.match(name)
    if match is None:
        return "it is no answer to a request of hooke explain."
    if int(match[1]) not in features:
        return f"{what} {match[1]} was not asked about."
    return (
        f"of {what} {match[1]} something else was asked: with another atlas, other weights, another --model-name or another version. "
        "Read answers with what their requests were written with."
    )


def _content(row: dict[str, Any]) -> str:
    if "answer" in row:
        answer = row["answer"]
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    elif row.get("error") or row["response"]["status_code"] != 200:
        return ""
    else:
        text = row["response"]["body"]["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise TypeError("its content is no text")
    return text[: MAX_ANSWER + 1]


def _lines(path: Path) -> Iterator[bytes]:
    left = _MOST_BYTES
    with path.open("rb") as file:
        stream = unpacked(file)[0]
        while line := stream.readline(_MOST_LINE + 1):
            left -= len(line)
            if len(line) > _MOST_LINE or left < 0:
                raise BadFile(f"{path} has a line longer than {_MOST_LINE:,} bytes, or is larger than {_MOST_BYTES:,}; it is not read.")
            yield line
