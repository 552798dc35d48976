"""Propose: features to steer with for some words, by what each was measured to do to those words and to nothing else."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke.atlas import Atlas
from hooke.atlas.records import Estimate
from hooke.atlas.search import Filters
from hooke.errors import BadConfig, Missing
from hooke.features.effects import EffectSettings, estimate, neutral_contexts, random_directions, share_above
from hooke.features.neighbours import logit_lens
from hooke.model import Model
from hooke.model.last import LastToken
from hooke.sae import Sae

__all__ = ["Proposal", "best_of", "candidates", "known", "looked_at", "propose", "tokens_for", "words_of"]

_CONTEXTS, _CONTROLS, _AT_ONCE = 16, 19, 8
_BY_DIRECTION, _BY_EFFECT, _BY_NAME, _MOST_WORDS = 24, 8, 8, 20


@dataclass(frozen=True)
class Proposal:
    """A feature, and what one dose of it does to the words in neutral contexts."""

    feature: int
    """Which of the SAE's features."""
    rise: Estimate
    """By how much the log odds of the words, all together, rise, in nats."""
    probability: tuple[float, float]
    """Mean probability of the words without and with it."""
    kl: Estimate
    """By how much all expectations move, in nats: what the rise costs."""
    p: float
    """Share of random steps as long that raise the words as much, (1 + those) / (1 + all)."""

    @property
    def holds(self) -> bool:
        """Whether it raises the words more than chance does."""
        return self.rise.low > 0 and self.p <= 0.05


def words_of(wanted: str) -> list[str]:
    """The words that somebody typed, parted by commas or spaces. Raises `BadConfig` where there are none or too many."""
    words = [word for part in wanted.split(",") for word in part.split()]
    if not 1 <= len(words) <= _MOST_WORDS:
        raise BadConfig(f"features are proposed for 1 to {_MOST_WORDS} words, such as 'goal, match, striker'; these are {len(words)}.")
    return words


def best_of(found: Sequence[Proposal], sae: str, words: Sequence[str]) -> str:
    """The address of the one that raises the words most. Raises `Missing` where none raises them more than random steps do."""
    for one in found:
        if one.holds:
            return f"{sae}/{one.feature}"
    raise Missing(f"no feature of {sae} raises {', '.join(words)} more than random steps as long do. Try other words.")


def tokens_for(model: Model, words: Sequence[str]) -> list[int]:
    """The tokens that `words` are, small and capital, with a space in front and without. Raises `BadConfig` for a word that is none."""
    begins, found = int(model.tokenizer.bos is not None), dict[int, None]()
    for word in words:
        forms = [f"{space}{form}" for space in (" ", "") for form in dict.fromkeys((word, word.lower(), word.capitalize()))]
        own = [ids[begins] for ids in model.tokenizer.encode(forms) if len(ids) == begins + 1]
        if not own:
            raise BadConfig(f"{word!r} is no single token of {model.name}, so that its odds cannot be measured. Give a shorter word.")
        found.update(dict.fromkeys(own))
    return list(found)


def candidates(model: Model, sae: Sae, maximum: Float[np.ndarray, " d_sae"], tokens: Sequence[int], most: int) -> list[int]:
    """The features a dose of which points furthest towards `tokens`: where measuring is likeliest to find something."""
    along = logit_lens(model).along(sae.W_dec, tokens).cpu().numpy() * maximum
    return [int(i) for i in np.argsort(-along, kind="stable")[:most] if maximum[i] > 0]


def known(atlas: Atlas, sae: str, tokens: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Features whose effect is in the atlas and raises one of `tokens`, those that give them most first.

    Beside each the probability of those of the tokens that it raises, without it and with it.
    """
    found: dict[int, tuple[float, float]] = {}
    for index, effect in atlas.effects(sae, tokens).items():
        moved = [one for one in effect.full.raised if one.token in tokens]
        found[index] = sum(one.before for one in moved), sum(one.after for one in moved)
    return {i: found[i] for i in sorted(found, key=lambda i: found[i][0] - found[i][1]) if found[i][1] > found[i][0]}


def looked_at(model: Model, sae: Sae, atlas: Atlas, words: Sequence[str], tokens: Sequence[int], by_effect: Iterable[int]) -> list[int]:
    """Features that might raise the words, by their directions, by effects that are `known`, and by their names: those to measure."""
    hits = atlas.search(" ".join(words), filters=Filters(sae=(sae.name,)), where=("label",), limit=_BY_NAME).hits
    by_name = [int(hit.name.rpartition("/")[2]) for hit in hits]
    maximum = atlas.table(sae.name).max
    return [*candidates(model, sae, maximum, tokens, _BY_DIRECTION), *islice(by_effect, _BY_EFFECT), *by_name]


@torch.no_grad()
def propose(
    model: Model,
    sae: Sae,
    maximum: Float[np.ndarray, " d_sae"],
    tokens: Sequence[int],
    features: Sequence[int],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Proposal]:
    """What one dose of each of `features` does to `tokens` after 16 neutral contexts, those that raise them most first.

    Beside each stand 19 random steps as long. A feature that never fired has no dose and is left out.
    """
    contexts = neutral_contexts(model, sae, EffectSettings(contexts=_CONTEXTS))
    clean = torch.cat([log_p for _, log_p in model.head.log_probs(contexts.hidden)])
    features = [i for i in dict.fromkeys(features) if maximum[i] > 0]
    rows = sae.W_dec.float()
    steps = [rows[i] * float(maximum[i]) for i in features]
    random = random_directions(sae, _CONTROLS, torch.Generator().manual_seed(0)).to(rows)
    norms = _norms([float(step.norm()) for step in steps])
    controls = [direction * norm for norm in norms for direction in random]
    found = []
    for low in range(0, len(steps) + len(controls), _AT_ONCE):
        found += _measured(model, contexts, clean, torch.stack([*steps, *controls][low : low + _AT_ONCE]), tokens)
        progress(min(low + _AT_ONCE, len(steps) + len(controls)), len(steps) + len(controls))
    by_norm = np.array([rise.mean() for rise, _, _ in found[len(steps) :]]).reshape(len(norms), _CONTROLS)
    before = float(_odds(clean, tokens)[1].mean())
    out = []
    for index, step, (rise, after, kl) in zip(features, steps, found, strict=False):
        near = by_norm[int(np.argmin(np.abs(np.log(norms) - math.log(float(step.norm())))))]
        out.append(Proposal(index, estimate(rise), (before, float(after.mean())), estimate(kl), share_above(float(rise.mean()), near)))
    return sorted(out, key=lambda one: -one.rise.mean)


def _norms(lengths: Sequence[float]) -> np.ndarray:
    """Three lengths that the steps' lie near."""
    return np.unique(np.quantile(lengths, (0.1, 0.5, 0.9))) if lengths else np.ones(0)


def _measured(
    model: Model, contexts: LastToken, clean: Float[Tensor, "batch vocab"], steps: Float[Tensor, "row d_site"], tokens: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each step, by context: rise of the log odds, probability, and KL."""
    hidden, odds = contexts.hidden_with(steps), _odds(clean, tokens)[0]
    out = []
    for own in hidden:
        log_q = torch.cat([rows for _, rows in model.head.log_probs(own)])
        after, probability = _odds(log_q, tokens)
        kl = (clean.exp() * (clean - log_q)).sum(1).clamp_min(0)
        out.append(tuple(one.double().numpy(force=True) for one in (after - odds, probability, kl)))
    return out


def _odds(log_p: Float[Tensor, "batch vocab"], tokens: Sequence[int]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Log odds of the words all together, and their probability."""
    inside = log_p[:, list(tokens)].logsumexp(1)
    return inside - torch.log1p(-inside.exp().clamp_max(1 - 1e-6)), inside.exp()
