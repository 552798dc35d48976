"""Tokenizer: texts to token ids with the beginning-of-sequence token in front, and ids back to the text each token stands for."""

import codecs
import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hooke.errors import BadFile, Missing
from hooke.text.bpe import Bpe

if TYPE_CHECKING:
    import tokenizers

TABLES = "tokenizer.safetensors"
"""The name of a file beside a ``tokenizer.json`` with the same as tables."""
_FEW, _A_MINUTE = 40_000, 60
"""Characters within so many seconds that are read by the tables, which open at once; for more the other form, five times as quick, is
worth opening, which takes as long as it takes to read these."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer:
    """A `tokenizers.Tokenizer` with the model's conventions around it."""

    def __init__(self, backend: "tokenizers.Tokenizer", bos: int | None, special: Iterable[int] = (), *, eos: int | None = None) -> None:
        """`bos` is put in front of every text (None: nothing is); `special` ids are never shown, counted or decomposed.

        `eos` ends a document where several are packed into one window (None: nothing does); it is special too.
        """
        added = backend.get_added_tokens_decoder()
        self._settle(lambda: backend, None, (*special, *(i for i, token in added.items() if token.special)), bos, eos)

    def _settle(
        self, backend: "Callable[[], tokenizers.Tokenizer]", quick: Bpe | None, special: Iterable[int], bos: int | None, eos: int | None
    ) -> None:
        self._backend, self._quick = backend, quick
        self._left, self._since = float(_FEW), time.monotonic()
        self.bos = bos
        self.eos = eos
        self.special = frozenset(special).union(i for i in (bos, eos) if i is not None)

    @classmethod
    def open(cls, file: Path, bos: int | None, special: Iterable[int] = (), *, eos: int | None = None) -> "Tokenizer":
        """The tokenizer in a ``tokenizer.json``; where its `TABLES` lie beside it, it is not read before much text is."""
        if not file.is_file():
            raise Missing(f"no tokenizer at {file}.")
        if not file.with_name(TABLES).is_file():
            return cls(_read(file), bos, special, eos=eos)
        quick, tokenizer = Bpe.open(file.with_name(TABLES)), cls.__new__(cls)
        tokenizer._settle(lambda: _read(file), quick, quick.special.union(special), bos, eos)
        return tokenizer

    @cached_property
    def backend(self) -> "tokenizers.Tokenizer":
        """The library's own tokenizer."""
        backend = self._backend()
        backend.encode_special_tokens = True  # a text that says "<bos>" says five characters, not where it begins
        return backend

    def __len__(self) -> int:
        return len(self._quick) if self._quick is not None else self.backend.get_vocab_size(with_added_tokens=True)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, the beginning-of-sequence token in front.

        Markers such as ``<bos>`` written out in a text are read as the plain characters they are.
        """
        start = [] if self.bos is None else [self.bos]
        if self._quick is not None:
            now = time.monotonic()
            if self._left >= 0:
                self._left = min(_FEW, self._left + _FEW * (now - self._since) / _A_MINUTE) - sum(map(len, texts))
            self._since = now
            if self._left >= 0 and not any("\ud800" <= character <= "\udfff" for text in texts for character in text):
                return [start + self._quick.encode(text) for text in texts]
        return [start + encoding.ids for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, which `encode` turns back into them; special tokens are left out, and a space that `encode` puts in front."""
        return "".join(self.pieces([i for i in ids if i not in self.special], begins=True))

    def pieces(self, ids: Sequence[int], *, begins: bool = False) -> list[str]:
        """What each token adds to the text: the pieces concatenate to it.

        Where `ids` are said to begin a text, a space that `encode` puts in front of every text is left out.
        A character spread over several tokens stands with the last of them; bytes that form no character become U+FFFD.
        """
        reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
        out = [reader.decode(self.spelling(i)) for i in ids]
        if out:
            out[-1] += reader.decode(b"", final=True)
        if begins and out and self._puts_space and not (self._leaves_space and "".join(out)[:2] in (" ", "  ")):
            out[0] = out[0].removeprefix(" ")
        return out

    def piece(self, token: int) -> str:
        """The text of one token on its own."""
        return self.pieces([token])[0]

    def spelling(self, token: int) -> bytes:
        """The bytes that one token adds to a text; on their own they may be part of a character."""
        piece = self._quick.piece(token) if self._quick is not None else self.backend.id_to_token(token)
        if piece is None:
            return b""
        if self._byte_level is not None:
            if token in self.backend.get_added_tokens_decoder():
                return piece.encode()
            return bytes(self._byte_level.get(char, 0x3F) for char in piece)
        if match := _BYTE.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return piece.replace("▁", " ").encode()

    @cached_property
    def _puts_space(self) -> bool:
        """Whether a space that is not in the text is put in front of it, as Llama's first tokenizers do."""
        if self._quick is not None:
            return False
        first = self.backend.encode("x", add_special_tokens=False).ids[:1]
        return bool(first) and self.spelling(first[0]).startswith(b" ")

    @cached_property
    def _leaves_space(self) -> bool:
        """Whether none is put in front of a text that begins with one, so that two in front, or one alone, are the text's own."""
        return self.encode([" x"])[0] == self.encode(["x"])[0]

    @cached_property
    def _byte_level(self) -> dict[str, int] | None:
        """Character to byte, for tokenizers that spell every byte as a printable character (GPT-2's way); else None."""
        if self._quick is not None or "ByteLevel" not in f"{self.backend.decoder!r}{self.backend.pre_tokenizer!r}":
            return None
        shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        hidden = [byte for byte in range(256) if byte not in shown]
        return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _read(file: Path) -> "tokenizers.Tokenizer":
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for anything it cannot read
        raise BadFile(f"{file} is not a tokenizer: {error}.") from error
