"""Fine-tune: a trained SAE brought to leave what the model predicts as it is (KL), besides rebuilding activations."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadConfig, HookeError, LimitReached, ShapeMismatch
from hooke.model import Model
from hooke.model.hooks import capturing
from hooke.names import Site
from hooke.sae import Sae, check_fits, weights_of
from hooke.train.export import measure

# Logits held at a time: bounds them at 64 MiB in float32 for any vocabulary.
_LOGIT_VALUES = 1 << 24
_BETAS = (0.9, 0.999)
# SAEs with these normalisations encode inputs whose scale is 1 by construction; the second kind also rebuilds them there.
_UNIT_INPUT, _UNIT_OUTPUT = ("layer_norm", "rms", "rms_in"), ("layer_norm", "rms")


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune."""

    tokens: int
    """Tokens to learn from, special ones not counted; the last batch is taken whole."""
    lr: float | None = None
    """Adam's learning rate at the beginning, from where it falls to 0; by default a tenth of what the SAE was trained with, or of
    ``3e-3 · √(4096 / d_sae)`` where that is not known. In units where the site's coordinates have mean square 1."""
    beta: float = 1.0
    """Weight of the divergence beside the error; 0 is plain reconstruction."""

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.beta < math.inf or (self.lr is not None and not 0 < self.lr < math.inf):
            raise BadConfig(f"tokens={self.tokens} must be at least 1, lr={self.lr} above 0, and beta={self.beta} at least 0.")


@dataclass(frozen=True)
class TextBatch:
    """Some windows of text."""

    ids: Int[Tensor, "batch pos"]
    """Token ids, padded on the right."""
    keep: Bool[Tensor, "batch pos"]
    """Positions that are rebuilt and counted: neither special tokens nor padding."""


@dataclass(frozen=True)
class FinetuneProgress:
    """How the work is doing; handed to the callback after every step."""

    tokens: int
    """Tokens learnt from."""
    total: int
    """Tokens there are to learn from."""
    tokens_per_s: float
    """Tokens per second since the beginning."""
    kl: float
    """Mean divergence of this step's predictions, in nats."""
    mse: float
    """Mean squared error of this step's activations, in the site's own scale."""


def finetune(
    sae: Sae,
    model: Model,
    batches: Iterable[TextBatch],
    held_out: Sequence[TextBatch],
    config: FinetuneConfig,
    report: Callable[[FinetuneProgress], None] = lambda _: None,
) -> Sae:
    """`sae` (its tensors on the model's device) after learning from `batches`; called ``...-finetuned``, its L0 what it was.

        loss = (MSE + α β KL(clean ‖ spliced)) / (1 + β),   α = MSE / (KL + 1e-8), not differentiated

    (Gemma Scope 2, equations 6-7; arXiv 2503.17272.) Spliced is the model with the reconstruction in the site's place wherever a position
    is kept, error dropped. Weights move, decoder rows keep their lengths, and thresholds stand still: the loss has no gradient there, and
    nothing in it speaks for few active features. At the end one offset to all thresholds brings the first half of `held_out` back to the
    L0 it had before; on the second half the SAE's metrics are measured, and the figures before and after in ``training["finetuned"]``.
    """
    check(sae, model)
    held = [_Clean.of(sae, model, batch) for batch in held_out if bool(batch.keep.any())]
    if len(held) < 2:
        raise LimitReached("held-out text must fill at least two batches, one for the thresholds and one to measure on. Give more text.")
    spare, judged = held[: len(held) // 2], held[len(held) // 2 :]
    before = _judge(sae, model, judged)
    lr = config.lr or _default_lr(sae)
    tuned = _Tuned(sae, spare, lr)
    seen, began = 0, time.monotonic()
    for batch in batches:
        if not bool(batch.keep.any()):
            continue
        mse, kl = backward(tuned.sae, model, batch, config.beta)
        if not math.isfinite(mse + kl):
            raise HookeError(f"{sae.name}: the loss is no longer finite after {seen:,} tokens. Lower the learning rate (now {lr:g}).")
        tuned.step(1 - seen / config.tokens)
        seen += int(batch.keep.sum())
        report(FinetuneProgress(seen, config.tokens, seen / max(time.monotonic() - began, 1e-9), kl, mse))
        if seen >= config.tokens:
            break
    if seen < config.tokens:
        raise LimitReached(f"the text ended after {seen:,} of {config.tokens:,} tokens. Ask for fewer tokens or give more text.")
    done = _recalibrated(sae, tuned.frozen(), [clean.x for clean in spare])
    after = _judge(done, model, judged)
    record: dict[str, Any] = {"tokens": seen, "lr": lr, "beta": config.beta, "before": before.figures, "after": after.figures}
    if "finetuned" in sae.facts.training:
        record["earlier"] = sae.facts.training["finetuned"]
    training = {**sae.facts.training, "finetuned": record}
    return replace(done, facts=replace(sae.facts, name=f"{sae.name}-finetuned", metrics=after.metrics, training=training))


def check(sae: Sae, model: Model) -> None:
    """Raise `BadConfig` for an SAE that cannot be put back at one site, `ShapeMismatch` for one of another model."""
    reads, writes = list(sae.facts.input_sites), list(sae.facts.output_sites)
    if (len(reads), len(writes)) != (1, 1):
        raise BadConfig(
            f"{sae.name} reads {', '.join(map(str, reads))} and writes {', '.join(map(str, writes))}: "
            f"only an SAE or transcoder of one site can be fine-tuned, not a crosscoder."
        )
    if sae.facts.model.rpartition("/")[2] != model.name:
        raise ShapeMismatch(
            f"{sae.name} was trained on {sae.facts.model}, not on {model.name}. "
            f"Use the model {sae.facts.model}, or an SAE of {model.name} (see hooke saes)."
        )
    check_fits(sae, model.name, model.width(reads[0]))
    if len(sae.b_dec) != model.width(writes[0]):
        raise ShapeMismatch(f"{sae.name} writes {len(sae.b_dec)} values; {writes[0]} of {model.name} holds {model.width(writes[0])}.")
    if model.architecture.order(writes[0]) < model.architecture.order(reads[0]):
        raise BadConfig(f"{sae.name} reads {reads[0]} and writes {writes[0]}, which is computed before it.")


def backward(sae: Sae, model: Model, batch: TextBatch, beta: float) -> tuple[float, float]:
    """Add the loss's gradient on `batch` to those weights of `sae` that want one; what MSE and KL are.

    Logits exist for a few tokens at a time: each few give the gradient at what the LM head reads, and one pass back through the model
    takes it from there.
    """
    clean = _Clean.of(sae, model, batch)
    rebuilt = sae.decode(sae.encode(clean.x), clean.x)
    mse = (clean.y - rebuilt).square().mean()
    hidden = spliced(model, batch, sae.facts.output_sites[0], rebuilt)
    kl, pull = _divergence(model, clean.hidden, hidden.detach())
    error = float(mse.detach())
    alpha = error / (kl + 1e-8)
    pull *= alpha * beta / (1 + beta) / len(pull)
    torch.autograd.backward([mse, hidden], [torch.full_like(mse, 1 / (1 + beta)), pull.to(hidden.dtype)])
    return error, kl


def spliced(model: Model, batch: TextBatch, site: Site, rebuilt: Float[Tensor, "token d_out"]) -> Float[Tensor, "token d_model"]:
    """What the LM head reads at the kept positions of `batch` when `site` holds `rebuilt` there, and elsewhere what it held."""
    keep = batch.keep.to(model.hf.device)

    def put(acts: Tensor) -> Tensor:
        out = acts.clone()
        out[keep] = rebuilt.to(out.dtype)
        return out

    with model.edit(site, put):
        return _last(model, batch)[keep]


def _last(model: Model, batch: TextBatch) -> Float[Tensor, "batch pos d_model"]:
    return model.architecture.base(model.hf)(input_ids=batch.ids.to(model.hf.device), use_cache=False).last_hidden_state


@dataclass(frozen=True)
class _Clean:
    """What the untouched model computes at the kept positions of a batch."""

    batch: TextBatch
    x: Float[Tensor, "token d_in"]
    """What the SAE reads."""
    y: Float[Tensor, "token d_out"]
    """What it rebuilds."""
    hidden: Float[Tensor, "token d_model"]
    """What the LM head reads."""

    @classmethod
    @torch.no_grad()
    def of(cls, sae: Sae, model: Model, batch: TextBatch) -> "_Clean":
        read, write = sae.facts.input_sites[0], sae.facts.output_sites[0]
        keep = batch.keep.to(model.hf.device)
        with capturing({site: model.architecture.locate(model.hf, site) for site in (read, write)}) as found:
            hidden = _last(model, batch)[keep]
        return cls(batch, found[read][keep].float(), found[write][keep].float(), hidden)

    def targets(self) -> Int[Tensor, " token"]:
        """The token after each kept position; -1 where that one is not kept."""
        ids, keep = self.batch.ids.roll(-1, 1), self.batch.keep.roll(-1, 1)
        keep[:, -1] = False
        return torch.where(keep, ids, -1)[self.batch.keep].to(self.hidden.device)


def _divergence(
    model: Model, clean: Float[Tensor, "token d_model"], other: Float[Tensor, "token d_model"]
) -> tuple[float, Float[Tensor, "token d_model"]]:
    """Mean of ``KL(p ‖ q)`` over tokens, and each token's own gradient where `other` enters the LM head: the head's of ``q − p``."""
    pulls, total = [], 0.0
    for rows in _few(model, len(clean)):
        with torch.no_grad():
            log_p = model.logits(clean[rows]).log_softmax(-1)
        entry = other[rows].detach().requires_grad_()
        logits = model.logits(entry)
        with torch.no_grad():
            log_q, p = logits.log_softmax(-1), log_p.exp()
            total += float(torch.linalg.vecdot(p, log_p - log_q).double().sum())
            off = log_q.exp().sub_(p)
        pulls.append(torch.autograd.grad(logits, entry, off)[0].float())
    return total / len(clean), torch.cat(pulls)


@torch.no_grad()
def _compare(model: Model, clean: _Clean, other: Float[Tensor, "token d_model"]) -> tuple[float, float, int]:
    """Sums over tokens: KL, and how much the next token's cross-entropy rises, with the number of tokens that have a next one."""
    targets, kl, rise = clean.targets(), 0.0, 0.0
    for rows in _few(model, len(other)):
        log_p, log_q = (model.logits(hidden[rows]).log_softmax(-1) for hidden in (clean.hidden, other))
        off = log_p - log_q
        kl += float(torch.linalg.vecdot(log_p.exp(), off).double().sum())
        real = (targets[rows] >= 0).nonzero().flatten()
        rise += float(off[real, targets[rows][real]].double().sum())
    return kl, rise, int((targets >= 0).sum())


def _few(model: Model, tokens: int) -> Iterator[slice]:
    """As many tokens at a time as logits may exist for."""
    step = max(1, _LOGIT_VALUES // model.hf.config.get_text_config().vocab_size)
    return (slice(start, start + step) for start in range(0, tokens, step))


@dataclass(frozen=True)
class _Judged:
    metrics: dict[str, float]
    figures: dict[str, float]


@torch.no_grad()
def _judge(sae: Sae, model: Model, held: Sequence[_Clean]) -> _Judged:
    """How `sae` does: what it carries as metrics, and error, L0, KL and rise of the loss when it stands in for the activations."""
    metrics = measure(sae, torch.cat([clean.x for clean in held]), torch.cat([clean.y for clean in held]))
    sums = torch.zeros(3, dtype=torch.float64)
    for clean in held:
        rebuilt = sae.decode(sae.encode(clean.x), clean.x)
        sums += torch.tensor(_compare(model, clean, spliced(model, clean.batch, sae.facts.output_sites[0], rebuilt)))
    kl, rise, followed = sums.tolist()
    del metrics["dead"]  # in as little text as this every rare feature looks dead
    own = {"kl": kl / metrics["tokens"], "delta_loss": rise / max(1, followed)}
    return _Judged(metrics, {"tokens": metrics["tokens"], "fvu": metrics["fvu"], "l0": metrics["l0"], **own})


def _default_lr(sae: Sae) -> float:
    found = sae.facts.training.get("lr")
    if isinstance(found, int | float) and 0 < found < math.inf:
        return 0.1 * found
    return 3e-4 * math.sqrt(4096 / sae.d_sae)


class _Tuned:
    """An SAE whose weights Adam moves."""

    def __init__(self, sae: Sae, held: Sequence[_Clean], lr: float) -> None:
        weights = {name: value.detach().clone() for name, value in weights_of(sae).items() if name != "threshold"}
        self.sae = replace(sae, **{name: value.requires_grad_() for name, value in weights.items()})
        self._weights = weights
        self._lengths = sae.W_dec.norm(dim=1, keepdim=True)
        # One learning rate means one thing only where inputs, outputs and decoder rows have length 1. Here they have their own scales, so
        # each weight moves in its own unit: a bias of 10,000 would stand still at the rate that suits an encoder column.
        raw_in, raw_out = (_scale(torch.cat(parts)) for parts in ([clean.x for clean in held], [clean.y for clean in held]))
        in_, out = (1.0 if sae.facts.normalize in kinds else raw for kinds, raw in ((_UNIT_INPUT, raw_in), (_UNIT_OUTPUT, raw_out)))
        row = float(self._lengths.median())
        units = {"W_enc": out / in_ / row, "b_enc": out / row, "W_dec": row, "b_dec": out, "W_skip": raw_out / raw_in}
        self._rates = [lr * units[name] for name in weights]
        groups = [{"params": [value], "lr": rate} for value, rate in zip(weights.values(), self._rates, strict=True)]
        self._adam = torch.optim.Adam(groups, betas=_BETAS)

    def step(self, share: float) -> None:
        """Move by the gradients at hand, at this share of the learning rate; decoder rows turn, and keep their lengths."""
        rows = self._weights["W_dec"]
        if rows.grad is not None:
            along = torch.nn.functional.normalize(rows.detach(), dim=1)
            rows.grad -= torch.linalg.vecdot(rows.grad, along)[:, None] * along
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self._adam.step()
        self._adam.zero_grad()
        with torch.no_grad():
            rows.copy_(torch.nn.functional.normalize(rows, dim=1) * self._lengths)

    def frozen(self) -> Sae:
        """The SAE as it stands."""
        return replace(self.sae, **{name: value.detach() for name, value in self._weights.items()})


def _scale(acts: Float[Tensor, "token d"]) -> float:
    """Root mean square of a coordinate about its mean."""
    return max(float((acts - acts.mean(0)).square().mean().sqrt()), 1e-12)


@torch.no_grad()
def _recalibrated(before: Sae, after: Sae, acts: Sequence[Tensor]) -> Sae:
    """`after` with one offset to all thresholds, so that as many features are active on `acts` as were `before`; TopK keeps its k."""
    if after.facts.activation != "jumprelu":
        return after
    wanted = sum(len(before.encode(x).feature) for x in acts)
    floor, highest = 0.01 * float(after.threshold.mean()), float(after.threshold.max())
    margin = 0.0
    while True:
        # Entries that are active with thresholds lowered by the margin; it grows until they are enough to choose among.
        low = replace(after, threshold=(after.threshold - margin).clamp_min(0))
        codes = [low.encode(x) for x in acts]
        over = torch.cat([one.value - after.threshold[one.feature] for one in codes])
        if len(over) > wanted or margin >= highest:
            break
        margin = max(2 * margin, floor)
    if not len(over):
        return after
    offset = over.sort(descending=True).values[min(wanted, len(over) - 1)]
    return replace(after, threshold=(after.threshold + offset).clamp_min(0))
