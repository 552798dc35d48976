"""The GGUF reader agrees with the stock one on sound files and refuses, quickly and by name, every file that lies."""

import contextlib
import random
import struct
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from hooke.errors import BadFile
from hooke.model.gguf import Gguf

Q = gguf.GGMLQuantizationType
KINDS = [Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0]
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def described(name: str, shape: Sequence[int], offset: int, kind: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_of(
    entries: Sequence[bytes] = (), tensors: Sequence[bytes] = (), body: bytes = b"", *, version: int = 3, align: int = 32, **counts: int
) -> bytes:
    """A GGUF file written by the book, except for `counts` that lie."""
    head = b"GGUF" + struct.pack("<IQQ", version, counts.get("n_tensors", len(tensors)), counts.get("n_entries", len(entries)))
    head += b"".join(entries) + b"".join(tensors)
    return head + b"\0" * (-len(head) % align) + body


def read(content: bytes) -> Gguf:
    return Gguf(memoryview(content))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file by the stock writer: fields of every type and one tensor of every kind."""
    path = tmp_path_factory.mktemp("gguf") / "sound.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_uint32("a.uint32", 7)
    writer.add_int64("a.int64", -(2**40))
    writer.add_float32("a.float32", 0.5)
    writer.add_float64("a.float64", 1e300)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "naïve ▁")
    writer.add_array("a.strings", ["one", "", "三"])
    writer.add_array("a.ints", [1, -2, 3])
    writer.add_array("a.floats", [0.5, -1.5])
    rng = np.random.default_rng(0)
    for kind in KINDS:
        values = rng.standard_normal((3, 64)).astype(np.float32)
        writer.add_tensor(f"t.{kind.name}", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_tensor("t.vector", rng.standard_normal(5).astype(np.float32))
    writer.add_tensor("t.cube", rng.standard_normal((2, 3, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_fields_are_what_was_written(sound: Path) -> None:
    fields = read(sound.read_bytes()).fields
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in fields.items()}
    assert plain == {
        "general.architecture": "gemma3",
        "a.uint32": 7,
        "a.int64": -(2**40),
        "a.float32": 0.5,
        "a.float64": 1e300,
        "a.bool": True,
        "a.string": "naïve ▁",
        "a.strings": ["one", "", "三"],
        "a.ints": [1, -2, 3],
        "a.floats": [0.5, -1.5],
    }


def test_every_tensor_equals_the_stock_readers(sound: Path) -> None:
    ours, stock = read(sound.read_bytes()), gguf.GGUFReader(sound)
    assert ours.tensors.keys() == {tensor.name for tensor in stock.tensors}
    for tensor in stock.tensors:
        expected = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        found = ours.read(tensor.name, torch.float32)
        assert found.shape == ours.tensors[tensor.name].shape == tuple(reversed(tensor.shape.tolist()))
        assert torch.equal(found, expected.reshape(found.shape)), tensor.name
        assert torch.equal(ours.read(tensor.name, torch.bfloat16), expected.reshape(found.shape).bfloat16())


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_dequantising_in_pieces_changes_nothing(sound: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: read(sound.read_bytes()).read(name, torch.float32) for name in read(sound.read_bytes()).tensors}
    monkeypatch.setattr("hooke.model.gguf._BLOCK", 64 * rows)
    again = read(sound.read_bytes())
    for name, expected in whole.items():
        assert torch.equal(again.read(name, torch.float32), expected)


def test_one_by_hand() -> None:
    body = struct.pack("<3f", 1.0, -2.0, 0.5)
    found = read(file_of([entry("n", UINT32, struct.pack("<I", 9))], [described("t", [3], 0)], body))
    assert found.fields == {"n": 9}
    assert found.read("t", torch.float32).tolist() == [1.0, -2.0, 0.5]
    assert read(file_of(version=2)).fields == {}


ONE = described("t", [4], 0)
LIES = {
    "nothing": (b"", "GGUF: 4 bytes wanted at byte 0, the file has 0"),
    "another format": (b"PK\3\4" + bytes(100), "not a GGUF file: it does not begin with 'GGUF'"),
    "another version": (file_of(version=1), "GGUF version 1 is not known; 2 and 3 are"),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "GGUF version 50331648 is not known"),
    "too many tensors": (file_of(n_tensors=2**63), f"GGUF: {2**63} tensors at byte 16; at most 100000 are allowed"),
    "too many entries": (file_of(n_entries=2**40), f"GGUF: {2**40} entries at byte 24; at most 4096 are allowed"),
    "more entries than there are": (file_of(n_entries=9), "GGUF: 4 bytes wanted at byte 32, the file has 32"),
    "more tensors than there are": (file_of([], [ONE], bytes(16), n_tensors=99), "GGUF: "),
    "text longer than the file": (file_of([struct.pack("<Q", 1 << 19) + b"key"]), f"GGUF: {1 << 19} bytes wanted at byte 32, the file has"),
    "text longer than allowed": (file_of([struct.pack("<Q", 2**62)]), f"GGUF: {2**62} bytes of text at byte 32; at most {1 << 20}"),
    "text that is not UTF-8": (file_of([entry("k", STRING, text(b"\xff\xfe"))]), "is not UTF-8"),
    "a value type that is none": (file_of([entry("k", 77, b"")]), "GGUF: unknown value type 77 at byte"),
    "an array of arrays": (file_of([entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "GGUF: arrays of value type 9 are not allowed"),
    "an array longer than allowed": (file_of([entry("k", ARRAY, struct.pack("<IQ", UINT32, 2**50))]), f"GGUF: {2**50} array items at byte"),
    "an array longer than the file": (file_of([entry("k", ARRAY, struct.pack("<IQ", UINT32, 9999))]), "GGUF: 39996 bytes wanted at byte"),
    "a key twice": (file_of([entry("k", UINT32, bytes(4))] * 2), "GGUF: key 'k' occurs twice"),
    "no axes": (file_of([], [described("t", [], 0)]), "GGUF: tensor 't' has 0 axes"),
    "five axes": (file_of([], [described("t", [1] * 5, 0)]), "GGUF: tensor 't' has 5 axes"),
    "an axis too long": (file_of([], [described("t", [2**40], 0)]), f"GGUF: {2**40} values along an axis"),
    "an empty tensor": (file_of([], [described("t", [4, 0], 0)]), "GGUF: tensor 't' is empty, shape (0, 4)"),
    "a product that overflows": (file_of([], [described("t", [2**31] * 4, 0)], bytes(64)), "GGUF: tensor 't' ends at byte"),
    "a tensor type that is none": (file_of([], [described("t", [4], 0, 99)], bytes(16)), "GGUF: tensor 't' has unknown type 99"),
    "rows that are no whole blocks": (
        file_of([], [described("t", [33], 0, Q.Q8_0)], bytes(99)),
        "GGUF: tensor 't' (shape (33,), offset 0)",
    ),
    "a tensor past the end": (file_of([], [ONE], bytes(12)), "GGUF: tensor 't' ends at byte"),
    "an offset past the end": (file_of([], [described("t", [4], 2**60)], bytes(16)), "GGUF: tensor 't' ends at byte"),
    "an offset off the alignment": (file_of([], [described("t", [4], 4)], bytes(32)), "offset 4) is repeated, misaligned or overlaps"),
    "a tensor twice": (file_of([], [ONE, described("t", [4], 32)], bytes(64)), "offset 32) is repeated, misaligned or overlaps"),
    "tensors that overlap": (
        file_of([], [described("s", [9], 0), described("t", [4], 32)], bytes(64)),
        "GGUF: tensor 't' (shape (4,), offset 32)",
    ),
    "the same bytes twice": (file_of([], [ONE, described("s", [4], 0)], bytes(32)), "offset 0) is repeated, misaligned or overlaps"),
} | {
    f"alignment {number}": (
        file_of([entry("general.alignment", UINT32, struct.pack("<I", number))], [ONE], bytes(64)),
        f"GGUF: alignment {number} is not",
    )
    for number in (0, 1, 24, 2**31)
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(lie: str) -> None:
    content, said = LIES[lie]
    start = time.process_time()
    with pytest.raises(BadFile) as caught:
        read(content)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250
    assert time.process_time() - start < 0.5


def test_an_alignment_in_words_is_refused() -> None:
    with pytest.raises(BadFile, match="alignment 'wide' is not a power of two"):
        read(file_of([entry("general.alignment", STRING, text("wide"))]))


def test_a_long_name_is_not_poured_into_the_message() -> None:
    with pytest.raises(BadFile) as caught:
        read(file_of([], [described("n" * 10_000, [], 0)]))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("key", "kind", "said"), [("none", int, "'none' is missing"), ("n", str, "'n' is int"), ("n", (list, str), "'n' is int")]
)
def test_a_field_that_is_missing_or_of_another_type_is_said(key: str, kind: Any, said: str) -> None:
    found = read(file_of([entry("n", UINT32, struct.pack("<I", 9))]))
    assert found.field("n", int) == 9
    with pytest.raises(BadFile) as caught:
        found.field(key, kind)
    assert said in str(caught.value)
    assert str(caught.value).endswith({int: "; int was expected.", str: "; str was expected."}.get(kind, "; list or str was expected."))


def test_a_tensor_that_is_not_there_or_cannot_be_dequantised_is_said() -> None:
    found = read(file_of([], [described("t", [4], 0, Q.I32)], bytes(16)))
    with pytest.raises(BadFile, match="no tensor 'u'; the file holds 1"):
        found.read("u", torch.float32)
    with pytest.raises(BadFile, match="tensor 't' is of type 26, which cannot be dequantised"):
        found.read("t", torch.float32)


def mutated(content: bytes, header: int, order: random.Random) -> bytes:
    """`content` with one to four bytes or whole numbers of its first `header` bytes changed, or cut off there."""
    out = bytearray(content)
    for _ in range(order.randint(1, 4)):
        at = order.randrange(header)
        match order.randrange(4):
            case 0:
                out[at] = order.randrange(256)
            case 1:
                out[at] ^= 1 << order.randrange(8)
            case 2:
                out[at : at + 8] = struct.pack("<Q", order.choice([0, 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]))
            case _:
                out[at : at + 4] = struct.pack("<I", order.choice([0, 8, 9, 2**16, 2**31 - 1, 2**32 - 1]))
    return bytes(out[: order.randrange(header)] if order.random() < 0.1 else out)


@pytest.mark.exhaustive
def test_three_thousand_damaged_headers_are_read_or_refused_in_no_time(sound: Path) -> None:
    content, order, refused = sound.read_bytes(), random.Random(0), 0
    header = min(tensor.start for tensor in read(content).tensors.values())
    for _ in range(3000):
        damaged, start = mutated(content, header, order), time.process_time()
        try:
            found = read(damaged)
        except BadFile:
            refused += 1
        else:
            with contextlib.suppress(BadFile), np.errstate(all="ignore"):
                found.read(order.choice([*found.tensors, ""]), torch.float32)
        assert time.process_time() - start < 1
    assert 1500 < refused < 3000


def test_no_damaged_header_makes_it_take_much_memory(sound: Path) -> None:
    content, order = sound.read_bytes(), random.Random(1)
    header = min(tensor.start for tensor in read(content).tensors.values())
    tracemalloc.start()
    try:
        for _ in range(200):
            with contextlib.suppress(BadFile):
                read(mutated(content, header, order))
        for content, _ in LIES.values():
            with contextlib.suppress(BadFile):
                read(content)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
