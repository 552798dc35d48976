"""Names that a reader gave to features: one small file of JSON Lines for each SAE, apart from every atlas, merged when an atlas is read.

The first line says of which weights the names are, each other line is the name of one feature. A pack carries such a file beside an
SAE's weights (``resid_post.12.safetensors``, ``resid_post.12.names.jsonl.zst``); names made here lie in Hooke's own folder.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import zstandard

from hooke.atlas.records import SaeEntry
from hooke.errors import BadFile
from hooke.files import atomic_write, data_dir
from hooke.sae.packs import pack_folders
from hooke.text.marks import stripped
from hooke.text.unpack import DAMAGE, unpacked

ABOUT = ("topic", "entity", "event", "frame", "word", "grammar", "form", "unclear")
"""What a name may be about; *unclear*: who read found nothing that holds across the feature's range."""
MAX_NAME, MAX_NOTE, MAX_READER, MAX_JUDGED = 40, 200, 80, 300
"""Characters of a name, of its note, of who read, and of how the names were judged."""
CHANCE = 0.5
HALF, TRIES = 0.5, 5
"""A name counts as true that was true of so large a share of short texts; of fewer tries than so many nothing is said anywhere."""
_FORMAT, _VERSION = "hooke names", 1
_SUFFIX = ".names.jsonl.zst"
_MOST_BYTES, _MOST_LINE = 256 << 20, 4096


@dataclass(frozen=True)
class Name:
    """What somebody who read a feature's contexts calls it, and how well that name tells where it fires."""

    name: str
    """Two to six words, as a person would say it; empty where `about` is *unclear*."""
    about: str
    """One of `ABOUT`."""
    note: str = ""
    """One sentence more."""
    confidence: float | None = None
    """How sure the reader was, 0 to 1."""
    score: float | None = None
    """Detection: balanced accuracy of a reader who sees the name and unmarked texts of the score half; 0.5 is chance. None: not scored."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end."""
    n: int = 0
    """Texts that the score rests on."""
    embedding: float | None = None
    """AUROC of the cosine between name and texts, by the sentence encoder; 0.5 is chance."""
    reader: str = ""
    """Who read."""
    right: int = 0
    """Short texts in which the feature stood out and of which the name was found to be true."""
    tried: int = 0
    """Of so many."""
    telling: bool | None = None
    """Whether it says what a text is about, where it is true of one; None: nobody was asked."""

    @property
    def stands_first(self) -> bool:
        """Whether it is shown in place of the rule's wording: it says something, and its detection is better than chance, or it was
        true of half of the short texts it was tried on."""
        return self.about != "unclear" and (self.low is None or self.low > CHANCE or (truth(self.right, self.tried) or 0) >= HALF)


def truth(right: int, tried: int) -> float | None:
    """The share of short texts that a name was true of; None where that was tried on too few to say.

    >>> truth(9, 12), truth(1, 1)
    (0.75, None)
    """
    return right / tried if tried >= TRIES else None


def holds(name: Name) -> float:
    """How well a name holds, from 0 to 1, to sort by: the share of short texts it was true of, else its detection beyond chance; of one
    that was never tried, a half."""
    if (true := truth(name.right, name.tried)) is not None:
        return true
    return 0.5 if name.score is None else max(0.0, 2 * name.score - 1)


def names_of(sae: SaeEntry) -> dict[int, Name]:
    """The names of an SAE's features by index: those made here, and where there are none the ones its pack brings."""
    found: dict[int, Name] = {}
    if sae.digest:
        for path in (*_carried(), own_names(sae)):
            if path.is_file():
                found |= read_names(path, sae) or {}
    return found


def judged(sae: SaeEntry) -> str:
    """How often the names of an SAE's features were right on texts nobody chose them on, in a sentence; empty where nobody judged that.

    It stands as ``judged`` on the first line of the file that a pack carries, and is not said of names made here.
    """
    if not sae.digest or own_names(sae).is_file():
        return ""
    for path in _carried():
        with contextlib.suppress(ValueError, TypeError, LookupError, StopIteration, OSError, *DAMAGE), path.open("rb") as file:
            head = json.loads(next(_lines(unpacked(file)[0])))
            said = head.get("judged", "") if head["digest"] == sae.digest else ""
            if isinstance(said, str) and 0 < len(said) <= MAX_JUDGED and stripped(said) == said:
                return said
    return ""


def own_names(sae: SaeEntry) -> Path:
    """Where the names made here of an SAE are kept."""
    return data_dir() / "names" / f"{sae.digest[:16]}.jsonl"


def _carried() -> Iterator[Path]:
    for folder in pack_folders().values():
        yield from sorted(folder.glob(f"*{_SUFFIX}"))


def read_names(path: Path, sae: SaeEntry) -> dict[int, Name] | None:
    """The names in the file at `path` by feature; None where they are of other weights than those of `sae`. Raises `BadFile`."""
    number = 1
    found: dict[int, Name] = {}
    try:
        with path.open("rb") as file:
            lines = _lines(unpacked(file)[0])
            head = json.loads(next(lines))
            if head["format"] != _FORMAT or head["version"] > _VERSION:
                raise ValueError("it is of another make")
            if head["digest"] != sae.digest:
                return None
            for line in lines:
                number += 1
                row = json.loads(line)
                found[_index(row.pop("feature"), sae)] = _name(row)
    except (ValueError, TypeError, LookupError, StopIteration, RecursionError, OSError, *DAMAGE) as error:
        raise BadFile(f"{path} is not a file of names or is damaged, at line {number}: {str(error)[:200]}.") from error
    return found


def write_names(path: Path, sae: SaeEntry, names: Mapping[int, Name], judged: str = "") -> Path:
    """Write `names` at `path`, whole or not at all, packed where it ends in ``.zst``; `path`. `read_names` gives them back.

    `judged` is kept for `judged`: a sentence that says how often they are right on texts nobody chose them on.
    """
    head = {"format": _FORMAT, "version": _VERSION, "sae": sae.name, "digest": sae.digest} | ({"judged": judged} if judged else {})
    rows = [{"feature": index, **_known(name)} for index, name in sorted(names.items())]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (head, *rows)).encode()
    if path.suffix == ".zst":
        data = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(data)
    with atomic_write(path) as out:
        out.write(data)
    return path


def _known(name: Name) -> dict[str, Any]:
    """The fields that say something."""
    return {key: value for key, value in asdict(name).items() if value not in (None, "", 0) or value is False}


def _lines(stream: io.BufferedIOBase) -> Iterator[bytes]:
    left = _MOST_BYTES
    while line := stream.readline(_MOST_LINE + 1):
        left -= len(line)
        if len(line) > _MOST_LINE or left < 0:
            raise ValueError("a line or the whole is longer than names are")
        yield line


def _index(value: Any, sae: SaeEntry) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < sae.d_sae:
        raise ValueError(f"{value!r} is no feature of {sae.name}, which has {sae.d_sae:,}"[:120])
    return value


def _name(row: dict[str, Any]) -> Name:
    known = {field.name for field in fields(Name)}
    values: dict[str, Any] = {"name": ""} | {key: value for key, value in row.items() if key in known}
    own = Name(**values)
    for text, most in ((own.name, MAX_NAME), (own.note, MAX_NOTE), (own.reader, MAX_READER)):
        if not isinstance(text, str) or len(text) > most or stripped(text) != text:
            raise ValueError(f"{text!r:.80} is no text of at most {most} characters on one line")
    for value in (own.confidence, own.score, own.low, own.high, own.embedding):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
            raise ValueError(f"{value!r:.80} is no number from 0 to 1")
    for number in (own.n, own.right, own.tried):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"{number!r:.80} is no number of texts")
    if own.telling is not None and not isinstance(own.telling, bool):
        raise ValueError(f"telling is {own.telling!r:.40}, neither true nor false")
    if own.right > own.tried:
        raise ValueError(f"it cannot be right on {own.right} of {own.tried} texts")
    if own.about not in ABOUT or (own.about != "unclear") != bool(own.name):
        raise ValueError(f"a name about {own.about!r:.40} cannot be {own.name!r:.60}")
    return own
