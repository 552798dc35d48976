"""Inputs: what a person gives a model to read, texts or token ids, as one matrix; and activations that know which positions to count."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadConfig, HookeError, UnknownName, unknown
from hooke.names import Site
from hooke.text.tokens import Tokenizer

Tokens = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | Int[Tensor, " pos"] | Int[Tensor, "batch pos"]
"""A text, several texts, or token ids of one or several (as `Tokenizer.encode` gives them, or as a tensor)."""


class _NotCaptured(UnknownName, KeyError):
    """A site that a mapping lacks; a `KeyError` too, because that is what `Mapping.get` knows."""

    __str__ = UnknownName.__str__


class Activations(Mapping[Site, Tensor]):
    """Activations by site, each ``[batch, pos, d_site]``; a site is named as ``acts["resid_post.12"]`` or as a `Site`."""

    def __init__(self, by_site: Mapping[Site, Tensor], ids: Int[Tensor, "batch pos"], keep: Bool[Tensor, "batch pos"]) -> None:
        self._by_site = by_site
        self.ids = ids
        """The token ids that were read, padded on the right."""
        self.keep = keep
        """Positions that hold text: neither special tokens nor padding. ``acts[site][acts.keep]`` has one row for each."""

    def __getitem__(self, site: Site | str) -> Float[Tensor, "batch pos d_site"]:
        parsed = Site.parse(site)
        if parsed not in self._by_site:
            raise _NotCaptured(str(unknown("site here", parsed, map(str, self._by_site), "Only sites that were asked for are captured.")))
        return self._by_site[parsed]

    def __contains__(self, site: object) -> bool:
        try:
            return isinstance(site, str | Site) and Site.parse(site) in self._by_site
        except HookeError:
            return False

    def __iter__(self) -> Iterator[Site]:
        return iter(self._by_site)

    def __len__(self) -> int:
        return len(self._by_site)

    def __repr__(self) -> str:
        return f"Activations({', '.join(f'{site}: {list(value.shape)}' for site, value in self._by_site.items())})"


def read_tokens(tokens: Any, tokenizer: Tokenizer) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """The ids of `tokens`, which are `Tokens`, as one matrix, padded on the right, and the mask of what is not padding.

    Texts get the beginning-of-sequence token in front; ids are taken as they are. Raises `BadConfig` for what is neither.
    """
    if isinstance(tokens, Tensor):
        ids = tokens[None] if tokens.ndim == 1 else tokens
        if ids.ndim != 2 or ids.is_floating_point() or ids.dtype == torch.bool:
            raise BadConfig(f"token ids are whole numbers, [batch, pos]; this tensor is {tokens.dtype} {list(tokens.shape)}.")
        real = torch.ones_like(ids, dtype=torch.bool)
    else:
        rows = _rows(tokens, tokenizer)
        if not any(rows):
            raise BadConfig("there is nothing to read: no text or token was given.")
        ids, real = pad(rows)
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(tokenizer):
        raise BadConfig(f"token ids run from {int(ids.min())} to {int(ids.max())}; this tokenizer has 0 to {len(tokenizer) - 1}.")
    return ids, real


def _rows(tokens: Any, tokenizer: Tokenizer) -> Sequence[Sequence[int]]:
    rows: list[Any] = [tokens] if isinstance(tokens, str) else list(tokens)
    if all(isinstance(row, str) for row in rows):
        return tokenizer.encode(rows)
    if all(isinstance(token, int) for token in rows):
        return [rows]
    texts = any(isinstance(row, str) for row in rows)
    for number, row in enumerate(rows):
        fits = isinstance(row, str) if texts else isinstance(row, Sequence) and all(isinstance(token, int) for token in row)
        if not fits:
            raise BadConfig(f"item {number} is {row!r:.60}. Give a text, several texts, or lists or a tensor of token ids.")
    return rows


def pad(rows: Sequence[Sequence[int]], filler: int = 0) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """`rows` as one matrix, padded on the right with `filler`, and the mask of what is real."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < lengths[:, None]
