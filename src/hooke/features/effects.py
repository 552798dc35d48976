"""Effects: what a model expects next when a feature is added to the last token of neutral contexts, beside random steps as long.

    x' = x + dose · maximum_i · W_dec_i        at the last token of each context        (methods: 5.1, 5.2)

Random steps go along random sums of the SAE's own directions, so that they lie in the residual stream as those do: along a direction drawn
evenly a step as long does many times as much (docs/atlas.md). Which tokens a step raises and lowers most is decided on one half of the
contexts, and by how much on the other half. A measurement is a line of a log and safe once it is written, so that a run that was stopped
goes on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.atlas.effects import add_effects, tokens_of
from hooke.atlas.records import DoseEffect, Effect, Estimate, Moved
from hooke.atlas.store import piece_of
from hooke.card import card, identified
from hooke.engine.cluster import Cluster, Unit
from hooke.errors import BadConfig
from hooke.features.effect_log import EffectLog
from hooke.model import Model
from hooke.model.last import LastToken
from hooke.model.recipe import Recipe
from hooke.sae import Sae, digest

SHOWN = 6
"""Tokens kept of those raised and of those lowered."""
_NORMS, _RESAMPLES, _TINY = 6, 1000, 1e-12
# Steps measured in one pass: with 32 contexts 256 rows, for which the LM head's weights are read once.
_ROWS = 256


@dataclass(frozen=True)
class EffectSettings:
    """How effects are measured."""

    doses: tuple[float, ...] = (1.0, 0.5, 2.0)
    """In units of each feature's own maximum, in the order in which they are measured."""
    contexts: int = 32
    """Neutral contexts, of `length` tokens after the one that begins a text."""
    length: int = 8
    """Tokens of a context."""
    controls: int = 64
    """Random directions (`random_directions`), each measured at lengths from the shortest step of a feature to the longest."""
    seed: int = 0
    """Decides the random directions."""

    def __post_init__(self) -> None:
        most = len(_sentences())
        if not self.doses or not all(0 < abs(dose) <= 16 for dose in self.doses) or len(set(self.doses)) < len(self.doses):
            raise BadConfig(f"doses are different numbers of at most 16 times a feature's maximum, and not 0; given: {list(self.doses)}.")
        if not 4 <= self.contexts <= most or not 1 <= self.length <= 64 or not 19 <= self.controls <= 4096:
            raise BadConfig(f"effects take 4 to {most} contexts of 1 to 64 tokens and 19 to 4,096 controls; these are {self}.")


@dataclass(frozen=True)
class Measured:
    """What one step does."""

    kl: np.ndarray
    """Of each context KL(p ‖ p̂) in nats."""
    gain: np.ndarray
    """Of each context of the second half the probability that goes over to the tokens raised."""
    raised: tuple[Moved, ...]
    """Tokens raised most on the first half, as the second half has them."""
    lowered: tuple[Moved, ...]
    """Tokens lowered most."""


class Meter:
    """Measures steps at one site in neutral contexts."""

    def __init__(self, model: Model, contexts: LastToken) -> None:
        self._contexts, self._head = contexts, model.head
        self.count = len(contexts.ids)
        """How many contexts there are."""
        self._log_p = torch.cat([log_p for _, log_p in model.head.log_probs(contexts.hidden)])
        self._p = self._log_p.exp()
        self._entropy = [float(torch.dot(p, log_p)) for p, log_p in zip(self._p, self._log_p, strict=True)]

    @classmethod
    def neutral(cls, model: Model, sae: Sae, settings: EffectSettings) -> "Meter":
        """For the site that `sae` writes."""
        return cls(model, neutral_contexts(model, sae, settings))

    @torch.no_grad()
    def measure(self, steps: Float[Tensor, "row d_site"]) -> Iterator[Measured]:
        """What each of `steps` does."""
        steps = steps.to(self._contexts.acts.device)
        hidden, tally = self._contexts.hidden_with(steps).flatten(0, 1), _Tally(self._log_p, self._p, self._entropy)
        for rows, log_q in self._head.log_probs(hidden):
            for row, own in zip(range(rows.start, rows.stop), log_q, strict=True):
                tally.add(row % self.count, own)
                if row % self.count == self.count - 1:
                    yield tally.measured()
                    tally = _Tally(self._log_p, self._p, self._entropy)


def neutral_contexts(model: Model, sae: Sae, settings: EffectSettings) -> LastToken:
    """The beginnings of neutral sentences, read, at the site that `sae` writes. Raises `BadConfig` where that is more than one."""
    if len(sae.facts.output_sites) > 1:
        raise BadConfig(f"{sae.name} writes several sites; only effects of features that write one can be measured.")
    return LastToken.read(model, torch.tensor(_neutral_ids(model, settings)), next(iter(sae.facts.output_sites)))


def _neutral_ids(model: Model, settings: EffectSettings) -> list[list[int]]:
    ids = [own for own in model.tokenizer.encode(_sentences()) if len(own) > settings.length][: settings.contexts]
    return [own[: settings.length + 1] for own in ids]


class _Tally:
    """One step's predictions, taken in context by context."""

    def __init__(self, log_p: Float[Tensor, "batch vocab"], p: Float[Tensor, "batch vocab"], entropy: Sequence[float]) -> None:
        """`entropy`: Σ p ln p of each context."""
        self._log_p, self._p, self._entropy, self._half = log_p, p, entropy, len(log_p) // 2
        self._kl: list[float] = []
        self._up, self._down = torch.zeros_like(log_p[0]), torch.zeros_like(log_p[0])
        self._later: list[Tensor] = []

    def add(self, context: int, log_q: Float[Tensor, " vocab"]) -> None:
        p = self._p[context]
        self._kl.append(max(0.0, self._entropy[context] - float(torch.dot(p, log_q))))
        if context < self._half:
            moved = log_q - self._log_p[context]
            self._up.addcmul_(log_q.exp(), moved)
            self._down.addcmul_(p, moved, value=-1)
        else:
            self._later.append(log_q)

    def measured(self) -> Measured:
        raised, lowered = (one.topk(min(SHOWN, len(one))).indices for one in (self._up, self._down))
        before, after = self._log_p[self._half :], torch.stack(self._later)
        gain = (after[:, raised].exp() - before[:, raised].exp()).sum(1)
        moved = (_moved(tokens, before[:, tokens], after[:, tokens]) for tokens in (raised, lowered))
        return Measured(np.array(self._kl), gain.double().numpy(force=True), *moved)


def _moved(tokens: Int[Tensor, " n"], before: Float[Tensor, "batch n"], after: Float[Tensor, "batch n"]) -> tuple[Moved, ...]:
    rise, means = (after - before).double().numpy(force=True), [one.exp().mean(0).tolist() for one in (before, after)]
    return tuple(Moved(token, p, q, estimate(own)) for token, p, q, own in zip(tokens.tolist(), *means, rise.T, strict=True))


def random_directions(sae: Sae, count: int, draw: torch.Generator) -> Float[Tensor, "row d_out"]:
    """`count` directions of length 1 to compare features with: random sums of the SAE's own, which have their second moments."""
    rows = torch.nn.functional.normalize(sae.W_dec.float().cpu(), dim=1)
    return torch.nn.functional.normalize(torch.randn(count, len(rows), generator=draw) @ rows, dim=1)


def estimate(values: np.ndarray) -> Estimate:
    """The mean of `values` with its 95 % interval, by resampling them (percentile bootstrap, the same draws for every call)."""
    chosen = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    return Estimate(float(values.mean()), float(low), float(high))


def _sentences() -> list[str]:
    return (files("hooke") / "neutral.txt").read_text("utf-8").splitlines()


@dataclass(frozen=True)
class Controls:
    """What steps of other directions do, by length: read between the lengths that were measured."""

    norms: np.ndarray
    """``[norm]``: ascending."""
    kl: np.ndarray
    """``[control, norm]``: mean KL in nats."""
    gain: np.ndarray
    """``[control, norm]``: mean gain."""

    def at(self, norm: float) -> tuple[np.ndarray, np.ndarray]:
        """``[control]``: KL and gain of a step of length `norm`."""
        place = np.interp(math.log(norm), np.log(self.norms), np.arange(len(self.norms)))
        low, share = int(place), place - int(place)
        high = min(low + 1, len(self.norms) - 1)
        logs = np.log(np.maximum(self.kl, _TINY))
        return np.exp((1 - share) * logs[:, low] + share * logs[:, high]), (1 - share) * self.gain[:, low] + share * self.gain[:, high]


def share_above(value: float, controls: np.ndarray) -> float:
    """The p value of `value`: how many of `controls` are as large, one added to those and to all."""
    return (1 + int((controls >= value).sum())) / (1 + len(controls))


_Step = tuple[dict[str, Any], Tensor]
"""What a line of the log says beside the measurement, and the step that is measured."""


class EffectRun:
    """The effects of an SAE's features being measured, as far as a log has them."""

    def __init__(
        self, model: Model, sae: Sae, maximum: Float[np.ndarray, " d_sae"], settings: EffectSettings, frozen: Sae | None = None
    ) -> None:
        """`maximum`: each feature's largest activation, one dose of it. `frozen`: an SAE of the same site whose decoder never learnt."""
        if len(maximum) != sae.d_sae:
            raise BadConfig(f"{sae.name} has {sae.d_sae:,} features, and the maxima given are of {len(maximum):,}.")
        if frozen is not None and frozen.facts.output_sites != sae.facts.output_sites:
            raise BadConfig(f"{frozen.name} writes {frozen.facts.output_sites[0]} and can be no control for {sae.name}.")
        self._model, self._sae, self._settings, self._frozen = model, sae, settings, frozen
        rows = sae.W_dec.float().cpu()
        self._maximum, self._length = maximum, rows.norm(dim=1).numpy() * maximum
        self._live = np.flatnonzero(self._length > 0).tolist()

    @property
    def about(self) -> dict[str, Any]:
        """All that decides what is measured but the doses, of which more can be measured later."""
        known = {key: value for key, value in asdict(self._settings).items() if key != "doses"}
        frozen = digest(self._frozen) if self._frozen else None
        return {"format": 2, "sae": digest(self._sae), "model": self._model.name, **known, "frozen": frozen}

    @cached_property
    def _norms(self) -> np.ndarray:
        """From half a dose of the weakest features to two of the strongest but one in 200; steps beyond are taken for those."""
        low, high = np.quantile(self._length[self._live], (0.005, 0.995))
        return np.geomspace(low / 2, high * 2, _NORMS)

    def _directions(self) -> dict[str, Float[Tensor, "row d_site"]]:
        """Directions of length 1 to compare with."""
        draw = torch.Generator().manual_seed(self._settings.seed)
        out = {"random": random_directions(self._sae, self._settings.controls, draw)}
        if self._frozen is not None:
            rows = self._frozen.W_dec.float().cpu()
            alive = (rows.norm(dim=1) > 0).nonzero()[:, 0]
            some = rows[alive[torch.randperm(len(alive), generator=draw)[: self._settings.controls]]]
            out["frozen"] = torch.nn.functional.normalize(some, dim=1)
        return out

    def _work(self, log: EffectLog) -> list[_Step]:
        """What is left to measure, the controls first: what a line says beside the measurement, and the step."""
        done = {(row.get("control"), row.get("number"), row.get("feature"), row.get("at")) for row in log.rows}
        work = [
            ({"control": kind, "number": number, "at": at}, direction * float(norm))
            for kind, rows in self._directions().items()
            for number, direction in enumerate(rows)
            for at, norm in enumerate(self._norms)
        ]
        rows = self._sae.W_dec.float().cpu()
        work += [
            ({"feature": index, "at": dose}, rows[index] * float(self._maximum[index] * dose))
            for dose in self._settings.doses
            for index in self._live
        ]
        return [(key, step) for key, step in work if (key.get("control"), key.get("number"), key.get("feature"), key["at"]) not in done]

    def run(
        self,
        log: EffectLog,
        *,
        progress: Callable[[int, int], None],
        stop: Callable[[], bool] = lambda: False,
        cluster: Cluster | None = None,
    ) -> bool:
        """Measure what is not in `log` yet; whether all of it is there now, which it is not where `stop` asked to end before.

        With `cluster` its workers measure, each with a model of its own, and this process keeps the log.
        """
        if not self._live:
            raise BadConfig(f"no feature of {self._sae.name} ever fired in its atlas' text, so that none has a dose.")
        work = self._work(log)
        total = len(log.rows) + len(work)
        progress(len(log.rows), total)
        for rows in self._lines(work, len(log.rows), cluster) if work and not stop() else ():
            log.add(rows)
            progress(len(log.rows), total)
            if stop():
                break
        return len(log.rows) == total

    def _lines(self, work: list[_Step], done: int, cluster: Cluster | None) -> Iterator[list[dict[str, Any]]]:
        """What the log is to say of `work`, some at a time, in order; `done` lines are there already."""
        most = max(1, _ROWS // len(_neutral_ids(self._model, self._settings)))
        some = [work[at : at + most] for at in range(0, len(work), most)]
        if cluster is None:
            return map(partial(_measure, Meter.neutral(self._model, self._sae, self._settings)), some)
        opened = partial(_opened, Recipe.of(self._model, cluster.device), self._sae, self._settings)
        return cluster.in_order(_measure, opened, (Unit(f"steps from {done + at * most}", steps) for at, steps in enumerate(some)))

    def effects(self, log: EffectLog) -> dict[int, Effect]:
        """By feature, what `log` knows of it, ranked among the controls; empty until all controls were measured."""
        controls = {kind: found for kind in self._directions() if (found := self._controls(kind, log)) is not None}
        out: dict[int, list[DoseEffect]] = {}
        for row in log.rows if "random" in controls else ():
            if "feature" in row:
                norm = float(self._length[row["feature"]] * abs(row["at"]))
                out.setdefault(row["feature"], []).append(_dose(row, norm, controls["random"], controls.get("frozen")))
        return {index: Effect(tuple(sorted(doses, key=lambda one: one.dose))) for index, doses in sorted(out.items())}

    def write(self, log: EffectLog, source: Path, target: Path) -> Path:
        """Write at `target` the atlas at `source` with what `log` knows of the features, whole or not at all; the two may be one."""
        found = self.effects(log)
        spelling = self._model.tokenizer.spelling
        pieces = {token: piece_of(spelling(token)) for effect in found.values() for token in tokens_of(effect)}
        about = {key: value for key, value in self.about.items() if key not in ("format", "sae")}
        contexts = (np.array(ids, np.int32).tobytes() for ids in _neutral_ids(self._model, self._settings))
        about["made"] = card([identified(self._model)], filter(None, (self._sae, self._frozen)), contexts, self._settings.seed)
        return add_effects(source, target, self._sae.name, found, about, pieces)

    def _controls(self, kind: str, log: EffectLog) -> Controls | None:
        rows = {(row["number"], row["at"]): row for row in log.rows if row.get("control") == kind}
        count = max((number for number, _ in rows), default=-1) + 1
        if not rows or len(rows) < count * _NORMS:
            return None
        kl, gain = (np.array([[rows[i, at][key]["mean"] for at in range(_NORMS)] for i in range(count)]) for key in ("kl", "gain"))
        return Controls(self._norms, kl, gain)


def _opened(recipe: Recipe, sae: Sae, settings: EffectSettings) -> Meter:
    return Meter.neutral(recipe.load(), sae, settings)


def _measure(meter: Meter, steps: list[_Step]) -> list[dict[str, Any]]:
    found = meter.measure(torch.stack([step for _, step in steps]))
    return [key | _row(own, whole="feature" in key) for (key, _), own in zip(steps, found, strict=True)]


def _row(found: Measured, *, whole: bool) -> dict[str, Any]:
    """What is kept of a measurement; of a control no tokens."""
    tokens = {key: [_moved_row(one) for one in getattr(found, key)] for key in ("raised", "lowered")} if whole else {}
    return {"kl": asdict(estimate(found.kl)), "gain": asdict(estimate(found.gain)), **tokens}


def _moved_row(one: Moved) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key != "text"}


def _dose(row: dict[str, Any], norm: float, random: Controls, frozen: Controls | None) -> DoseEffect:
    kl, gain = Estimate(**row["kl"]), Estimate(**row["gain"])
    kl_random, gain_random = random.at(norm)
    return DoseEffect(
        row["at"],
        kl,
        (float(np.median(kl_random)), float(np.quantile(kl_random, 0.95))),
        share_above(kl.mean, kl_random),
        gain,
        (float(np.median(gain_random)), float(np.quantile(gain_random, 0.95))),
        share_above(gain.mean, gain_random),
        None if frozen is None else share_above(kl.mean, frozen.at(norm)[0]),
        *(tuple(Moved(**one | {"rise": Estimate(**one["rise"])}) for one in row[key]) for key in ("raised", "lowered")),
    )
