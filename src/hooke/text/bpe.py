"""Bpe: a SentencePiece-like ``tokenizer.json`` as memory-mapped tables, which open at once and give the same ids.

Reading that file takes longer than a model takes to read a headline: 262,144 pieces and 514,906 merges become objects first. The tables
are looked into where a text needs them. For much text the `tokenizers` library is quicker, once it is there (`hooke.text.tokens`).
"""

import heapq
import json
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

_SPACE, _MARK = " ", "▁"


def tables_of(document: str) -> dict[str, np.ndarray]:
    """The tables of a ``tokenizer.json`` that splits by merges alone, spaces turned to marks, unknown characters spelled in bytes."""
    found = json.loads(document)
    vocabulary: dict[str, int] = found["model"]["vocab"]
    names = [piece.encode() for piece, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    pairs = [(vocabulary[left] << 32 | vocabulary[right], vocabulary[left + right]) for left, right in found["model"]["merges"]]
    key, joined = np.array(pairs, np.int64).T
    order = np.argsort(key)
    letters = sorted((ord(piece), token) for piece, token in vocabulary.items() if len(piece) == 1)
    whole = [(token["content"].encode(), token["id"]) for token in found["added_tokens"] if not token["special"]]
    return {
        "piece_bytes": np.array(list(b"".join(names)), np.uint8),
        "piece_start": np.cumsum([0, *map(len, names)], dtype=np.int64),
        "letter": np.array([letter for letter, _ in letters], np.int32),
        "letter_token": np.array([token for _, token in letters], np.int32),
        "byte_token": np.array([vocabulary[f"<0x{byte:02X}>"] for byte in range(256)], np.int32),
        "pair": key[order],
        "pair_rank": order.astype(np.int32),
        "pair_token": joined[order].astype(np.int32),
        "whole_token": np.array([token for _, token in whole], np.int32),
        "special": np.array([token["id"] for token in found["added_tokens"] if token["special"]], np.int32),
    }


class Bpe:
    """Splits texts into tokens by `tables_of` a tokenizer."""

    def __init__(self, tables: dict[str, np.ndarray]) -> None:
        self._tables = tables
        self._pair = tables["pair"].data
        self._rank, self._joined = tables["pair_rank"].data, tables["pair_token"].data
        self.special = frozenset(tables["special"].tolist())
        """Tokens that mark something and are no text."""

    @classmethod
    def open(cls, file: Path) -> "Bpe":
        """The tables in a safetensors file."""
        from hooke.files import read_safetensors

        return cls({name: tensor.numpy() for name, tensor in read_safetensors(file)[0].items()})

    def __len__(self) -> int:
        return len(self._tables["piece_start"]) - 1

    def piece(self, token: int) -> str | None:
        """How a token is written in the file; None where there is no such token."""
        if not 0 <= token < len(self):
            return None
        start, end = self._tables["piece_start"][token : token + 2].tolist()
        return self._tables["piece_bytes"][start:end].tobytes().decode()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, nothing put in front."""
        out: list[int] = []
        for part in self._parts(text):
            out += [part] if isinstance(part, int) else self._merged(self._letters(part.replace(_SPACE, _MARK)))
        return out

    @cached_property
    def _whole(self) -> dict[str, list[tuple[str, int]]]:
        """Pieces that are matched before anything else is, by their first character, longest first."""
        out: dict[str, list[tuple[str, int]]] = {}
        for token in self._tables["whole_token"].tolist():
            piece: Any = self.piece(token)
            out.setdefault(piece[0], []).append((piece, token))
        return {first: sorted(own, key=lambda one: -len(one[0])) for first, own in out.items()}

    def _parts(self, text: str) -> Iterator[str | int]:
        """A text as pieces that stand for themselves and what lies between them; of two that begin at one place the longer counts."""
        done = at = 0
        while at < len(text):
            token = next(((piece, token) for piece, token in self._whole.get(text[at], ()) if text.startswith(piece, at)), None)
            if token is None:
                at += 1
                continue
            if at > done:
                yield text[done:at]
            yield token[1]
            done = at = at + len(token[0])
        if done < len(text):
            yield text[done:]

    def _letters(self, text: str) -> list[int]:
        """The token of each character, or of each of its bytes where it has none."""
        letters = np.frombuffer(text.encode("utf-32-le"), np.int32)
        known = self._tables["letter"]
        place = np.minimum(np.searchsorted(known, letters), len(known) - 1)
        tokens = np.where(known[place] == letters, self._tables["letter_token"][place], -1).tolist()
        if -1 not in tokens:
            return tokens
        spelled = self._tables["byte_token"]
        return [own for letter, token in zip(text, tokens, strict=True)
                for own in ([token] if token >= 0 else spelled[list(letter.encode())].tolist())]  # fmt: skip

    def _merged(self, tokens: list[int]) -> list[int]:
        """Neighbours joined, of all that can be the pair of lowest rank first, and of equals the first, until none can be."""
        end = len(tokens)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))
        waiting: list[tuple[int, int, int, int]] = []

        def meet(left: int, right: int) -> None:
            pair = tokens[left] << 32 | tokens[right]
            place = bisect_left(self._pair, pair)
            if place < len(self._pair) and self._pair[place] == pair:
                heapq.heappush(waiting, (self._rank[place], left, pair, self._joined[place]))

        for left in range(end - 1):
            meet(left, left + 1)
        while waiting:
            _, left, pair, joined = heapq.heappop(waiting)
            right = after[left]
            if right == end or tokens[left] << 32 | tokens[right] != pair or tokens[left] < 0:
                continue  # one of the two was joined with another since
            tokens[left], tokens[right] = joined, -1
            after[left] = following = after[right]
            if following < end:
                before[following] = left
                meet(left, following)
            if before[left] >= 0:
                meet(before[left], left)
        return [token for token in tokens if token >= 0]
