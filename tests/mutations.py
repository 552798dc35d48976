"""Published SAEs with one thing wrong: seeded mutations of every file, and what opening them did."""

import io
import json
import random
import re
import shutil
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from published import CASES, Published

from hooke.errors import HookeError
from hooke.sae.formats import inspect, open_sae

_JUNK = [
    None,
    True,
    -1,
    0,
    10**30,
    10**400,
    1e308,
    float("nan"),
    "",
    "x" * 3000,
    "../../etc/passwd",
    [],
    {},
    [[1]],
    {"a": {"b": []}},
    "\x1b[31m",
    3.5,
]
_SHAPES = [b"(0,)", b"(9999999999999, 9999999999999)", b"(-1, 4)", b"()", b"(1, 1, 1, 1, 1, 1)", b"(True, 4)", b"(4, 5"]
_DESCRS = [b"'|O'", b"'<f8'", b"'>f4'", b"'|V2'", b"'<c8'", b"[('a', '<f4')]", b"'<U9'", b"'<i4'"]


@dataclass
class Outcome:
    """What the mutated files did."""

    said: Counter[str] = field(default_factory=Counter)
    """How often each kind of error, and how often none."""
    bad: list[str] = field(default_factory=list)
    """Foreign exceptions, long waits and too much memory."""
    slowest: float = 0.0
    """Seconds of the slowest opening."""
    most_memory: int = 0
    """Bytes that the hungriest opening took beyond its files."""


def run(count: int, seed: int = 0) -> Outcome:
    """Open and inspect `count` mutated files, spread over every format."""
    outcome, rng = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory() as base:
        made = {name: make(Path(base) / str(i)) for i, (name, make) in enumerate(CASES.items()) if (Path(base) / str(i)).mkdir() is None}
        for whole in made.values():  # what is imported on first use is no cost of a file
            open_sae(whole.path, member=whole.member)
            inspect(whole.path, member=whole.member)
        turns = rng.choices(list(made), k=count)
        for turn, name in enumerate(turns):
            with _mutated(Path(base) / str(list(made).index(name)), rng) as what:
                _open(made[name], f"{turn}: {name}: {what}", outcome)
    return outcome


def _open(made: Published, what: str, outcome: Outcome) -> None:
    before, began, kinds = _memory(reset=True), time.perf_counter(), []
    for read in (inspect, open_sae):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(made.path, member=made.member)
            kinds.append("opened")
        except HookeError as error:
            kinds.append(type(error).__name__)
            if len(str(error)) > 8000:
                outcome.bad.append(f"{what}: a message of {len(str(error))} characters")
        except BaseException as error:
            outcome.bad.append(f"{what}: {read.__name__}: {type(error).__name__}: {str(error)[:300]}")
    took, memory = time.perf_counter() - began, _memory() - before
    outcome.said.update(kinds)
    outcome.slowest, outcome.most_memory = max(outcome.slowest, took), max(outcome.most_memory, memory)
    if took > 2.0:  # for both
        outcome.bad.append(f"{what}: took {took:.1f} s")
    if memory > 64 << 20:
        outcome.bad.append(f"{what}: took {memory >> 20} MiB")


def _memory(*, reset: bool = False) -> int:
    """Peak resident bytes since the last reset; where the system does not tell, 0."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10  # pyright: ignore
    except (OSError, TypeError):
        return 0


class _mutated:  # noqa: N801 (a context manager, used as a function)
    """One file below a folder changed for a while."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root, self.rng = root, rng

    def __enter__(self) -> str:
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        self.path = self.rng.choice(files)
        self.kept = self.path.read_bytes()
        kind = self.rng.choice([_flip, _cut, _grow, _numbers, _structure, _structure, _structure, _other])
        changed = kind(self.kept, self.path, self.rng)
        if changed is None:
            self.path.unlink()
        else:
            self.path.write_bytes(changed)
        return f"{self.path.name} {kind.__name__}"

    def __exit__(self, *_: object) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        self.path.write_bytes(self.kept)


def _flip(data: bytes, path: Path, rng: random.Random) -> bytes:
    out = bytearray(data)
    head = min(len(out), rng.choice([64, 1000, 1 << 30]))
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        out[rng.randrange(head)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _cut(data: bytes, path: Path, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice([1, 7, 8, 100, len(data)])
    return data[:at] + data[at + length :]


def _grow(data: bytes, path: Path, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice([b"\0" * 9, b"PK\3\4", b"\xff" * 64, b"[" * 5000, b"(" * 300, data[:200], rng.randbytes(50)]) + data[at:]


def _numbers(data: bytes, path: Path, rng: random.Random) -> bytes:
    """Some 4 or 8 bytes replaced by a very large, negative or odd number."""
    at, width = rng.randrange(len(data)), rng.choice([4, 8])
    value = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]) & (1 << 8 * width) - 1
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def _other(data: bytes, path: Path, rng: random.Random) -> bytes | None:
    return rng.choice([None, b"", b"{}", b"[]", b"null", rng.randbytes(300), b"\x80\x02}.", b'{"a":' * 2000, data + data])


def _structure(data: bytes, path: Path, rng: random.Random) -> bytes:
    if path.suffix == ".json":
        return _json(data, rng)
    if path.suffix == ".safetensors":
        return _safetensors(data, rng)
    if path.suffix == ".yaml":
        return data + rng.choice(
            [b"k: [\n", b"activation: topk\n", b"model_name: *a\n", b"a: &a [*a]\n", b"activation: topk\nk: .nan\n", b"? {}\n: 1\n"]
        )
    return _zip(data, rng)


def _json(data: bytes, rng: random.Random) -> bytes:
    found = json.loads(data)
    target = found
    while isinstance(target, dict) and (inner := [key for key, value in target.items() if isinstance(value, dict)]) and rng.random() < 0.5:
        target = target[rng.choice(inner)]
    if target and isinstance(target, dict):
        key = rng.choice(list(target))
        if rng.random() < 0.2:
            del target[key]
        else:
            target[key] = rng.choice(_JUNK)
    text = json.dumps(found)
    return (text[:-1] + ', "k": 1, "k": 2}' if rng.random() < 0.1 else text).encode()


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    what = rng.randrange(7)
    if what == 0:
        entry["shape"] = rng.choice([[0], [-1, 4], [2**40, 2**40], [], [1] * 70, entry["shape"][::-1], ["a"], [2**63]])
    elif what == 1:
        entry["dtype"] = rng.choice(["F64", "I32", "BF16", "F8_E4M3", "BOOL", "F4", "Q", None, 5])
    elif what == 2:
        entry["data_offsets"] = rng.choice([[0, 2**60], [-4, 4], [8, 0], [0, 0], [1], "a"])
    elif what == 3:
        header[rng.choice(["../../x", "\0", "a" * 9000, "W_enc", "k"])] = header.pop(name)
    elif what == 4:
        begin, end = entry["data_offsets"]
        bits = rng.choice([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\xff\xff\x7f\xff"])
        body = body[:begin] + bits * ((end - begin) // 4) + body[end:]
    elif what == 5:
        header["__metadata__"] = rng.choice([{"hooke_sae": "{}"}, {"a": 1}, [], {"hooke_sae": "[" * 9000}, {"b": "c" * 9000}])
    text = json.dumps(header)
    if what == 6:
        text = text[:-1] + f', "{name}": {json.dumps(entry)}}}'
    return len(text.encode()).to_bytes(8, "little") + text.encode() + body


def _zip(data: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(files))
    name, content = files[at]
    what = rng.randrange(5)
    if what == 0:
        name = rng.choice(["../x", "/abs/x", "a\\..\\b", "W_enc.npy", "x/data/0", "é" * 500, files[0][0]])
    elif what == 1 and content[:6] == b"\x93NUMPY":
        header = content[10:128]
        changed = re.sub(rb"\(.*?\)", rng.choice(_SHAPES), header) if rng.random() < 0.5 else re.sub(rb"'<f4'", rng.choice(_DESCRS), header)
        content = content[:8] + len(changed).to_bytes(2, "little") + changed + content[128:]
    elif what == 2:
        content = rng.choice([_flip, _cut, _grow, _numbers])(content, Path(name), rng) if content else b"x"
    elif what == 3:
        content = content[:128] + b"\0\0\xc0\x7f" * (len(content) // 4)
    else:
        content = b"\0" * (48 << 20) if rng.random() < 0.05 else content * 2
    files[at] = (name, content)
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        warnings.simplefilter("ignore")  # names twice are the point
        for name, content in files:
            archive.writestr(name, content)
        if rng.random() < 0.1:
            archive.writestr(files[0][0], b"again")
    return out.getvalue()


def lines(outcome: Outcome) -> Iterator[str]:
    """The outcome in words."""
    yield ", ".join(f"{kind} {count:,}" for kind, count in outcome.said.most_common())
    yield f"slowest pair of readings {outcome.slowest:.2f} s, most memory {outcome.most_memory / 2**20:.0f} MiB"
    yield f"{len(outcome.bad)} failures"
    yield from outcome.bad[:40]
