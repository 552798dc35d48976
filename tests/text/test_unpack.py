"""Unpacking by content: whole, in pieces, broken off, oversized."""

import gzip
import io

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hooke.text.unpack import DAMAGE, unpacked


@given(st.lists(st.binary(max_size=3000), max_size=3), st.sampled_from([None, "gzip", "zstd"]))
def test_round_trip_of_frames_in_a_row(parts: list[bytes], packing: str | None) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress, None: lambda part: b"-" + part}[packing]
    plain, told = unpacked(io.BytesIO(b"".join(map(pack, parts))))
    assert told == (packing if parts else None)
    assert plain.read() == b"".join(parts if packing else map(pack, parts))


def test_a_frame_that_breaks_off_is_said() -> None:
    for pack in (gzip.compress, zstandard.compress):
        plain, _ = unpacked(io.BytesIO(pack(b"abc" * 1000)[:-1]))
        with pytest.raises(DAMAGE):
            plain.read()


def test_a_window_that_would_take_gigabytes_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(b"x") + packer.flush()
    with pytest.raises(DAMAGE):
        unpacked(io.BytesIO(packed))[0].read()


def test_the_stream_stays_open() -> None:
    for data in (b"plain", gzip.compress(b"x"), zstandard.compress(b"x")):
        stream = io.BytesIO(data)
        unpacked(stream)[0].read()
        assert not stream.closed
