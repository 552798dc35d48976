"""Bytes behind gzip or Zstandard, told by how they begin, unpacked in bounded steps."""

import gzip
import io
import zlib
from typing import Literal, Protocol, runtime_checkable

import zstandard

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)
"""What reading raises when packed data breaks off or is wrong."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WINDOW = 128 * 2**20  # what the zstd program itself accepts without being told otherwise
_SLICE = 512  # packed bytes per step: a block of 4 bytes can unfold to 128 KiB, so one step makes at most 16 MiB


@runtime_checkable
class ByteStream(Protocol):
    """Anything that bytes can be read from: an open binary file, a pipe, a buffer."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def unpacked(stream: ByteStream) -> tuple[io.BufferedIOBase, Literal["gzip", "zstd"] | None]:
    """`stream` behind whatever unpacks it, and what that is; `stream` itself is never closed.

    >>> unpacked(io.BytesIO(gzip.compress(b"packed")))[0].read()
    b'packed'
    """
    ahead = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(_Borrowed(stream))
    first = ahead.peek(4)[:4]
    if first.startswith(_GZIP):
        return gzip.GzipFile(fileobj=ahead), "gzip"
    if first.startswith(_ZSTD):
        return io.BufferedReader(_Zstd(ahead), 2**17), "zstd"
    return ahead, None


class _Borrowed(io.RawIOBase):
    """A stream that is read but not closed with its reader: it is the caller's."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        got = self._stream.read(len(buffer))
        buffer[: len(got)] = got
        return len(got)


class _Zstd(io.RawIOBase):
    """Zstandard frames, one after another; a frame that breaks off is an EOFError.

    zstandard's own stream reader ends quietly in the middle of a frame, so a damaged file would pass for a short one.
    """

    def __init__(self, packed: ByteStream) -> None:
        self._packed = packed
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest, self._ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        while not self._ready:
            data = self._rest or self._packed.read(_SLICE)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("the last frame is not complete")
                return 0
            frame = self._frame or zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
            self._ready = memoryview(frame.decompress(data))
            self._rest = frame.unused_data if frame.eof else b""
            self._frame = None if frame.eof else frame
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n
