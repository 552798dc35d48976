"""Measuring: what a model makes of an audit's texts, and what differs between its two groups."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from hooke.analysis.reader import Options, Reader
from hooke.audits.plan import AuditPlan, Case, Target
from hooke.differences.statistics import LEVEL, q_values
from hooke.errors import BadConfig, LimitReached, UnknownName, quoted, unknown
from hooke.model import Model, length_batches
from hooke.names import meant_by
from hooke.sae.packs import default_sae
from hooke.topics import NONE

DEALT = 20_000
"""How often groups are dealt out anew for a p value."""
MAX_TOKENS = 4096
"""Tokens of a text: what is longer is no sentence, and its surprise would take the machine's memory."""
_AGREE = 0.75
_BATCH = 2048


@dataclass(frozen=True)
class AuditRow:
    """One target of one model."""

    model: str
    """Which model."""
    target: str
    """What was measured."""
    kind: str
    """``loss``, ``next``, ``feature`` or ``topic``."""
    what: str
    """Of what: the words that may follow, a feature's address, a topic's name; empty for the loss."""
    means: dict[str, float]
    """Its mean in each group."""
    effect: float
    """The first group's mean minus the other's, within the same wording or pair."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    size: float
    """The effect over the spread of fillers or pairs (Cohen's d)."""
    p: float
    """How often chance parts the groups so far."""
    q: float
    """Of all targets and models together (Benjamini and Hochberg)."""
    wordings: dict[str, float]
    """The effect in each wording alone."""
    verdict: str
    """What may be said."""


def values_of(model: Model, reader: Reader | None, target: Target, cases: tuple[Case, ...]) -> Float[np.ndarray, " text"]:
    """A target's value in every text."""
    texts = [case.text for case in cases]
    if target.kind in ("loss", "next"):
        return _log_probs(model, texts, target.what)
    assert reader is not None  # `reader_for` gives one where a target needs it
    glances = reader.glance(texts)
    if target.kind == "topic":
        return np.array([float(one.topic == target.what) for one in glances])
    place, index = _place(reader, target.what)
    out = []
    for one in glances:
        fired = one.fired[place]
        at = np.flatnonzero(fired.feature == index)
        out.append(float(fired.pooled[at[0]]) if len(at) else 0.0)
    return np.array(out)


def _place(reader: Reader, address: str) -> tuple[int, int]:
    """Which of a reader's SAEs has the feature of that address, and its number there."""
    sae, _, index = address.rpartition("/")
    names = [one.sae.name for one in reader.labelled_saes]
    named = list(dict.fromkeys(meant_by(sae, names))) or names[: len(names) == 1]  # one that was given as a file
    if len(named) != 1:
        raise unknown("SAE", sae, names, f"The target feature {address!r} names it.")
    place = names.index(named[0])
    if int(index) >= (d_sae := reader.labelled_saes[place].sae.d_sae):
        raise BadConfig(f"there is no feature {index} in {named[0]}: it has {d_sae:,}, from 0 to {d_sae - 1:,}.")
    return place, int(index)


def _log_probs(model: Model, texts: list[str], following: str) -> np.ndarray:
    """Mean loss of each text; or ln p of `following` after it."""
    whole = model.tokenizer.encode([text + following for text in texts])
    begun = [len(ids) for ids in model.tokenizer.encode(texts)] if following else [1] * len(texts)
    out = np.zeros(len(texts))
    for batch in length_batches([len(ids) for ids in whole], _BATCH):
        loss = model.loss([texts[i] + following for i in batch]).double()
        for i, row in zip(batch, loss, strict=True):
            own = row[: len(whole[i]) - 1]
            out[i] = -float(own[begun[i] - 1 :].sum()) if following else float(own.mean())
    return out


def measure(plan: AuditPlan, model: str, target: Target, values: np.ndarray, seed: int) -> AuditRow:
    """What differs in a target; q and verdict are left open until all are known."""
    group, unit, context = (np.array([getattr(case, name) for case in plan.cases]) for name in ("group", "unit", "context"))
    wording = np.array([case.wording for case in plan.cases])
    # Within what the texts share, so that only the filler differs.
    level = np.bincount(context, weights=values) / np.bincount(context)
    centred = values - level[context]
    rng = np.random.default_rng(seed)
    means = {name: float(values[group == i].mean()) for i, name in enumerate(plan.groups)}
    if plan.paired:
        gaps = np.bincount(unit, weights=np.where(group == 0, values, -values))
        effect, spread = float(gaps.mean()), float(gaps.std(ddof=1))
        half = float(stats.t.isf(LEVEL / 2, len(gaps) - 1)) * spread / np.sqrt(len(gaps))
        dealt = np.abs(rng.choice([-1.0, 1.0], (DEALT, len(gaps))) @ gaps) / len(gaps)
    else:
        side = np.zeros(unit.max() + 1, int)
        side[unit] = group
        own = np.bincount(unit, weights=centred) / np.bincount(unit)
        a, b = own[side == 0], own[side == 1]
        effect = float(a.mean() - b.mean())
        spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
        half = _welch(a, b)
        order = rng.permuted(np.tile(own, (DEALT, 1)), axis=1)
        dealt = np.abs(order[:, : len(a)].mean(1) - order[:, len(a) :].mean(1))
    p = float((1 + (dealt >= abs(effect) * (1 - 1e-9)).sum()) / (1 + DEALT)) if spread > 0 or effect else 1.0
    alone = {
        name: float(centred[(wording == name) & (group == 0)].mean() - centred[(wording == name) & (group == 1)].mean())
        for name in dict.fromkeys(wording.tolist())
    }
    d = effect / spread if spread else 0.0
    return AuditRow(model, target.name, target.kind, target.what, means, effect, effect - half, effect + half, d, p, p, alone, "")


def _welch(a: np.ndarray, b: np.ndarray) -> float:
    """Half of the 95 % interval of a difference of means, variances unequal (Welch 1947); 0 where nothing varies."""
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    if not parts.sum() > 0:
        return 0.0
    freedom = parts.sum() ** 2 / (parts**2 / np.array([len(a) - 1, len(b) - 1])).sum()
    return float(stats.t.isf(LEVEL / 2, freedom) * np.sqrt(parts.sum()))


def judged(rows: list[AuditRow], groups: tuple[str, str]) -> list[AuditRow]:
    """The same with q values over all, and what may be said of each."""
    q = q_values(np.array([row.p for row in rows]))
    return [replace(row, q=float(own), verdict=_verdict(replace(row, q=float(own)), groups)) for row, own in zip(rows, q, strict=True)]


def _verdict(row: AuditRow, groups: tuple[str, str]) -> str:
    if row.q >= LEVEL or row.low <= 0 <= row.high:
        return "no difference shown"
    agree = np.mean([np.sign(effect) == np.sign(row.effect) for effect in row.wordings.values()])
    more = groups[0] if row.effect > 0 else groups[1]
    return f"higher for {more}" if agree >= _AGREE else f"higher for {more} on the whole, but it depends on the wording"


def check_models(plan: AuditPlan) -> None:
    """Raise `BadConfig` where a target needs SAEs and one of the models has none, before any is loaded."""
    wanted = [target for target in plan.targets if target.kind == "topic"]
    if not wanted or any(target.kind == "feature" for target in plan.targets):
        return
    for name in plan.models:
        try:
            default_sae(name)
        except UnknownName as error:
            raise BadConfig(
                f"the target {wanted[0].name!r} needs SAEs for the model {name}, and no pack has any; loss and next need none. Leave the"
                f" target or the model out, or make a plan of its own for {name}."
            ) from error


def check_texts(model: Model, cases: tuple[Case, ...]) -> None:
    """Raise `LimitReached` for a text that is too long to be read whole, before any is measured."""
    most = min(MAX_TOKENS, model.context)
    for case, ids in zip(cases, model.tokenizer.encode([case.text for case in cases]), strict=True):
        if len(ids) > most:
            raise LimitReached(
                f"the text {quoted(case.text[:40])} has {len(ids):,} tokens; an audit reads sentences, of at most {most:,} with"
                f" {model.name}. Cut it, or leave it out."
            )


def reader_for(model: Model, plan: AuditPlan, progress: Any) -> Reader | None:
    """A reader of the model's SAEs where a target needs one. Raises `UnknownName` or `BadConfig` for a feature or topic that is none."""
    wanted = [target for target in plan.targets if target.kind in ("feature", "topic")]
    if not wanted:
        return None
    saes = sorted({target.what.rpartition("/")[0] for target in wanted if target.kind == "feature"})
    reader = Reader.load(model, saes, Options(), progress=progress)
    known = {topic for one in reader.labelled_saes if one.atlas for topic in one.atlas.topics} - {NONE}
    for target in wanted:
        if target.kind == "feature":
            _place(reader, target.what)
        elif target.what not in known:
            raise unknown("topic", target.what, known)
    return reader
