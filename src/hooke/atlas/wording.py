"""How an atlas is put into words, and from which figures on a name is said to fit: the same in the terminal and on a page."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hooke.atlas.feature import Context, Feature
from hooke.atlas.naming import CHANCE, HALF, Name, truth
from hooke.atlas.records import QUANTILES, Label, Score

if TYPE_CHECKING:
    from hooke.atlas.search import SearchHit

NO_LABEL = "no label"
"""What stands where a label would, when nobody looked at the feature."""
STEPS = 5
"""Steps of the colour scale; each is a fifth of a feature's maximum."""
APPROXIMATE = "direct effect on the logits, later layers left out"
"""What the promoted and suppressed tokens are."""
MEASURED = "probability of the next word after neutral text, without the feature → with it added; the words were chosen on other texts"
"""How the tokens of a measured effect were found."""
SCALE = ("not tested", "seldom fits", "sometimes fits", "usually fits")
"""How far a name, or a rule, is said to fit where its feature fires, from the least on; one scale for all of Hooke."""
_UNTESTED, _SELDOM, _SOMETIMES, _USUALLY = SCALE
_UNSURE = "unsure"  # of one text
USUALLY, SOMETIMES, ENOUGH = 0.85, 0.7, 20
"""A name usually fits from the first score on and on so many held-out places, sometimes from the second on; 0.5 is chance."""
OFTEN = 0.8
"""A name usually fits that was true of such a share of short texts, sometimes from `HALF` on."""
FITS = (
    f"a name usually fits that scored {USUALLY} or more on at least {ENOUGH} held-out places, sometimes from {SOMETIMES} on, seldom below"
    " (1 is always right, 0.5 chance)"
)
"""The whole rule behind `fits`, in words."""
LIKELY = 0.8
"""Below so likely right of a text a name is not shown there, but for the likeliest, which is said to be unsure."""
HERE = (
    "how likely the name fits this text: of names shown with that figure at least so many did, as language models judged; below"
    f" {10 * LIKELY:.0f} in 10 it is called unsure. A name that seldom fits elsewhere can be likely where the rest of a text speaks for it"
)
TRUTH = (
    f"where a reader tried a name on short texts beside which it stands, as “true of 10 of 12” says, that counts instead: from"
    f" {100 * OFTEN:.0f}{chr(0x202F)}% usually, from half sometimes"
)
"""The whole rule where short texts were tried, in words."""
OF_RULE = "nobody tested the name that is shown; the score is of the rule over words that was found beside it"
"""What it means that a rating is of a rule."""
_THIN = "\u202f"


def percent(share: float | int) -> str:
    """A share with two significant digits, so that rare features do not all read 0 %.

    >>> percent(0.00042)
    '0.042\\u202f%'
    """
    value = 100 * share
    text = f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.2g}" if value >= 0.001 else f"{value:.0e}"
    return f"{text}{_THIN}%"


def number(value: float | int) -> str:
    """Three significant digits, thousands apart."""
    if not math.isfinite(value):
        return "not known"
    return f"{value:,.0f}".replace(",", _THIN) if abs(value) >= 1000 or value == int(value) else f"{value:.3g}".replace("-", "−")


def score(found: Score) -> str:
    """A score with its interval and what it was measured on.

    >>> score(Score(0.934, 0.91, 0.95, 128, 256))
    '0.93 [0.91, 0.95] · 128 places where it fires, 256 where not'
    """
    interval = f" [{found.low:.2f}, {found.high:.2f}]" if math.isfinite(found.low) and math.isfinite(found.high) else ""
    against = f", {number(found.negatives)} where not" if found.negatives else ""
    return f"{found.value:.2f}{interval} · {number(found.positives)} places where it fires{against}"


def fits(value: float | None, n: int, low: float | None = None) -> str:
    """How far a name, or a rule, that scored `value` on `n` held-out places fits where its feature fires, in words of `SCALE`.

    Where the lower end of the score's interval is known, the next word's bound has to lie below it.

    >>> [fits(0.93, 128), fits(1.0, 10), fits(0.86, 40, 0.64), fits(0.6, 300), fits(None, 0)]
    ['usually fits', 'sometimes fits', 'sometimes fits', 'seldom fits', 'not tested']
    """
    if value is None or not math.isfinite(value):
        return _UNTESTED
    low = value if low is None or not math.isfinite(low) else low
    if value >= USUALLY and n >= ENOUGH and low >= SOMETIMES:
        return _USUALLY
    return _SOMETIMES if value >= SOMETIMES and low > CHANCE else _SELDOM


@dataclass(frozen=True)
class Rating:
    """How far the name that a feature is shown under can be relied on, and what that rests on."""

    word: str
    """One of `SCALE`, or *yours*; of one text, *right 9 in 10* or *unsure*."""
    figure: str = ""
    """What it rests on: *true of 7 of 12* short texts, *its rule, 0.92 on 72 places*; empty where there is no more to say."""
    share: float = 0.0
    """The same from 0, no better than chance, to 1."""
    of_rule: bool = False
    """Whether it is the rule beneath a reader's name that was tested, and not the name."""

    @property
    def behind(self) -> str:
        """The figure as it stands behind the word; nothing where there is none."""
        return f" · {self.figure}" if self.figure else ""

    @property
    def poor(self) -> bool:
        """Whether the name is wrong so often that whoever reads it should know."""
        return self.word in (_SELDOM, _UNSURE)


def rate_here(likely: float) -> Rating:
    """How far a name can be relied on of one text, by how likely it is right there, in tenths and no more than it is.

    >>> rate_here(0.84).word, rate_here(0.98).word, rate_here(0.62)
    ('right 8 in 10', 'right 9 in 10', Rating(word='unsure', figure='right 6 in 10', share=0.62, of_rule=False))
    """
    said = f"right {min(9, max(1, int(10 * likely)))} in 10"
    return Rating(said, share=likely) if likely >= LIKELY else Rating(_UNSURE, said, likely)


def rate(name: Name | None, score: float | None, n: int, *, rule: str | None = None, own: str | None = None) -> Rating:
    """How far what a feature is called can be relied on; the one rule for every command and page.

    `name` is a reader's, where that is what is shown; `score` and `n` are of the rule beneath it or in its place, of kind `rule`; `own` is
    a person's own name. A name that was tried on enough short texts is rated by these, else by its score, else by that of its rule.

    >>> rate(Name("banks", "topic", right=7, tried=12), 0.99, 300)
    Rating(word='sometimes fits', figure='true of 7 of 12', share=0.5833333333333334, of_rule=False)
    >>> rate(Name("banks", "topic"), 0.99, 300)
    Rating(word='usually fits', figure='its rule, 0.99 on 300 places', share=0.98, of_rule=True)
    >>> [rate(Name("banks", "topic", right=right, tried=tried), None, 0).word for right, tried in ((11, 12), (6, 12), (3, 12), (3, 3))]
    ['usually fits', 'sometimes fits', 'seldom fits', 'not tested']
    """
    if own:
        return Rating("yours", "not tested")
    if name is not None and (true := truth(name.right, name.tried)) is not None:
        word = _USUALLY if true >= OFTEN else _SOMETIMES if true >= HALF else _SELDOM
        return Rating(word, f"true of {name.right} of {name.tried}", true)
    tested = name is not None and name.score is not None
    value, places, low = (name.score, name.n, name.low) if tested else (score, n, None)  # type: ignore[union-attr]
    # A rule that says nothing says nothing of a reader's name either.
    if value is None or not math.isfinite(value) or (name is not None and not tested and rule == "none"):
        return Rating(_UNTESTED)
    of_rule = name is not None and not tested
    figure = f"{'its rule, ' if of_rule else ''}{value:.2f} on {number(places)} places"
    return Rating(fits(value, places, low), figure, max(0.0, 2 * value - 1), of_rule)


def rated(hit: "SearchHit") -> Rating:
    """How far the name of a feature that was found can be relied on."""
    return rate(hit.named if hit.named and hit.named.stands_first else None, hit.score, hit.evidence, rule=hit.kind, own=hit.written.label)


def trust(label: Label) -> Iterator[tuple[str, str]]:
    """How far a label is to be trusted: what was measured, and the figure."""
    yield "kind of rule", label.kind if label.kind != "none" else "no name held up"
    if label.token:
        yield "the rule", f"{fits(label.token.value, label.token.positives, label.token.low)} · {score(label.token)}"
    if label.document:
        yield "by document", score(label.document).replace("places", "documents")
    if label.near is not None:
        yield "against near misses", f"{label.near:.2f}"
    if label.strong is not None:
        yield "where it is above half its maximum", f"{label.strong:.2f}"
    if label.control is not None:
        yield "the same search, shuffled", f"{label.control:.2f} (0.5 is chance)"


_GROUPS = {"about": "about: trained to stay the same from token to token", "word": "word: trained on what is new with each token"}


def reading(feature: Feature) -> Iterator[tuple[str, str]]:
    """What a reader calls a feature, who that was, and how well it holds; nothing where nobody read."""
    name = feature.named
    if name is None:
        return
    yield "named", f"{name.name or 'unclear'} · by {name.reader or 'nobody'}"
    if name.name:
        interval = f"[{name.low or 0:.2f}, {name.high or 0:.2f}]"
        found = rate(name, None, 0).word
        if name.tried:
            found += f" · true of {name.right} of {name.tried} short texts in which the feature stands out"
        if name.score is not None:
            found += f" · {name.score:.2f} {interval} on {name.n} held-out places"
        near = "" if name.embedding is None else f" · meaning {name.embedding:.2f}"
        yield "the name", f"{found}{near}"
    if name.note:
        yield "note", name.note
    if feature.label and feature.title != feature.label.text:
        yield "rule", feature.label.text


_KINDS = {
    "reads": "reads: its name tells where it fires; the words it raises gain no more than those of a random step",
    "writes": "writes: it puts words of its own in; no name tells where it fires",
    "both": "reads and writes: its name tells where it fires, and it puts words of its own in",
    "unclear": "unclear: no name tells where it fires, and the words it raises gain no more than those of a random step",
}
NOT_MEASURED = "not measured; `hooke atlas effects` does that"
"""What stands where a feature's effect would."""


def effect(feature: Feature) -> Iterator[tuple[str, str]]:
    """What a feature does when it is added to neutral text, each figure beside what random steps as long do."""
    if feature.effect is None or feature.kind is None:
        yield "when it is added", NOT_MEASURED
        return
    full = feature.effect.full
    yield "kind", _KINDS[feature.kind]
    by_chance = f"a random step as long {nats(full.kl_random[0])}, one in twenty {nats(full.kl_random[1])}"
    moved = f"moves what is expected next by {nats(full.kl.mean)} [{nats(full.kl.low)}, {nats(full.kl.high)}] nats"
    yield f"at {dose(full.dose)} its maximum", f"{moved}; {by_chance}"
    by_chance = f"a random step's own words {_signed(full.gain_random[0])}, one in twenty {_signed(full.gain_random[1])}"
    gained = f"{_signed(full.gain.mean)} [{_signed(full.gain.low)}, {_signed(full.gain.high)}] of the probability goes over to them"
    yield "words raised most", f"{gained}; {by_chance}"
    frozen = "" if full.frozen is None else f"; {percent(full.frozen)} of the other dictionary's features move as much"
    yield "chance", f"{percent(full.kl_p)} of random steps move it as far, of {percent(full.gain_p)} the own words gain as much{frozen}"
    if len(feature.effect.doses) > 1:
        turns = feature.effect.turns
        turned = "" if turns is None else f"; the curve turns: past {dose(turns)} less goes over to its own words again"
        yield "by dose", " · ".join(f"{dose(one.dose)} {nats(one.kl.mean)} nats" for one in feature.effect.doses) + turned


def _signed(share: float) -> str:
    return f"−{percent(-share)}" if share < 0 else percent(share)


def dose(times: float) -> str:
    """A dose as a multiple of a feature's maximum."""
    return f"{times:g} x"


def nats(value: float) -> str:
    """Nats with two digits that matter."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def chance(share: float) -> str:
    """A probability: one in twenty as 5 %, what is next to nothing as such."""
    return percent(share) if share >= 1e-5 else f"< 0.001{_THIN}%"


def facts(feature: Feature) -> Iterator[tuple[str, str]]:
    """The figures of a feature that fit on a line each."""
    if feature.group is not None:
        yield "group", _GROUPS.get(feature.group, feature.group)
    where = f" · {number(feature.count)} tokens in {number(feature.documents)} documents" if feature.count and feature.documents else ""
    yield "fires on", f"{percent(feature.density)} of tokens{where}"
    mean = "" if feature.mean is None else f" · mean {number(feature.mean)} where it fires"
    yield "activation", f"at most {number(feature.max)}{mean}"
    if feature.quantiles and feature.count:
        yield "quantiles", " · ".join(f"{percent(q)} {number(v)}" for q, v in zip(QUANTILES, feature.quantiles, strict=True))
    if feature.persistence is not None and feature.count:
        yield "in a document", f"{percent(feature.persistence)} of its tokens, once it fires there"
    if feature.commonest is not None and feature.purity and feature.count:
        shares = " / ".join(percent(share) for share in feature.purity)
        yield "one token", f"{percent(feature.commonest)} of the places are one token; {shares} of the activation on 1 / 5 / 20 tokens"


def topics(feature: Feature, most: int = 3) -> list[tuple[str, float]]:
    """The topics it speaks for most, with the evidence in nats."""
    ranked = sorted(feature.topics.items(), key=lambda item: (-item[1], item[0]))
    return [(topic, nats) for topic, nats in ranked if nats > 0 and topic != "none"][:most]


def step(value: float, maximum: float) -> int:
    """Step 1 to `STEPS` of the colour scale; 0 where a feature is silent."""
    return 0 if value <= 0 or maximum <= 0 else min(STEPS, math.ceil(STEPS * value / maximum - 1e-9) or 1)


def source(context: Context) -> str:
    """Where a context comes from."""
    return f"{context.corpus} {context.doc}:{context.start + context.peak}"


def heights(histogram: Iterable[int]) -> list[float]:
    """Heights of a histogram's bars in [0, 1], by the logarithm: most features fire weakly a thousand times as often as strongly."""
    logs = [math.log1p(max(0, n)) for n in histogram]
    top = max(logs, default=0.0)
    return [value / top if top else 0.0 for value in logs]
