"""Steer: what a model writes while chosen features are turned up or down, beside what it writes by itself and under random features."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count, pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

from hooke.atlas.feature import Feature
from hooke.errors import BadConfig, LimitReached
from hooke.intervene import intervene
from hooke.model import Model
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.edits import Edit

__all__ = [
    "MOST_DIALS",
    "MOST_DOSE",
    "MOST_DOSES",
    "MOST_KL",
    "MOST_TOKENS",
    "Arm",
    "Dial",
    "Drawing",
    "Steering",
    "alone",
    "capped_dose",
    "dose_of_kl",
    "steer",
    "steering",
]

MOST_DOSE = 16.0
"""Past this many times a feature's own maximum no model writes text any more."""
MOST_KL = 2.0
"""Nats a token by which expectations move at most where nobody asked for a dose; beyond, small models write no text."""
MOST_TOKENS, MOST_DIALS, MOST_DOSES = 512, 8, 21
"""Tokens written, features turned together, and doses beside each other, at most."""
# A dose is looked for from here on, four times as much each time, and then to this share of it.
_LEAST_DOSE, _CLOSE = 2.0**-6, 0.01
# Tokens of the model's own continuation along which it is looked for.
_ALONG = 16
# Nats by which words of a curve that has turned are less likely than at its height.
_LESS = 0.1

Kind = Literal["clean", "steered", "random", "prompted"]


@dataclass(frozen=True)
class Dial:
    """A feature to turn, and what one dose of it is."""

    sae: Sae
    """Its SAE."""
    index: int
    """Which of its features."""
    maximum: float
    """Its largest activation in ordinary text: one dose."""
    words: tuple[int, ...] = ()
    """Tokens that its decoder row is said to promote."""
    density: np.ndarray | None = None
    """``[d_sae]`` how often each feature of the SAE fires, to find controls that fire as often as this one."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.sae.d_sae:
            raise BadConfig(f"{self.sae.name} has features 0 to {self.sae.d_sae - 1}; asked for is {self.index}.")
        if not 0 < self.maximum < math.inf:
            raise BadConfig(f"{self.name} never fired in its atlas' text, so that a dose of it is nothing. Choose a feature that fires.")
        if len(self.sae.facts.output_sites) > 1:
            raise BadConfig(f"{self.sae.name} writes several sites; only features that write one can be turned.")

    @classmethod
    def of(cls, model: Model, sae: Sae, feature: Feature, density: np.ndarray) -> "Dial":
        """The feature as its atlas has it; of the words that it promotes, those that are one token.

        One that was measured and hardly writes has none: what its direction promotes is nothing that it says.
        """
        spelt = model.tokenizer.encode([output.text for output in feature.promoted]) if feature.kind not in ("reads", "unclear") else []
        begins = int(model.tokenizer.bos is not None)
        words = tuple(ids[begins] for ids in spelt if len(ids) == begins + 1)
        return cls(sae, int(feature.name.rpartition("/")[2]), feature.max, words, density)

    @property
    def name(self) -> str:
        """Its address."""
        return f"{self.sae.name}/{self.index}"

    @property
    def site(self) -> Site:
        """Where it writes."""
        return self.sae.facts.output_sites[0]

    def control(self, draw: np.random.Generator) -> tuple[int, float]:
        """Another feature, and how much of it is as long a step: one by lot of the twentieth that fires most nearly as often, if known."""
        lengths = self.sae.W_dec.norm(dim=1).cpu().numpy()
        near = np.flatnonzero(lengths > 0)
        if self.density is not None:
            near = near[self.density[near] > 0]
            apart = np.abs(np.log(self.density[near]) - math.log(max(self.density[self.index], 1e-12)))
            near = near[np.argsort(apart, kind="stable")[: max(2, len(near) // 20)]]
        other = int(draw.choice(near[near != self.index]))
        return other, self.maximum * float(lengths[self.index] / lengths[other])


@dataclass(frozen=True)
class Arm:
    """A text that was written, and what that cost."""

    kind: Kind
    """By the model itself, under the features, under random features of the same length, or asked for in words."""
    dose: float
    """In units of the features' own maxima."""
    text: str
    """What was written after the prompt."""
    tokens: list[str]
    """The same in tokens."""
    kl: list[float] = field(default_factory=list)
    """For each of them KL(p ‖ p̂) in nats, p what the model by itself expects there, p̂ what it expects as altered."""
    loss_clean_model: float | None = None
    """Mean cross-entropy of the text under the model by itself: high is text that the model finds odd."""
    repetition: float = 0.0
    """Share of its pairs of neighbouring tokens that stood there before."""
    own_words: float | None = None
    """By how much the log probability of the features' own words rises, all together, in nats a token; None where none are known."""


@dataclass(frozen=True)
class Drawing:
    """How much is written, and how its words are drawn; the same for every arm."""

    tokens: int = 64
    """Tokens to write."""
    temperature: float = 1.0
    """0 takes the likeliest token each time."""
    seed: int = 0
    """Decides what is drawn."""


@dataclass(frozen=True)
class Steering:
    """One prompt, continued in several ways from the same random numbers."""

    prompt: str
    model: str
    features: list[str]
    """Addresses of what was turned."""
    seed: int
    temperature: float
    arms: list[Arm]
    controls: list[str] = field(default_factory=list)
    """Addresses of the features that were turned in the controls, one for each of `features`."""
    words: list[str] = field(default_factory=list)
    """The features' own words: those that their decoder rows promote, of one token each."""

    @property
    def note(self) -> str:
        """The sentence that goes with every text written under it."""
        return f"Written by {self.model} with {', '.join(self.features)} altered: not what the model says by itself."

    @property
    def turns(self) -> float | None:
        """The dose past which more of the features makes their own words less likely again; None where every further dose adds to them."""
        tried = sorted((arm.dose, arm.own_words) for arm in self.arms if arm.kind == "steered" and arm.own_words is not None)
        most = max(tried, key=lambda one: one[1], default=(0.0, 0.0))
        return most[0] if tried and tried[-1][1] < most[1] - _LESS else None


def steer(
    model: Model,
    dials: Sequence[Dial],
    prompt: str,
    doses: Sequence[float] = (1.0,),
    *,
    tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
    asked: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Steering:
    """`prompt` continued by `tokens` tokens: by the model itself, at each dose with the features added, and with controls added.

        x' = x + Σ dose · maximum_i · W_dec_i      at all positions but special tokens, prompt and continuation (methods: 5.1, 5.2)

    All arms are one batch and draw with the same random numbers, so that they differ by what was altered alone. A control is a feature by
    lot that fires as often, its step as long. With `asked`, an arm of the unaltered model is told in words what to write about.
    """
    steps = steering(model, dials, prompt, doses, Drawing(tokens, temperature, seed), asked)
    for done in count(1):
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        progress(done)
    raise AssertionError("counting never ends")


def steering(
    model: Model, dials: Sequence[Dial], prompt: str, doses: Sequence[float], drawing: Drawing, asked: str | None = None
) -> Generator[list[Arm], None, Steering]:
    """The same as `steer`, token by token: the arms as far as they are written; returned at the end, all of it."""
    tokens, temperature, seed = drawing.tokens, drawing.temperature, drawing.seed
    _check(dials, doses, tokens)
    ids = _prompt_ids(model, prompt, tokens)
    draw = np.random.default_rng(seed)
    kinds: tuple[Kind, Kind] = ("steered", "random")
    plan: list[tuple[Kind, float]] = [("clean", 0.0), *((kind, dose) for dose in doses for kind in kinds)]
    controls = [dial.control(draw) for dial in dials]
    # Each altered text is read by the unaltered model beside it, so that what it costs is known as soon as a token is written.
    readings = [*plan, *(plan[:1] * (len(plan) - 1))]
    follow = torch.tensor([*range(len(plan)), *range(1, len(plan))])
    edits = [_edit(dial, control, readings) for dial, control in zip(dials, controls, strict=True)]
    words = list(dict.fromkeys(word for dial in dials for word in dial.words))
    written, costs = ids.new_empty(len(plan), 0), [_Cost([], [], []) for _ in plan]

    def look(logits: Float[Tensor, "row vocab"], chosen: Int[Tensor, " row"]) -> None:
        for row, cost in enumerate(costs):
            own = logits[row].float()
            cost.add(logits[row + len(plan) - 1].float() if row else own, own, int(chosen[row]), words)

    def arms() -> list[Arm]:
        return [_arm(model, *what, row, cost, words=bool(words)) for what, row, cost in zip(plan, written, costs, strict=True)]

    with intervene(model, *edits, variant=True):
        alike = {"temperature": temperature, "seed": seed, "alike": True, "follow": follow, "look": look}
        for column in model.sampled(ids.repeat(len(readings), 1), tokens, **alike):
            written = torch.cat([written, column[: len(plan), None].to(written)], 1)
            yield arms()
    every = arms()
    if asked:
        every.append(_prompted(model, asked, prompt, tokens, temperature, seed))
    named = [f"{dial.sae.name}/{other}" for dial, (other, _) in zip(dials, controls, strict=True)]
    own = [model.tokenizer.pieces([word])[0] for word in words]
    return Steering(prompt, model.name, [dial.name for dial in dials], seed, temperature, every, named, own)


def alone(model: Model, prompt: str, drawing: Drawing) -> Iterator[tuple[Int[Tensor, "1 pos"], str]]:
    """What `steering` writes without any feature, token by token: prompt and text so far as token ids, and the text."""
    ids = _prompt_ids(model, prompt, drawing.tokens)
    written = ids
    for column in model.sampled(ids, drawing.tokens, temperature=drawing.temperature, seed=drawing.seed, alike=True):
        written = torch.cat([written, column[:, None].to(ids)], 1)
        row = written[0, ids.shape[1] :]
        yield written, "".join(model.tokenizer.pieces(row[: _length(model, row)].tolist()))


Tried = Callable[[float, float], None]
"""Is told of a dose that was tried, and by how many nats a token it moves expectations."""
Written = Int[Tensor, "1 pos"] | None
"""A prompt and what the model writes after it as `alone` gives them, where that is known already."""


def dose_of_kl(
    model: Model, dials: Sequence[Dial], prompt: str, kl: float, drawing: Drawing, written: Written = None, tried: Tried = lambda *_: None
) -> float:
    """The least dose at which the model's expectations, along the first 16 tokens that it writes by itself, move by `kl` nats on average.

    Raises `LimitReached` where no dose up to `MOST_DOSE` moves them so far.
    """
    if not 0 < kl < math.inf:
        raise BadConfig(f"kl={kl} must be a number of nats above 0; 0.5 is a clear change that leaves text readable.")
    return _dose_of(kl, _cost_of_dose(model, dials, prompt, drawing, written, tried))


def capped_dose(
    model: Model, dials: Sequence[Dial], prompt: str, drawing: Drawing, written: Written = None, tried: Tried = lambda *_: None
) -> float:
    """1, or the dose below it that moves expectations by `MOST_KL` nats, as `dose_of_kl` finds it."""
    cost = _cost_of_dose(model, dials, prompt, drawing, written, tried)
    return 1.0 if cost(1.0) <= MOST_KL else _dose_of(MOST_KL, cost)


def _cost_of_dose(
    model: Model, dials: Sequence[Dial], prompt: str, drawing: Drawing, written: Written, tried: Tried
) -> Callable[[float], float]:
    """By how much a dose moves expectations along what the model writes by itself, in nats a token."""
    _check(dials, [1.0], drawing.tokens)
    few = replace(drawing, tokens=min(drawing.tokens, _ALONG))
    start = _prompt_ids(model, prompt, few.tokens).shape[1]
    if written is None:
        written = [ids for ids, _ in alone(model, prompt, few)][-1]
    written = written[:, : start + few.tokens]
    length = _length(model, written[0, start:])
    read = lambda: model.hidden(written)[0, start - 1 : start - 1 + length]  # noqa: E731
    with torch.inference_mode():
        clean = torch.cat([log_p for _, log_p in model.head.log_probs(read())]) if length else torch.zeros(0, 0)

    @cache
    @torch.inference_mode()
    def cost(dose: float) -> float:
        if not length:
            return 0.0
        with intervene(model, *(dial.sae.add(dial.index, dose * dial.maximum) for dial in dials), variant=True):
            altered = read()
        parts = [(clean[rows].exp() * (clean[rows] - log_q)).sum(1).clamp_min(0) for rows, log_q in model.head.log_probs(altered)]
        moved = float(torch.cat(parts).mean())
        tried(dose, moved)
        return moved

    return cost


def _dose_of(kl: float, cost: Callable[[float], float]) -> float:
    """The least dose that costs `kl`, to one part in a hundred."""
    high = _LEAST_DOSE
    while cost(high) < kl:
        high *= 4
        if high > MOST_DOSE:
            raise LimitReached(
                f"no dose up to {MOST_DOSE:.0f} moves this prompt by {kl:g} nats a token ({high / 4:g} moves it by {cost(high / 4):.2g})."
                " Ask for less, or for another feature."
            )
    if high == _LEAST_DOSE:
        return high
    # Cost is next to a power of the dose, a straight line in logarithms.
    apart = lambda log_dose: math.log(max(cost(math.exp(log_dose)), 1e-12) / kl)  # noqa: E731
    return math.exp(float(brentq(apart, math.log(high / 4), math.log(high), xtol=_CLOSE)))  # pyright: ignore[reportArgumentType]


def _check(dials: Sequence[Dial], doses: Sequence[float], tokens: int) -> None:
    if not 1 <= len(dials) <= MOST_DIALS or len({dial.name for dial in dials}) < len(dials):
        raise BadConfig(
            f"steering takes 1 to {MOST_DIALS} different features; these are {', '.join(dial.name for dial in dials) or 'none'}."
        )
    if not doses or not all(abs(dose) <= MOST_DOSE for dose in doses):  # nan is not
        raise BadConfig(f"a dose is a number from -{MOST_DOSE:.0f} to {MOST_DOSE:.0f} times a feature's own maximum; given: {list(doses)}.")
    if len(doses) > MOST_DOSES or not 1 <= tokens <= MOST_TOKENS:
        raise BadConfig(f"at most {MOST_DOSES} doses of 1 to {MOST_TOKENS} tokens at a time; these are {len(doses)} of {tokens}.")


def _edit(dial: Dial, control: tuple[int, float], plan: Sequence[tuple[Kind, float]]) -> Edit:
    """What is added to each text of the plan: the dial's feature, its control, or neither."""
    other, amount = control
    amounts = [[dose * dial.maximum * (kind == "steered"), dose * amount * (kind == "random")] for kind, dose in plan]
    return dial.sae.add([dial.index, other], torch.tensor(amounts)[:, None])


@dataclass(frozen=True)
class _Cost:
    """Of every token of a continuation: see `Arm`."""

    kl: list[float]
    loss: list[float]
    rise: list[float]

    def add(self, clean: Float[Tensor, " vocab"], altered: Float[Tensor, " vocab"], token: int, words: Sequence[int]) -> None:
        """Take in one more `token`, from the logits of both models before it; `words` are those that a feature is to make likelier."""
        log_p = clean.log_softmax(0)
        log_q = log_p if altered is clean else altered.log_softmax(0)
        self.kl.append(max(0.0, float(torch.dot(log_p.exp(), log_p - log_q))))
        self.loss.append(-float(log_p[token]))
        if words:
            self.rise.append(float(log_q[list(words)].logsumexp(0) - log_p[list(words)].logsumexp(0)))


def _prompt_ids(model: Model, prompt: str, tokens: int) -> Int[Tensor, "1 pos"]:
    ids = torch.tensor(model.tokenizer.encode([prompt]))
    model.check_length(ids.shape[1] + tokens)
    return ids


def _length(model: Model, row: Int[Tensor, " n"]) -> int:
    """Tokens of a continuation before it ends."""
    return next((n for n, token in enumerate(row.tolist()) if token in model.tokenizer.special), len(row))


def _arm(model: Model, kind: Kind, dose: float, row: Int[Tensor, " n"], cost: _Cost, *, words: bool = False) -> Arm:
    length = _length(model, row)
    ids = row[:length].tolist()
    pairs, pieces = list(pairwise(ids)), model.tokenizer.pieces(ids)
    return Arm(
        kind,
        dose,
        "".join(pieces),  # it goes on from a prompt, so that a space in front is text
        pieces,
        [round(value, 5) for value in cost.kl[:length]],
        float(np.mean(cost.loss[:length])) if length else None,
        1 - len(set(pairs)) / len(pairs) if pairs else 0.0,
        round(float(np.mean(cost.rise[:length])), 5) if words and length else None,  # rows of one product differ in float32's last digit
    )


def _prompted(model: Model, asked: str, prompt: str, tokens: int, temperature: float, seed: int) -> Arm:
    """The unaltered model, told in words; its loss is that of the text after the bare prompt."""
    before = torch.tensor(model.tokenizer.encode([f"A text about {asked}:\n\n{prompt}"]))
    written = model.generate(before, tokens, temperature=temperature, seed=seed, alike=True)[:, before.shape[1] :]
    bare = torch.tensor(model.tokenizer.encode([prompt]))
    loss = model.loss(torch.cat([bare, written.cpu()], 1))[0, bare.shape[1] - 1 :][: _length(model, written[0])].tolist()
    return _arm(model, "prompted", 0.0, written[0], _Cost([], loss, []), words=False)
