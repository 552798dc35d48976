"""Run: several SAEs judged in one reading of a corpus, which can be broken off and gone on with."""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from hooke.errors import BadConfig, BadFile
from hooke.evals.baselines import Calibration, baselines_for, mean_l0
from hooke.evals.evaluator import Evaluator
from hooke.evals.geometry import geometry
from hooke.evals.sums import RESAMPLES, plain
from hooke.evals.uniformity import uniformity
from hooke.files import parse_json, read_safetensors, write_safetensors
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model, length_batches
from hooke.model.partial import Passes
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.facts import sites_of
from hooke.sae.fits import check_fits
from hooke.text.corpus import Window

SCHEMA = 1
_SAVE_EVERY_S = 10.0
_BATCHES_TOGETHER = 4


@dataclass(frozen=True)
class EvalConfig:
    """How much is read, and how."""

    tokens: int = 100_000
    """Tokens to judge on, special ones not counted; the window that reaches it is read to its end."""
    suites: tuple[str, ...] = ("core", "geometry")
    """Which figures: ``core``, ``geometry``, ``uniformity``."""
    baseline_tokens: int = 10_000
    """Tokens that baselines are run on: every so many windows of all, spread evenly."""
    calibration_tokens: int = 10_000
    """Tokens that baselines are fitted on (at most `tokens`): those in front, which are not judged on."""
    uniformity_tokens: int = 512
    """Tokens, each in a window of its own, that uniformity is measured on."""
    batch_tokens: int = 4096
    """Tokens per forward pass, padding included."""
    seed: int = 0
    """Of the resamples, the random baselines and the choice of tokens for uniformity."""

    def __post_init__(self) -> None:
        known = ("core", "geometry", "uniformity")
        counts = (self.tokens, self.baseline_tokens, self.calibration_tokens, self.uniformity_tokens, self.batch_tokens)
        if min(counts) < 1 or not self.suites or not set(self.suites) <= set(known):
            raise BadConfig(f"every number of tokens must be at least 1, and suites are some of {', '.join(known)}: {self}.")

    @property
    def in_front(self) -> int:
        """Tokens that are read before those that are judged on."""
        return min(self.tokens, self.calibration_tokens) if "core" in self.suites else 0

    @property
    def stride(self) -> int:
        """Baselines are run on one window in this many."""
        return max(1, self.tokens // self.baseline_tokens)


@dataclass(frozen=True)
class Evaluation:
    """What was found."""

    result: dict[str, Any]
    """Everything as plain values, as `hooke eval --json` prints it (docs/quality.md says what each is)."""
    features: dict[str, dict[str, Tensor]]
    """For each SAE, ``density`` and ``consistency`` (tokens over windows fired in; NaN if never) of its features."""
    sums: dict[str, dict[str, float]]
    """For each SAE, every column that was summed, per token."""


def evaluate(
    model: Model,
    saes: Sequence[Sae],
    windows: Iterable[Window],
    config: EvalConfig = EvalConfig(),
    *,
    work: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Judge `saes` on `windows`, which share the model's passes: a clean one, then one for each SAE from its site upwards.

    With `work`, sums are kept in that file while the run goes on; a run that is started again with the same arguments goes on from them
    and comes to the same figures. Raises `ShapeMismatch` for an SAE of another model, `BadConfig` where the windows hold fewer tokens
    than asked for, `HookeError` naming the document where an activation or a loss is not finite.
    """
    check(model, saes)
    return judged(model, saes, Text.taken(model, saes, windows, config), config, work=work, progress=progress)


@dataclass(frozen=True)
class Text:
    """What is read of a corpus for an evaluation."""

    in_front: list[Window]
    """Windows that baselines are fitted on."""
    own: list[Window]
    """Windows that are judged on."""
    sites: list[Site]
    """Every site of any of the SAEs: a token that is an attention sink at one of them is left out for all."""

    @classmethod
    def taken(cls, model: Model, saes: Sequence[Sae], windows: Iterable[Window], config: EvalConfig) -> "Text":
        """As much of `windows` as `config` asks for."""
        stream = iter(windows)
        in_front = _take(model, stream, config.in_front, config)
        own = _take(model, stream, config.tokens, config) if {"core", "uniformity"} & set(config.suites) else []
        return cls(in_front, own, sorted(sites_of(sae.facts for sae in saes), key=model.architecture.order))


def judged(
    model: Model,
    saes: Sequence[Sae],
    text: Text,
    config: EvalConfig,
    *,
    work: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """`evaluate` on text that was taken before. What is found of one SAE does not depend on which others are judged beside it."""
    result: dict[str, Any] = {"schema_version": SCHEMA, "model": model.name, "resamples": RESAMPLES, "saes": []}
    evaluator = None
    if "core" in config.suites:
        evaluator = _evaluator(model, saes, text, config, progress)
        _read(model, evaluator, text, config, work, progress)
    some = text.own[: config.uniformity_tokens]
    uniform = uniformity(model, saes, some, seed=config.seed, sites=text.sites) if "uniformity" in config.suites else []
    for i, sae in enumerate(saes):
        row = identity(sae) | ({} if evaluator is None else evaluator.result(i))
        row |= {"geometry": plain(geometry(sae, config.seed))} if "geometry" in config.suites else {}
        row |= {"uniformity": plain(uniform[i])} if uniform else {}
        result["saes"].append(row)
    if evaluator is not None:
        result |= {"tokens": evaluator.tokens, "sinks": evaluator.sinks, "windows": evaluator.windows} | evaluator.joint_result()
    if evaluator is None:
        return Evaluation(result, {}, {})
    order = list(enumerate(sae.name for sae in saes))
    return Evaluation(result, {name: evaluator.features(i) for i, name in order}, {name: evaluator.means(i) for i, name in order})


def identity(sae: Sae) -> dict[str, Any]:
    """Which SAE a row of the result is about; of a control that learnt only a part (`TrainConfig.frozen`), which part did not."""
    sites = {"reads": sae.facts.input_sites, "writes": sae.facts.output_sites}
    frozen = sae.facts.training.get("frozen")
    control = {"control": f"frozen {frozen}"} if isinstance(frozen, str) else {}
    return {"sae": sae.name, "d_sae": sae.d_sae} | control | {name: list(map(str, found)) for name, found in sites.items()}


def check(model: Model, saes: Sequence[Sae]) -> None:
    """Raise `ShapeMismatch` unless every SAE has the widths of `model`, and `BadConfig` if one is named twice or none is."""
    if not saes:
        raise BadConfig("no SAE to judge.")
    for sae in saes:
        check_fits(sae, model.name, model.width)
    names = [sae.name for sae in saes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadConfig(f"{twice[0]} was given twice; figures are told apart by name.")


def _take(model: Model, stream: Iterator[Window], tokens: int, config: EvalConfig) -> list[Window]:
    """Windows with at least `tokens` counted tokens."""
    taken, n = [], 0
    while n < tokens:
        window = next(stream, None)
        if window is None:
            raise BadConfig(
                f"the corpus is shorter than asked for: {tokens:,} tokens were wanted and {n:,} are left, after {config.in_front:,} to fit "
                "baselines on. Ask for fewer --tokens, give more text, or --all-documents if the SAE was not trained on any of them."
            )
        if count := sum(token not in model.tokenizer.special for token in window.ids):
            taken.append(window)
            n += count
    return taken


def _evaluator(model: Model, saes: Sequence[Sae], text: Text, config: EvalConfig, progress: Callable[[str], None]) -> Evaluator:
    """An evaluator whose baselines are fitted on the windows in front."""
    progress("Fitting the baselines")
    windows, parts = text.in_front, {}
    for batch in length_batches([len(window.ids) for window in windows], config.batch_tokens):
        ids, keep = padded(model, [windows[i] for i in batch])
        found = model.capture(ids, text.sites)
        calm = not_sinks(found.values(), keep)
        for site, acts in found.items():
            parts.setdefault(site, []).append(acts[calm].float().cpu())
    acts = {site: torch.cat(found) for site, found in parts.items()}
    calibrations, baselines = [], []
    for sae in saes:
        x, y = (concat_sites(acts, at) for at in (sae.facts.input_sites, sae.facts.output_sites))
        calibrations.append(Calibration.of(y))
        l0 = mean_l0(sae, x.to(sae.W_enc.device))
        baselines.append(baselines_for(calibrations[-1], sae, l0, config.seed))
    return Evaluator(model, saes, [calibration.mean for calibration in calibrations], baselines, config.seed)


def padded(model: Model, windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """Token ids of `windows` as one matrix, and which of its places are counted."""
    ids, keep = model.padded([window.ids for window in windows])
    return ids.to(model.device), keep.to(model.hf.device)


def _read(model: Model, evaluator: Evaluator, text: Text, config: EvalConfig, work: Path | None, progress: Callable[[str], None]) -> None:
    """Show the evaluator all windows that are judged on, from where it left off."""
    done, saved = _restore(evaluator, work), time.monotonic()
    for batch, lengths, passes, sinks in clean_passes(model, text, config, done):
        evaluator.sinks += sinks
        evaluator.see(batch, lengths, passes, config.stride)
        left = f", {evaluator.sinks:,} attention sinks left out" if evaluator.sinks else ""
        progress(f"Judging: {evaluator.tokens:,} of {config.tokens:,} tokens{left}")
        if work is not None and time.monotonic() - saved > _SAVE_EVERY_S:
            _save(evaluator, work)
            saved = time.monotonic()


def clean_passes(
    model: Model, text: Text, config: EvalConfig, done: int = 0
) -> Iterator[tuple[list[tuple[int, Window]], Int[Tensor, " batch"], Passes, int]]:
    """Batches of numbered windows from number `done` on, with their lengths, a clean pass over each and how many sinks it left out."""
    for batch in itertools.islice(_batches(text.own, config.batch_tokens), done, None):
        chosen = [window for _, window in batch]
        ids, keep = padded(model, chosen)
        passes = Passes.clean(model, ids, keep, text.sites)
        yield batch, torch.tensor([len(window.ids) for window in chosen]), passes, int(keep.sum() - passes.keep.sum())


def _batches(windows: Sequence[Window], tokens: int) -> Iterator[list[tuple[int, Window]]]:
    """Windows with their numbers, in batches of like length; always cut the same way."""
    start = 0
    while start < len(windows):
        stop, n = start, 0
        while stop < len(windows) and n < _BATCHES_TOGETHER * tokens:
            n += len(windows[stop].ids)
            stop += 1
        for batch in length_batches([len(window.ids) for window in windows[start:stop]], tokens):
            yield [(start + i, windows[start + i]) for i in batch]
        start = stop


def _save(evaluator: Evaluator, work: Path) -> None:
    facts = {"schema": SCHEMA} | {count: getattr(evaluator, count) for count in ("batches", "tokens", "windows", "sinks")}
    write_safetensors(work, evaluator.state(), {"hooke_eval": json.dumps(facts)})


def _restore(evaluator: Evaluator, work: Path | None) -> int:
    """Batches that a run before this one has seen."""
    if work is None or not work.is_file():
        return 0
    try:
        tensors, metadata = read_safetensors(work)
        facts = parse_json(metadata["hooke_eval"])
        evaluator.sinks = int(facts["sinks"])
        evaluator.restore(tensors, batches=int(facts["batches"]), tokens=int(facts["tokens"]), windows=int(facts["windows"]))
    except (KeyError, ValueError, TypeError, BadFile) as error:
        raise BadFile(f"{work} holds no unfinished evaluation ({error}). Delete it to begin again.") from error
    return evaluator.batches
