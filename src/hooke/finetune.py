"""Fine-tune: a trained SAE brought to leave what the model predicts as it is (KL), besides rebuilding activations."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadConfig, HookeError, LimitReached
from hooke.metrics import not_sinks
from hooke.model import Model
from hooke.model.hooks import capturing
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.fits import check_fits
from hooke.train.export import measure
from hooke.train.state import moments

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
    share: float = 1.0
    """Share of the positions, drawn anew at each step, where predictions are compared: with a large vocabulary logits cost most."""
    seed: int = 0
    """Decides which positions those are."""

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.beta < math.inf or (self.lr is not None and not 0 < self.lr < math.inf):
            raise BadConfig(f"tokens={self.tokens} must be at least 1, lr={self.lr} above 0, and beta={self.beta} at least 0.")
        if not 0 < self.share <= 1:
            raise BadConfig(f"share={self.share} must be above 0 and at most 1.")


@dataclass(frozen=True)
class TextBatch:
    """Some windows of text."""

    ids: Int[Tensor, "batch pos"]
    """Token ids, padded on the right."""
    keep: Bool[Tensor, "batch pos"]
    """Positions that are rebuilt and counted: neither special tokens nor padding; attention sinks are left out once they are known."""
    special: int = 0
    """Special tokens among the ids."""


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
    """Mean squared error of this step's activations, in the units they were balanced to in training."""


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
    draw = torch.Generator().manual_seed(config.seed)
    seen, left_out, began = 0, {"sinks": 0, "special": 0}, time.monotonic()
    for batch in batches:
        if not bool(batch.keep.any()):
            continue
        count = int(batch.keep.sum())
        compared = torch.randperm(count, generator=draw)[: math.ceil(config.share * count)].sort().values
        clean = _Clean.of(sae, model, batch)
        mse, kl = _backward(tuned.live(), model, clean, config.beta, scale=tuned.out, compared=compared)
        if not math.isfinite(mse + kl):
            raise HookeError(f"{sae.name}: the loss is no longer finite after {seen:,} tokens. Lower the learning rate (now {lr:g}).")
        tuned.step(1 - seen / config.tokens)
        seen += count
        left_out["sinks"] += count - int(clean.batch.keep.sum())
        left_out["special"] += batch.special
        report(FinetuneProgress(seen, config.tokens, seen / max(time.monotonic() - began, 1e-9), kl, mse))
        if seen >= config.tokens:
            break
    if seen < config.tokens:
        raise LimitReached(f"the text ended after {seen:,} of {config.tokens:,} tokens. Ask for fewer tokens or give more text.")
    done = _recalibrated(sae, tuned.frozen(), [clean.x for clean in spare])
    after = _judge(done, model, judged)
    asked = {"lr": lr, "beta": config.beta, "share": config.share}
    record: dict[str, Any] = {"tokens": seen, "left_out": left_out, **asked, "before": before.figures, "after": after.figures}
    if "finetuned" in sae.facts.training:
        record["earlier"] = sae.facts.training["finetuned"]
    training = {**sae.facts.training, "finetuned": record}
    return replace(done, facts=replace(sae.facts, name=f"{sae.name}-finetuned", metrics=after.metrics, training=training))


def check(sae: Sae, model: Model) -> None:
    """Raise `BadConfig` for an SAE that cannot be put back at one site, `ShapeMismatch` for one of other widths."""
    reads, writes = list(sae.facts.input_sites), list(sae.facts.output_sites)
    if (len(reads), len(writes)) != (1, 1):
        raise BadConfig(
            f"{sae.name} reads {', '.join(map(str, reads))} and writes {', '.join(map(str, writes))}: "
            f"only an SAE or transcoder of one site can be fine-tuned, not a crosscoder."
        )
    check_fits(sae, model.name, model.width)
    if model.architecture.order(writes[0]) < model.architecture.order(reads[0]):
        raise BadConfig(f"{sae.name} reads {reads[0]} and writes {writes[0]}, which is computed before it.")


def backward(
    sae: Sae,
    model: Model,
    batch: TextBatch,
    beta: float,
    *,
    scale: Float[Tensor, " d_out"] | None = None,
    compared: Int[Tensor, " row"] | None = None,
) -> tuple[float, float]:
    """Add the loss's gradient on `batch` to those weights of `sae` that want one; what MSE and KL are.

    Errors are counted in units of `scale`; predictions are compared at the `compared` among the kept positions, by default at all.
    Logits exist for a few tokens at a time: each few give the gradient at what the LM head reads, and one pass back through the model
    takes it from there.
    """
    return _backward(sae, model, _Clean.of(sae, model, batch), beta, scale=scale, compared=compared)


def _backward(
    sae: Sae, model: Model, clean: "_Clean", beta: float, *, scale: Tensor | None, compared: Int[Tensor, " row"] | None
) -> tuple[float, float]:
    rebuilt = sae.decode(sae.encode(clean.x), clean.x)
    off = clean.y - rebuilt
    mse = (off if scale is None else off / scale).square().mean()
    hidden, entry = spliced(model, clean.batch, sae.facts.output_sites[0], rebuilt), clean.hidden
    if compared is not None:
        compared = compared[compared < len(hidden)]  # drawn before it was known which positions are attention sinks
        hidden, entry = hidden[compared], entry[compared]
    kl, pull = _divergence(model, entry, hidden.detach())
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
            hidden = _last(model, batch)
        keep = not_sinks(found.values(), keep)
        return cls(replace(batch, keep=keep.cpu()), found[read][keep].float(), found[write][keep].float(), hidden[keep])

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
            log_p = model.head.logits(clean[rows]).log_softmax(-1)
        entry = other[rows].detach().requires_grad_()
        logits = model.head.logits(entry)
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
    for (rows, log_p), (_, log_q) in zip(model.head.log_probs(clean.hidden), model.head.log_probs(other), strict=True):
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
    """An SAE whose weights Adam moves, held as they are in training: inputs and outputs of one scale, decoder rows of length 1.

    There one learning rate means one thing. On raw activations a bias may be 10,000 where an encoder column is 0.001.
    """

    def __init__(self, sae: Sae, held: Sequence[_Clean], lr: float) -> None:
        self._sae, self._lr = sae, lr
        power = sae.facts.training.get("balance", 0.0)
        power = power if isinstance(power, int | float) else 0.0
        mean, spread = moments(torch.cat([clean.x for clean in held]), power)
        self._mean, self._in = (mean, spread) if sae.facts.normalize not in _UNIT_INPUT else (torch.zeros_like(mean), torch.ones_like(mean))
        raw = moments(torch.cat([clean.y for clean in held]), power)[1]
        self.out = raw if sae.facts.normalize not in _UNIT_OUTPUT else torch.ones_like(raw)
        """What the coordinates of the output are divided by."""
        self._lengths = (sae.W_dec / self.out).norm(dim=1).clamp_min(1e-12)
        self._weights = {
            "W_enc": sae.W_enc * self._in[:, None] * self._lengths,
            "b_enc": (sae.b_enc + self._mean @ sae.W_enc) * self._lengths,
            "W_dec": sae.W_dec / self.out / self._lengths[:, None],
            "b_dec": sae.b_dec / self.out,
        }
        if sae.W_skip is not None:
            self._skip = raw / spread[:, None]  # it joins raw input and raw output, whatever is normalised besides
            self._weights["W_skip"] = sae.W_skip / self._skip
        self._weights = {name: value.detach().clone().requires_grad_() for name, value in self._weights.items()}
        self._adam = torch.optim.Adam(self._weights.values(), lr=lr, betas=_BETAS)

    def live(self) -> Sae:
        """The SAE for raw activations, its gradients reaching what Adam moves."""
        free = self._weights
        W_enc = free["W_enc"] / self._in[:, None] / self._lengths
        b_enc = free["b_enc"] / self._lengths - self._mean @ W_enc
        W_dec = free["W_dec"] * self.out * self._lengths[:, None]
        skip = free["W_skip"] * self._skip if "W_skip" in free else None
        return replace(self._sae, W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=free["b_dec"] * self.out, W_skip=skip)

    def step(self, share: float) -> None:
        """Move by the gradients at hand, at this share of the learning rate; decoder rows turn, and keep their lengths."""
        rows = self._weights["W_dec"]
        if rows.grad is not None:
            rows.grad -= torch.linalg.vecdot(rows.grad, rows.detach())[:, None] * rows.detach()
        self._adam.param_groups[0]["lr"] = self._lr * share
        self._adam.step()
        self._adam.zero_grad()
        with torch.no_grad():
            rows.copy_(torch.nn.functional.normalize(rows, dim=1))

    @torch.no_grad()
    def frozen(self) -> Sae:
        """The SAE as it stands, its decoder rows as long as they were before."""
        sae = self.live()
        if sae.facts.activation != "jumprelu":  # values that are compared with each other keep their proportions
            return sae
        n = sae.W_dec.norm(dim=1).clamp_min(1e-12) / self._sae.W_dec.norm(dim=1).clamp_min(1e-12)
        stretched = {"W_enc": sae.W_enc * n, "b_enc": sae.b_enc * n, "threshold": sae.threshold * n, "W_dec": sae.W_dec / n[:, None]}
        return replace(sae, **stretched)


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
