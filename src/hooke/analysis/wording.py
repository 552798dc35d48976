"""How an analysis is put into words and steps: the same in the terminal, on the page and in a notebook."""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Container, Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult
from hooke.atlas import Name
from hooke.atlas.wording import FITS, HERE, LIKELY, TRUTH, Rating, rate, rate_here
from hooke.errors import HookeError
from hooke.explain.rules.phrasing import reworded
from hooke.explain.rules.vocabulary import grammatical
from hooke.names import Site
from hooke.text.marks import stripped
from hooke.text.words import stem, words_of

NO_LABEL = "no label"
"""What stands where a label would, when no atlas knows the feature."""
_UNUSUAL = "unusual elsewhere, strong, active on much of the text"
BAR = "how strongly the feature fires here, as a share of the strongest it was ever seen to fire"
_POOR = 0.75
"""Share of what an SAE usually explains below which a text is said to be explained badly."""
_ONE_WORD = re.compile(r"the (?:word|words|verb|name|noun) ['“‘](\w+)['”’]")
"""A name that names one word."""
STEPS = 5
"""Steps of the colour scale; each is a fifth of a feature's maximum."""


def rule_score(hit: Hit) -> str:
    """The score of a feature's rule, with the held-out places it was tested on and the kind of rule; never the one without the others.

    >>> rule_score(Hit("a/1", "a", 1, "bank", 0.934, "extractive", 128, 1.0, 1.0, 3.0, "bank", 0))
    '0.93 on 128 places · extractive'
    """
    how = {"": "method not stated", "none": "no name held up"}.get(stripped(hit.label_method or ""), stripped(hit.label_method or ""))
    return f"{rate(None, hit.label_score, hit.label_evidence).figure or 'unscored'} · {how}"


def order(analysis: Analysis) -> str:
    """In what order the features of what a text is about stand."""
    if _likely(analysis):
        return (
            f"Of the features that say most of the text ({_UNUSUAL}) the likeliest names stand first; names right less than"
            f" {10 * LIKELY:.0f} in 10 are left out, but for the likeliest. The bar is only how strongly each fires."
        )
    return (
        f"Rows stand in order of how much each says of the text: {_UNUSUAL}, and with a name that holds and is often true of such texts."
        " The bar is only one of these."
    )


def scale(analysis: Analysis) -> str:
    """What the words and figures behind names say."""
    tested = f"how well it, or its rule, tells where the feature fires on text it was not made from; {FITS}; {TRUTH}"
    if _likely(analysis):
        return f"“Right 8 in 10”: {HERE}. Of names without that, {tested}."
    return f"Behind a name: {tested}."


def _likely(analysis: Analysis) -> bool:
    return any(hit.likely is not None for text in analysis.texts for hit in text.about)


def rated(hit: Hit) -> Rating:
    """How far a feature's name is to be relied on, and what that rests on: how likely it is right of this text, else the test of the name
    itself, else of the feature's rule; nothing of a feature without a name.

    >>> rated(Hit("a/1", "a", 1, "bank", 0.93, "word", 40, 1.0, 1.0, 3.0, "bank", 0)).word
    'usually fits'
    """
    if hit.title is None:
        return Rating("")
    if hit.likely is not None:
        return rate_here(hit.likely)
    named = hit.named_by == "reader"
    name = Name(hit.name or "", "", score=hit.name_score, low=hit.name_low, n=hit.name_evidence, right=hit.name_right, tried=hit.name_tried)
    return rate(name if named else None, hit.label_score, hit.label_evidence, rule=hit.label_method, own=hit.own_label)


class Words:
    """The words that a text's tokens are pieces of, cut once for all that is said of the text."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.lower, self.at = words_of(tokens)
        """Each word in lower case, and of each token the number of its word."""

    def whole(self, number: int) -> str:
        """A word as it stands in the text."""
        return "".join(self.tokens[pos] for pos in self.pieces(number)).strip(" ")

    def pieces(self, number: int) -> range:
        """Where a word's tokens stand."""
        return range(bisect_left(self.at, number), bisect_right(self.at, number))

    def set_off(self, numbers: Container[int]) -> str:
        """The text with some of its words in «».

        >>> Words(["The", " lend", "ers", "."]).set_off({1})
        'The «lenders».'
        """
        whole = ((number, "".join(self.tokens[pos] for pos in self.pieces(number))) for number in range(len(self.lower)))
        return "".join(re.sub(r"\S.*\S|\S", r"«\g<0>»", word, count=1) if number in numbers else word for number, word in whole)

    def of(self, hit: Hit) -> str:
        """The word of the text at which a feature rises most, of those with some content; else the token it peaks on.

        What a text is about stays on once it is said, and is often strongest words later: *workers* stands for jobs, not *missing*.

        >>> Words([" to", " len", "ders"]).of(Hit("a/1", "a", 1, "bank", 0.9, "word", 4, 3.0, 1.0, 3.0, " to", 0, {0: 3.0, 1: 2.0, 2: 1.0}))
        'lenders'
        """
        number = self._telling(hit)
        return (hit.token.strip(" ") if number is None else self.whole(number)) or "␣"

    def tokens_of(self, hit: Hit) -> Sequence[int]:
        """Where `of` stands among the tokens."""
        number = self._telling(hit)
        return [hit.pos] if number is None else self.pieces(number)

    def says(self, number: int) -> bool:
        """Whether a word has some content: no word of grammar, no sign.

        >>> words = Words(["The", " lenders", " of", " money", "!"])
        >>> [words.whole(number) for number in range(5) if words.says(number)]
        ['lenders', 'money']
        """
        whole = self.whole(number)
        return len(whole) > 2 and any(map(str.isalnum, whole)) and whole.lower() not in grammatical()

    def faint(self, hit: Hit) -> set[int]:
        """The tokens on which a feature is drawn at its palest: of what a text is about, those without content.

        What a text is about stays on once it is said, and is often strongest on words of grammar, which tell a reader nothing.
        """
        if hit.group != "about" or self._telling(hit) is None:
            return set()
        return {pos for pos in hit.activations if 0 <= pos < len(self.at) and not self.says(self.at[pos])}

    def _telling(self, hit: Hit) -> int | None:
        """The number of the word at which a feature rises most above all words of content before; None where it fires on no such word."""
        strongest: dict[int, float] = {}
        for pos, activation in hit.activations.items():
            if 0 <= pos < len(self.at) and activation > strongest.get(self.at[pos], 0):
                strongest[self.at[pos]] = activation
        best, rise, before = None, 0.0, 0.0
        for number, activation in sorted(strongest.items()):
            if self.says(number):
                if best is None or activation - before > rise:
                    best, rise = number, activation - before
                before = max(before, activation)
        return best


def by_word(hits: Sequence[Hit], words: Words) -> list[tuple[str, list[str]]]:
    """The features of a text's words as names behind the word each is strongest on, in the order of the text, each name once (see
    `behind_words`). Of a name that is not to be relied on it is said."""
    found: dict[int, list[str]] = {}
    for hit, name in behind_words(hits, words):
        own = found.setdefault(words.at[hit.pos] if hit.pos < len(words.at) else -1, [])
        said = f"{name} ({rating.word})" if (rating := rated(hit)).poor else name
        if said not in own:
            own.append(said)
    return [(words.whole(number) or "␣", found[number]) for number in sorted(found)]


def behind_words(hits: Sequence[Hit], words: Words, *, to_try: bool = False) -> list[tuple[Hit, str]]:
    """The features of a text's words that are shown behind the word each is strongest on, with what each is called there.

    A feature named after one word is *like 'water'* where it fires on “rain”. What tells features of one name apart is left out, and,
    where there are others, names of grammar and what fires on its words; names of letters and signs, those that only say the word again,
    and those that seldom fit. `to_try` gives those whose names can be tried there: the same whatever came of tries before.
    """
    telling: list[tuple[Hit, str]] = []
    grammar: list[tuple[Hit, str]] = []
    others: list[tuple[Hit, str]] = []
    for hit in hits:
        name = named(hit).partition(" → ")[0]
        word = _ONE_WORD.fullmatch(name)
        again = word is not None and hit.pos < len(words.at) and words.lower[words.at[hit.pos]].startswith(stem(word[1].lower()))
        said = f"like '{word[1]}'" if word and not again else name
        bare = hit.kind == "grammar" or (hit.pos < len(words.at) and not words.says(words.at[hit.pos]))
        left_out = again or hit.kind in ("form", "unclear") or (rated(hit).poor and not to_try)
        (others if left_out else grammar if bare else telling).append((hit, said))
    return telling or grammar or ([] if to_try else others)


def carriers(topic: TopicResult) -> list[tuple[Hit, int]]:
    """The features that carried a topic, to be shown as rows are, each with its number of texts; of those with one name the first."""
    known = {field.name for field in fields_of(Hit)}
    bare = {"sae": "", "index": 0, "label": None, "label_score": None, "label_method": None, "label_evidence": 0, "activation": 0.0}
    bare |= {"relative": 0.0, "specificity": 0.0, "token": "", "pos": 0, "group": "about"}
    found: dict[str, tuple[Hit, int]] = {}
    for feature in topic.features:
        own = {name: value for name, value in feature.items() if name in known}
        hit = Hit(**(bare | own))
        hit = hit if hit.name or not hit.label else replace(hit, name=reworded(hit.label))
        found.setdefault(named(hit), (hit, int(feature.get("texts") or 0)))
    return list(found.values())


def topic(text: TextResult) -> str:
    """A text's topic with its share; of a text without one, what comes closest.

    >>> from hooke.analysis.result import TopicScore
    >>> topic(TextResult("rain", [], [], None, [TopicScore("economy, business and finance", 0.31, [])], None))
    'no topic sure enough; closest: economy 31\u202f%'
    """
    share = {score.topic: score.score for score in text.topics}
    if text.topic is not None:
        return stripped(text.topic) + (f" {percent(share[text.topic])}" if text.topic in share else "")
    closest = next(iter(share.items()), None)
    return "no topic sure enough" + (f"; closest: {short_topic(closest[0])} {percent(closest[1])}" if closest else "")


def short_topic(name: str) -> str:
    """A topic by its first words, as the news industry's long names allow.

    >>> short_topic("economy, business and finance")
    'economy'
    """
    return stripped(name).partition(",")[0].partition(" and ")[0]


def strength(hit: Hit) -> str:
    """A feature's peak as a share of its maximum, in per cent; of one that fired more strongly than ever before, 100."""
    return percent(min(hit.relative, 1.0) if math.isfinite(hit.relative) else hit.relative)


def usual(sae: Mapping[str, Any]) -> str:
    r"""How much of these texts an SAE explains, beside what is usual for it.

    >>> usual({"explained": 0.79, "expected": 0.85, "expected_headlines": 0.77, "expected_short": 0.81})
    'explains 79\u202f% here; usual are 77\u202f% of headlines, 81\u202f% of other short texts, 85\u202f% of long ones'
    """
    kinds = (("expected_headlines", "headlines"), ("expected_short", "other short texts"), ("expected", "long ones"))
    known = [f"{percent(sae[key])} of {kind}" for key, kind in kinds if sae.get(key) is not None]
    if len(known) < len(kinds):
        return f"explains {percent(sae.get('explained'))} here; {percent(sae.get('expected'))} of the long texts on its card"
    return f"explains {percent(sae.get('explained'))} here; usual are {', '.join(known)}"


def about(text: TextResult) -> list[Hit]:
    """What a text's first list shows: what it is about; of an analysis that has no such list, the features that stand out."""
    return text.about or ([] if text.words else text.features)


def named(hit: Hit) -> str:
    """What a feature is called, safe to show; in the list of what a text is about, what a rule's name is about.

    >>> named(Hit("a/1", "a", 1, None, None, None, 0, 1.0, 1.0, 3.0, "bank", 0))
    'no label'
    >>> named(Hit("a/1", "a", 1, "texts on sport", 0.9, "topic", 9, 1.0, 1.0, 3.0, "cup", 0, name="about sport", group="about"))
    'sport'
    """
    name = stripped(hit.title or "")[:200]
    return (name.removeprefix("about ") if hit.group == "about" and not hit.own_label else name) or NO_LABEL


def address(feature: str) -> tuple[str, str, str, str]:
    """A feature's address in four parts, of which the second and the last are enough where one SAE a layer is shown.

    >>> address("gemma-3-270m/resid_post.12/8k/6213")
    ('gemma-3-270m/resid_post.', '12', '/8k', '/6213')
    """
    found = re.fullmatch(r"(.*\.)([0-9]+)(/[^/]*)(/[0-9]+)", stripped(feature))
    return (found[1], found[2], found[3], found[4]) if found else ("", stripped(feature), "", "")


def short_address(hit: Hit, analysis: Analysis) -> str:
    """A feature's address as `hooke feature` takes it, the shortest that means no other."""
    short = next((sae.get("short") for sae in analysis.saes if sae.get("name") == hit.sae), None)
    return stripped(f"{short}/{hit.index}" if short else hit.feature)


def strongest(hit: Hit, tokens: Sequence[str]) -> list[tuple[str, float]]:
    """The tokens on which a feature fired, strongest first, with its activations."""
    ranked = sorted(hit.activations.items(), key=lambda item: (-item[1], item[0]))
    return [(tokens[pos], value) for pos, value in ranked if 0 <= pos < len(tokens)]


def past_maximum(hit: Hit) -> bool:
    """Whether a feature fired more strongly here than ever in the atlas' corpus."""
    return math.isfinite(hit.relative) and hit.relative > 1


def tints(hit: Hit, words: Words) -> dict[int, int]:
    """The `steps` that a text is tinted in: on words of grammar the palest, of what the text is about (see `Words.faint`)."""
    return steps(hit) | dict.fromkeys(words.faint(hit), 1)


def steps(hit: Hit) -> dict[int, int]:
    """Step 1 to ``STEPS`` of the colour scale, by position: fifths of the feature's maximum.

    Where no maximum is known (`relative` not above 0), the peak in this text stands for it.
    """
    known = math.isfinite(hit.relative) and hit.relative > 0
    top = hit.activation / hit.relative if known else hit.activation
    values = hit.activations or {hit.pos: hit.activation}
    return {pos: min(STEPS, math.ceil(STEPS * value / top - 1e-9) or 1) for pos, value in values.items() if value > 0 and top > 0}


def percent(share: float | int | None) -> str:
    """A share in whole per cent.

    >>> percent(0.874)
    '87\\u202f%'
    """
    return "not measured" if share is None or not math.isfinite(share) else f"{100 * share:.0f}\u202f%".replace("-", "−")


def explained(share: float | None, saes: Sequence[Mapping[str, Any]]) -> str:
    """How much of a text the features account for, in words; nothing where that is as usual for these SAEs.

    >>> explained(0.8, [{"expected": 0.85}]), explained(0.4, [{"expected": 0.85}])
    ('', 'only 40\u202f% explained')
    """
    known = [sae.get("expected") for sae in saes]
    usual = min((one for one in known if one is not None), default=None)
    if share is None or not math.isfinite(share):
        return "explained share not measured"
    if usual is None or None in known:
        return f"{percent(share)} explained"
    return f"only {percent(share)} explained" if share < _POOR * usual else ""


def fields(text: TextResult) -> str:
    """What came with a text, each value with its name; long ones shortened.

    >>> fields(TextResult("rain", [], [], None, [], None, fields={"id": 17, "desk": "Weather", "note": None}))
    'id 17 · desk Weather'
    """
    known = [(stripped(name), stripped(str(value))) for name, value in text.fields.items() if value not in (None, "")]
    return " · ".join(f"{name} {value if len(value) <= 80 else value[:79] + '…'}" for name, value in known)


def clipped(share: float | int) -> float:
    """A share as the length of a bar, in [0, 1]."""
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


def number(value: float | int | None) -> str:
    """Three significant digits, thousands apart."""
    if value is None or not math.isfinite(value):
        return "not measured"
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def site(text: object) -> str:
    """A site as people say it: layer first."""
    try:
        parsed = Site.parse(str(text))
    except HookeError:
        return str(text)
    return f"layer {parsed.layer}, {parsed.kind}"


def count(n: int, noun: str) -> str:
    """A number with its noun.

    >>> count(2, "text")
    '2 texts'
    """
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"
