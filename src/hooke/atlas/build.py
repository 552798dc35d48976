"""Building an atlas: from codes over a corpus to statistics, examples, background rates and output tokens. Reads codes, not models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke.atlas import BACKGROUND_STEPS, Example
from hooke.codes import Codes
from hooke.sae import Sae
from hooke.text.tokens import Tokenizer

_BEFORE, _AFTER = 12, 5
_CELLS = 1 << 26


@dataclass(frozen=True)
class Events:
    """Codes grouped by feature."""

    start: np.ndarray
    """``[d_sae + 1]``: where each feature's run begins."""
    rows: np.ndarray
    """Token of each event, ascending within a feature."""
    values: np.ndarray
    """Its activation."""

    @classmethod
    def of(cls, codes: Codes) -> "Events":
        """The events of `codes`."""
        feature = codes.feature.numpy().astype(np.int32)
        order = np.argsort(feature, kind="stable")
        start = np.zeros(codes.d_sae + 1, np.int64)
        np.cumsum(np.bincount(feature, minlength=codes.d_sae), out=start[1:])
        return cls(start, codes.row.numpy()[order].astype(np.int32), codes.value.numpy()[order])

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for low, high in zip(self.start[:-1], self.start[1:], strict=True):
            yield self.rows[low:high], self.values[low:high]

    def max(self) -> np.ndarray:
        """Largest activation of each feature; 0 where it never fired."""
        return np.array([values.max(initial=0) for _, values in self], np.float32)


def top_examples(
    rows: np.ndarray, values: np.ndarray, window: np.ndarray, ids: np.ndarray, sources: Sequence[str], tokenizer: Tokenizer, count: int
) -> list[Example]:
    """The `count` strongest places of one feature, at most one per window, as text around the token it peaked on.

    `window` and `ids` are per token of the corpus, `sources` per window.
    """
    found: list[Example] = []
    seen: set[int] = set()
    for at in np.argsort(-values, kind="stable"):
        row = int(rows[at])
        home = int(window[row])
        if home not in seen:
            seen.add(home)
            low, high = max(0, row - _BEFORE), min(len(ids), row + _AFTER + 1)
            near = np.arange(low, high)[window[low:high] == home]
            pieces = tokenizer.pieces(ids[near].tolist())
            peak = int(np.searchsorted(near, row))
            found.append(
                Example("".join(pieces[:peak]), pieces[peak], "".join(pieces[peak + 1 :]), float(f"{values[at]:.4g}"), sources[home])
            )
            if len(found) == count:
                break
    return found


def pooled_max(codes: Codes, text: np.ndarray, texts: int) -> Float[Tensor, "text d_sae"]:
    """Each feature's largest activation in each text; `text` gives every token's text, numbered from 0."""
    out = torch.zeros(texts, codes.d_sae)
    owner = torch.from_numpy(text)[codes.row].long()
    out.view(-1).scatter_reduce_(0, owner * codes.d_sae + codes.feature.long(), codes.value, "amax")
    return out


def background_counts(pooled: Float[Tensor, "text d_sae"], maximum: np.ndarray) -> np.ndarray:
    """``[d_sae, BACKGROUND_STEPS]``: how many texts drive each feature above 0, 1/8, 2/8 ... 7/8 of its maximum."""
    relative = pooled / torch.from_numpy(maximum).clamp_min(1e-12)
    return np.stack([(relative > step / BACKGROUND_STEPS).sum(0).numpy() for step in range(BACKGROUND_STEPS)], 1)


@torch.inference_mode()
def output_tokens(
    sae: Sae, unembedding: Float[Tensor, "vocab d"], gain: Float[Tensor, " d"], tokenizer: Tokenizer, count: int
) -> list[list[str]]:
    """For each feature the tokens whose logits its decoder row raises most (logit lens: final norm's gain folded in, mean taken out).

    Special tokens and those without a letter or digit are passed over.
    """
    allowed = torch.tensor([t not in tokenizer.special and any(map(str.isalnum, tokenizer.piece(t))) for t in range(len(unembedding))])
    matrix = (unembedding.float() * gain.float())[allowed]
    token = allowed.nonzero()[:, 0]
    matrix = (matrix - matrix.mean(0)).T.bfloat16()
    out: list[list[str]] = []
    for rows in sae.W_dec.bfloat16().split(max(1, _CELLS // matrix.shape[1])):
        best = (rows @ matrix).topk(count, dim=-1).indices
        out += [[tokenizer.piece(int(t)) for t in token[row]] for row in best]
    return out
