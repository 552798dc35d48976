"""What `hooke train` feeds its trainers: activations live from a model or from shards, held-out ones, and what that will cost."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hooke.devices import usable_device
from hooke.errors import LimitReached
from hooke.files import read_safetensors, write_safetensors
from hooke.harvest import harvest
from hooke.harvest.stream import LiveStream, ShardStream
from hooke.model import Model
from hooke.names import SaeName, Site
from hooke.shards import Shards
from hooke.text.corpus import Window, parse_corpora, windows
from hooke.train import ActivationSource, Hooks, RunFolder, TrainConfig, train
from hooke.train.cost import CostSheet, Load, SaeSize, estimate
from hooke.train.plan import Plan
from hooke.train.trainer import SaeTrainer

_HELD_OUT = "held_out.safetensors"
# Steps of a trainer that are timed for the estimate, and seconds after which no further kind of SAE is: those are worked out.
_TIMED, _PATIENCE = 3, 15.0


class Feed:
    """Activations for a plan."""

    def __init__(self, plan: Plan, folder: RunFolder, progress: Callable[[str], None], device: str = "cpu") -> None:
        self._plan, self._folder, self._progress, self._device = plan, folder, progress, str(usable_device(device))
        self._shards = Shards.open(plan.shards) if plan.shards is not None else None
        self.model: Model | None = None
        """What reads text; None where shards are read."""
        if self._shards is not None:
            self._shards.check(model=plan.model, sites=plan.sites)
            self._held, self._rest = self._shards.split(plan.held_out)
            self._check_enough(self._rest.tokens)
            self.widths, self.context = {site: self._shards.sites[site] for site in plan.sites}, self._shards.facts.context
        else:
            self._corpora = parse_corpora(plan.corpus, field=plan.field)
            self.model = Model.load(plan.model, device=device, progress=progress)
            self.widths, self.context = {site: self.model.width(site) for site in plan.sites}, plan.context

    def _check_enough(self, tokens: int) -> None:
        plan = self._plan
        steps = tokens * plan.epochs // plan.batch * plan.reuse
        if steps < plan.steps:
            least = -(-plan.steps * plan.batch // (tokens * plan.reuse))
            raise LimitReached(
                f"the shards at {plan.shards} have {tokens:,} tokens to train on, besides those held out, and the run asks for "
                f"{plan.tokens:,}. Ask for at most {steps * plan.batch:,} (--tokens), or let them be read again (--epochs {least})."
            )

    def source(self) -> ActivationSource:
        """The stream to train on."""
        plan = self._plan
        draw: dict[str, Any] = {
            "capacity": plan.capacity,
            "batch": plan.batch,
            "reuse": plan.reuse,
            "seed": plan.seed,
            "pairs": plan.pairs,
            "device": self._device,
        }
        if self._shards is not None:
            return ShardStream(self._rest, plan.sites, epochs=plan.epochs, **draw)
        assert self.model is not None
        return LiveStream(self.model, self._windows, plan.sites, **draw)

    def _windows(self, *, held_out: bool = False) -> Iterator[Window]:
        plan = self._plan
        assert self.model is not None
        options = {"length": plan.context, "seed": plan.seed, "pack": plan.pack, "epochs": 1 if held_out else plan.epochs}
        return windows(self._corpora, self.model.tokenizer, held_out=held_out, **options)

    def held_out(self) -> dict[Site, Tensor]:
        """Activations that no SAE is trained on, read once and kept with the run."""
        kept = self._folder.path / _HELD_OUT
        if kept.is_file():
            found, _ = read_safetensors(kept)
            return {site: found[str(site)].to(self._device) for site in self._plan.sites}
        self._progress("Reading held-out text")
        parts: dict[Site, list[Tensor]] = {site: [] for site in self._plan.sites}
        tokens = 0
        for acts in self._held_parts():
            for site in parts:
                parts[site].append(acts[site].clone())
            tokens += len(acts[self._plan.sites[0]])
            if tokens >= self._plan.held_out:
                break
        if not tokens:
            raise LimitReached("no text was left to hold out. Give more documents: one in fifty is kept from training.")
        held = {site: torch.cat(found)[: self._plan.held_out] for site, found in parts.items()}
        write_safetensors(kept, {str(site): value.cpu() for site, value in held.items()}, {})
        return {site: value.to(self._device) for site, value in held.items()}

    def _held_parts(self) -> Iterator[Mapping[Site, Tensor]]:
        if self._shards is not None:
            for number in range(len(self._held)):
                found = self._held.read(number)
                yield {site: found[f"acts.{site}"] for site in self._plan.sites}
            return
        assert self.model is not None
        for part in harvest(self.model, self._windows(held_out=True), self._plan.sites):
            yield part.acts

    def trained(self, plan: Plan, hooks: Hooks) -> None:
        """Train the SAEs of `plan`, which are all of the feed's or some, in its opened folder, to the end; each is saved with what it says
        of its data. Raises what `train` raises."""
        folder, held_out = self._folder, self.held_out()
        saes = train(plan.saes, self.source(), held_out, model=plan.model, context=self.context, hooks=hooks, folder=folder)
        # Before the last SAE is written, which makes the run a finished one.
        folder.write_settings(held_out={name: sae.facts.metrics for name, sae in saes.items()})
        for name, sae in saes.items():
            sae.facts.training.update(self.facts())
            sae.save(folder.sae_path(name))

    def facts(self) -> dict[str, Any]:
        """What the finished SAEs say of their data."""
        plan = self._plan
        corpora = list(self._shards.corpora) if self._shards is not None else {c.name: c.weight for c in self._corpora}
        return {"corpora": corpora, "tokens": plan.tokens, "batch": plan.batch, "reuse": plan.reuse, "context": self.context} | (
            {"pairs": plan.pairs} if plan.pairs else {}
        )

    def cost(self, *, timed: bool) -> CostSheet:
        """What the run will take; hours only where it is `timed`, by a short measurement, which itself takes memory."""
        plan = self._plan
        if timed:
            self._progress("Measuring how fast this machine trains")
        saes = [self._here(_size(name, plan, self.widths)) for name in plan.saes]
        load = Load(
            plan.tokens,
            plan.batch,
            sum(self.widths.values()),
            self._train_rates(saes) if timed else {one.name: math.inf for one in saes},
            self._forward_rate() if timed else None,
            plan.reuse,
            plan.capacity,
            plan.held_out,
        )
        return estimate(saes, load)

    def _here(self, one: SaeSize) -> SaeSize:
        """With as many features as lie on this machine, where an SAE is spread over processes."""
        ranks = self._folder.ranks
        return replace(one, d_sae=one.d_sae * ranks.here // ranks.parts)

    def _forward_rate(self) -> float | None:
        if self.model is None:
            return None
        tokens, began = 0, time.perf_counter()
        for part in itertools.islice(harvest(self.model, self._windows(), self._plan.sites, batch_tokens=1024), 3):
            tokens, began = (tokens + len(part.pos), began) if tokens else (1, time.perf_counter())
        return max(1, tokens - 1) / max(time.perf_counter() - began, 1e-9)

    def _train_rates(self, saes: list[SaeSize]) -> dict[str, float]:
        """Tokens per second of each SAE alone. SAEs of one kind and size are timed once; past some patience, by those timed before."""
        plan, known, began = self._plan, {}, time.perf_counter()
        rates = {}
        for one in saes:
            config = self._part(plan.saes[one.name].resolved(plan.batch))
            kind = (config.architecture, one.d_in, one.d_out, one.d_sae, config.l0, tuple(config.ends), config.multi, config.frozen)
            if kind not in known:
                if known and time.perf_counter() - began > _PATIENCE:
                    like = min(known, key=lambda other: (other[0] != kind[0], abs(other[3] - one.d_sae)))
                    known[kind] = known[like] * _work(like) / _work(kind)
                else:
                    known[kind] = self._timed(one.name, config)
            rates[one.name] = known[kind]
        return rates

    def _part(self, config: TrainConfig) -> TrainConfig:
        """About what one of several processes has to do."""
        if (parts := self._folder.ranks.parts) == 1:
            return config
        return replace(config, d_sae=-(-config.d_sae // parts), l0=-(-config.l0 // parts), prefixes=())

    def _timed(self, name: str, config: TrainConfig) -> float:
        """Tokens per second of one SAE, on random numbers."""
        acts = {site: torch.randn(self._plan.batch, width, device=self._device) for site, width in self.widths.items()}
        trainer = SaeTrainer(name, config, acts)
        trainer.step(acts)  # compiles
        times = []
        while len(times) < _TIMED and sum(times) < 1:
            began = time.perf_counter()
            trainer.step(acts)
            times.append(time.perf_counter() - began)
        return self._plan.batch * len(times) / max(sum(times), 1e-9)


def _work(kind: tuple[Any, ...]) -> int:
    """What a step's time goes by: features, and the widths that each reads and writes."""
    _, d_in, d_out, d_sae, *_ = kind
    return d_sae * (d_in + d_out)


def _size(name: str, plan: Plan, widths: Mapping[Site, int]) -> SaeSize:
    config = plan.saes[name]
    reads = tuple(map(Site.parse, config.reads)) or (SaeName.parse(name).site,)
    writes = tuple(map(Site.parse, config.writes)) or reads
    d_in, d_out = widths[reads[0]], sum(widths[site] for site in writes)
    return SaeSize(name, d_in, d_out, config.d_sae, config.architecture, config.skip)
