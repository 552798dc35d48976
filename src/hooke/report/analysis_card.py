"""What opens behind a feature's row in an analysis: passages that it fires on, what it does, how its name was tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hooke.analysis import wording
from hooke.analysis.result import Hit
from hooke.analysis.wording import NO_LABEL, number, past_maximum
from hooke.atlas import NO_MEANING
from hooke.atlas.feature import Feature
from hooke.atlas.wording import HERE
from hooke.explain.rules.phrasing import in_full, shortened
from hooke.explain.rules.rule import Rule
from hooke.report.document import veiled
from hooke.report.feature import highlighted
from hooke.text.marks import stripped
from hooke.text.markup import Markup, join, tag

_CONTEXTS, _BEFORE, _AFTER = 5, 12, 8
"""Contexts of an opened feature, and tokens shown on each side of their peaks."""
_RELATIVES, _FIRED, _RULE = 4, 8, 400
_ALIKE = 0.3
"""Cosine of what two features write, below which they are not called alike: less is common between any two."""


Features = Mapping[str, Feature]
"""What an atlas knows of features, by address."""


@dataclass(frozen=True)
class Known:
    """What a page says of features, of each of them once."""

    features: Features
    first: dict[str, tuple[int, int]]
    """The text that shows a feature first, and the row there: what is known of it stands behind that row, and is linked to from others."""

    def anchor(self, feature: str) -> str:
        """Where that row is."""
        return "f{}-{}".format(*self.first[feature])


def card(i: int, hit: Hit, tokens: Sequence[str], known: Known) -> Markup:
    """What is known of `hit`, which fired in the text numbered `i`, of `tokens`; all of it only where the page shows the feature first."""
    fired = [join(_quoted(token), f" {number(value)}") for token, value in wording.strongest(hit, tokens)]
    more = [join(f"{len(fired) - _FIRED} more")] if len(fired) > _FIRED else []
    above = [join("stronger than ever in the atlas' text")] if past_maximum(hit) else []
    here = Markup(" · ".join([join(f"at {wording.strength(hit)} of its strongest"), *fired[:_FIRED], *more, *above]))
    lines = [("in this text", here)]
    where, _ = known.first[hit.feature]
    if where != i:
        more = tag("a", f"is said with text {where + 1}", href=f"#{known.anchor(hit.feature)}")
        return tag("div", _lines([*lines, ("what it is", more)]), class_="card")
    feature = known.features.get(hit.feature)
    if feature and feature.promoted:
        promoted = {token.text.strip().casefold(): token.text.strip() for token in reversed(feature.promoted[:8])}
        lines.append(("pushes the model to say next", tag("bdi", ", ".join(f"“{text}”" for text in reversed(promoted.values())))))
    lines.append(("how well the name was tested", _tested(hit)))
    contexts = _contexts(feature) if feature else None
    return tag("div", veiled(contexts) if contexts and hit.sensitive else contexts, _lines(lines), _details(hit, feature), class_="card")


def _details(hit: Hit, feature: Feature | None) -> Markup:
    """What only few will ask of a feature, one step further."""
    lines: list[tuple[str, Markup | str]] = []
    if rule := _rule(hit, feature):
        lines.append(("its rule", tag("bdi", stripped(rule)[:_RULE])))
    if hit.label_score is not None and not hit.own_label:
        lines.append(("the rule's score", wording.rule_score(hit)))
    lines.append(("unusual by", f"{number(hit.specificity)} nats of specificity against other texts"))
    near = [r for r in feature.neighbours if r.value >= _ALIKE][:_RELATIVES] if feature else []
    if near:
        lines.append(("features that write alike", tag("bdi", ", ".join(shortened(stripped(r.label or NO_LABEL)) for r in near))))
    lines.append(("look it up", join("hooke feature ", _address(hit.feature))))
    return tag("details", tag("summary", "more of this feature"), _lines(lines), class_="more")


def _lines(lines: Sequence[tuple[str, Markup | str]]) -> Markup:
    return tag("dl", [join(tag("dt", name), tag("dd", said)) for name, said in lines])


def _quoted(text: str) -> Markup:
    """A token in quotation marks, which keep to it where it runs from right to left."""
    said = f"“{text.strip(' ') or '␣'}”"
    return join(said) if said[1:-1].isascii() else tag("bdi", said)


def _contexts(feature: Feature) -> Markup | None:
    """Text of the atlas' corpus that the feature fires on, from the strongest down its range."""
    chosen = [*feature.top[:3], *(own[0] for own in reversed(feature.intervals) if own)]
    chosen = (chosen + feature.top[3:])[:_CONTEXTS]
    rows = [tag("li", highlighted(context.near(_BEFORE, _AFTER), feature.max), dir="auto") for context in chosen]
    return tag("ul", rows, class_="contexts") if rows else None


def _tested(hit: Hit) -> Markup:
    """Who named it, what was tested and how that went, as a sentence."""
    rating, rule = wording.rated(hit), hit.label_score is not None and hit.label_method != "none"
    word = rating.word
    if hit.own_label or hit.likely is not None:
        return join(tag("b", word), rating.behind, f": {HERE}" if hit.likely is not None else None)
    if hit.name_score is not None:
        said = f": a second reader who saw only the name was right at {hit.name_score:.2f} on {number(hit.name_evidence)} held-out places"
    elif hit.named_by == "reader":
        said = ": somebody read where it fires and named it; " + ("what was tested is its rule" if rule else "no rule fits it either")
    else:
        said = ": the name is its rule in short" if rule else ": nobody named it, and no rule fits it"
    if hit.name_score is None and rule:
        said += f", right at {hit.label_score:.2f} on {number(hit.label_evidence)} held-out places"
    return join(tag("b", word), f"{said} (0.5 is chance)" if rule or hit.name_score is not None else said)


def _rule(hit: Hit, feature: Feature | None) -> str | None:
    """The whole rule behind a feature's label, where it is known; else the label, where the name says less."""
    if feature and feature.label and not {"any", "all", "points"}.isdisjoint(feature.label.rule):  # the rule is of a topic, else
        return in_full(Rule.parse(feature.label.rule))
    return hit.label if hit.label not in (hit.name, NO_MEANING) else None


def _address(feature: str) -> Markup:
    """An address, short to look at, whole when it is copied or read aloud."""
    first, layer, width, index = wording.address(feature)
    hidden = [tag("span", part, class_="vh") if part else None for part in (first, width)]
    return tag("code", hidden[0], layer, hidden[1], index)
