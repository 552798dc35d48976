"""The loop: SAEs trained side by side on one stream, reported, kept and gone on with."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooke.errors import BadConfig, HookeError, LimitReached
from hooke.names import Site
from hooke.sae import Sae
from hooke.train.config import TrainConfig
from hooke.train.export import export
from hooke.train.ranks import ALONE, SharedSource, check_spread
from hooke.train.run import RunFolder
from hooke.train.source import ActivationSource, Batch
from hooke.train.trainer import SaeTrainer

# Steps between two reports, at most; a short run reports a hundred times.
_REPORT_EVERY = 50
# Tokens that set the normalisation: the first of the stream.
_SAMPLE = 16_384


@dataclass(frozen=True)
class Progress:
    """How a run is doing; handed to the callback every so often."""

    step: int
    """Steps done."""
    steps: int
    """Steps there are to do."""
    tokens: int
    """Tokens seen."""
    tokens_per_s: float
    """Tokens per second since the last report."""
    saes: Mapping[str, Mapping[str, float]]
    """By SAE: ``fvu``, ``l0``, ``dead``, ``dense``, ``loss`` since the last report, and ``lr``."""


def train(
    configs: Mapping[str, TrainConfig],
    source: ActivationSource,
    held_out: Mapping[Site, Float[Tensor, "token d_site"]],
    *,
    model: str,
    context: int,
    hooks: "Hooks | None" = None,
    folder: RunFolder | None = None,
) -> dict[str, Sae]:
    """Train all SAEs of `configs` (keyed by name) side by side on one stream; give each back as a JumpReLU SAE on raw activations.

    The stream's first tokens set the normalisation (mean removed, one scale so that a coordinate's mean square is 1), which is folded into
    the weights at the end. `held_out` sets the thresholds, so that the mean L0 there is the wanted one, and gives the metrics that each SAE
    carries. With a `folder` (opened by the caller) the run is kept there, and goes on from its last checkpoint, bit for bit. Where the
    folder's `ranks` are several processes, all of them call this, the first with the source, and with what it asks of `hooks`; it alone
    gives the SAEs back, put together from the last checkpoint's parts.
    """
    hooks, ranks = hooks or Hooks(), folder.ranks if folder is not None else ALONE
    state = _State.of(configs, source, folder)
    clock = _Clock(state.step)
    steps = max(config.steps for config in configs.values())
    every = max(1, min(_REPORT_EVERY, steps // 100))
    for batch in state.batches if state.step < steps else ():
        state.learn(batch)
        if state.step % every == 0 or state.step == steps:
            _report(state, steps, clock, hooks, folder)
        stop, due = ranks.told((hooks.stop(), clock.due(hooks.checkpoint_s)))
        if folder is not None and (stop or due or state.step == steps):
            folder.save(state.step, state.position, state.trainers)
            folder.event("checkpoint", state.step)
        if stop:
            raise KeyboardInterrupt
        if state.step == steps:
            break
    if state.step < steps:
        if folder is not None:
            folder.save(state.step, state.position, state.trainers)
        raise LimitReached(
            f"the activations ended after {state.step:,} of {steps:,} steps, {100 * state.step // steps} % of the tokens asked for. "
            f"Give more text, let it be read again (epochs), or ask for fewer tokens; each of these is a run of its own, in another folder."
        )
    trainers: Iterable[SaeTrainer] = state.trainers.values()
    if folder is not None and ranks.size > 1:
        state.trainers.clear()  # room for the whole ones
        ranks.told(None)  # until every part is written
        trainers = folder.trained(configs) if ranks.first else ()
    return {trainer.name: export(trainer, held_out, model=model, context=context) for trainer in trainers}


@dataclass(frozen=True)
class Hooks:
    """What a run calls while it is under way."""

    report: Callable[[Progress], Sequence[str]] = lambda _: ()
    """Told how it is doing; what it answers is kept with the run as warnings."""
    stop: Callable[[], bool] = lambda: False
    """Asked after every step; once it says yes the run is kept and `KeyboardInterrupt` raised."""
    checkpoint_s: float = 600.0
    """Seconds between checkpoints."""


class _Clock:
    """Times steps and checkpoints."""

    def __init__(self, step: int) -> None:
        self.kept = self.told = time.monotonic()
        self.step = step

    def due(self, seconds: float) -> bool:
        if time.monotonic() - self.kept < seconds:
            return False
        self.kept = time.monotonic()
        return True

    def rate(self, step: int) -> float:
        """Steps per second since this was last asked."""
        now = time.monotonic()
        speed = (step - self.step) / max(now - self.told, 1e-9)
        self.told, self.step = now, step
        return speed


@dataclass
class _State:
    """A run between two steps."""

    trainers: dict[str, SaeTrainer]
    batches: Iterator[Batch]
    position: Mapping[str, Any] | None
    step: int
    size: int = 0
    """Tokens of a batch."""

    @classmethod
    def of(cls, configs: Mapping[str, TrainConfig], source: ActivationSource, folder: RunFolder | None) -> "_State":
        ranks = folder.ranks if folder is not None else ALONE
        if ranks.size > 1:
            source = SharedSource(source if ranks.first else None, ranks, source.device)
        kept = folder.restore(configs, source.device) if folder is not None else None
        if kept is not None:
            step, position, trainers = kept
            return cls(trainers, source.batches(position), position, step)
        stream = source.batches()
        first: list[Batch] = []
        for batch in stream:
            first.append(batch)
            if sum(len(next(iter(one.acts.values()))) for one in first) >= _SAMPLE:
                break
        if not first:
            raise HookeError("the stream gave no activations.")
        if not source.pairs and (name := next((name for name, config in configs.items() if config.contrasted), None)):
            raise BadConfig(
                f"{name} is temporal (about) and learns from pairs of tokens, which this stream lacks: set its pairs, or contrast=0."
            )
        for batch in first:
            _finite(batch)
        sample = {site: torch.cat([one.acts[site] for one in first]) for site in first[0].acts}
        size = len(next(iter(first[0].acts.values())))
        for name, config in configs.items():
            check_spread(ranks, name, config, size)
        trainers = {name: SaeTrainer(name, config.resolved(size), sample, ranks) for name, config in configs.items()}

        def again() -> Iterator[Batch]:
            while first:
                yield first.pop(0)
            yield from stream

        return cls(trainers, again(), None, 0)

    def learn(self, batch: Batch) -> None:
        for trainer in self.trainers.values():
            if self.step < trainer.config.steps:
                trainer.step(batch.acts)
                if not trainer.is_finite:
                    _finite(batch)
                    raise HookeError(
                        f"{trainer.name}: the loss is no longer finite at step {self.step + 1}. Lower lr (now {trainer.config.lr:g}); "
                        f"the last checkpoint, if any, is from before it."
                    )
        self.step += 1
        self.size = len(next(iter(batch.acts.values())))
        self.position = batch.position


def _finite(batch: Batch) -> None:
    for site, value in batch.acts.items():
        if not bool(value.isfinite().all()):
            raise HookeError(f"the activations at {site} hold values that are not finite. Harvest them again in bfloat16 or float32.")


def _report(state: _State, steps: int, clock: _Clock, hooks: Hooks, folder: RunFolder | None) -> None:
    saes = {name: trainer.report() for name, trainer in state.trainers.items()}
    tokens, speed = state.step * state.size, clock.rate(state.step) * state.size
    if folder is not None:
        folder.metrics({"step": state.step, "tokens": tokens, "saes": saes})
        folder.event("speed", state.step, tokens_per_s=round(speed, 1))
    for warning in hooks.report(Progress(state.step, steps, tokens, speed, saes)):
        if folder is not None:
            folder.event("warning", state.step, warning)
