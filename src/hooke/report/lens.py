"""One text through all layers of a model, in a terminal and as one HTML page: what each would say next, and the features that it holds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from hooke.explain.rules.phrasing import shortened
from hooke.lens import FeatureAt, LayerReading, Lens, SaeReading
from hooke.lens.differing import FeatureDifference, LayerDifference, LensDifference
from hooke.report.document import document, masthead
from hooke.report.tables import table
from hooke.text.marks import marked, stripped
from hooke.text.markup import Markup, tag

_COLUMNS, _WORD = 7, 12
# Nats to the end from which on a cell takes the next stronger tint.
_STEPS = (4.0, 2.0, 1.0, 0.5, 0.25)
# Bits apart from which on it does, where two texts are held against each other.
_APART = (0.02, 0.1, 0.25, 0.5, 0.75)
_TINTS = ("dim", "", "black on #fbecd8", "black on #f2c787", "black on #ecb359", "black on #e69f00")

Titles = Mapping[str, str | None]
_Layer = TypeVar("_Layer", LayerReading, LayerDifference)


def print_lens(result: Lens, titles: Titles, console: Console) -> None:
    """A row a token: what some of the layers would say next, then its features where there are SAEs."""
    layers = _some(result.layers)
    found = table("after", *(f"layer {layer.layer}" for layer in layers), "settled at", padding=(0, 1))
    for pos, token in enumerate(result.tokens):
        cells = [Text(_short(layer.words[pos][0]), style=_TINTS[step_of(layer.kl[pos])]) for layer in layers]
        found.add_row(Text(_short(token), style="bold"), *cells, Text(str(result.settled[pos]), style="dim"))
    console.print(found)
    console.print(Text("what would come next, were this the last layer; the stronger the tint, the nearer to the model's own", style="dim"))
    if not result.saes:
        return
    console.print()
    features = table("on", *(f"layer {one.layer}" for one in result.saes), padding=(0, 1))
    for pos, token in enumerate(result.tokens):
        features.add_row(Text(_short(token), style="bold"), *(Text(_active(one.top[pos], titles)) for one in result.saes))
    console.print(features)
    for line in changes(result.saes):
        console.print(Text(line, style="dim"))


def print_difference(result: LensDifference, titles: Titles, console: Console) -> None:
    """A row for each pair of tokens: how far apart either text's next word is at some of the layers, then the feature that differs most."""
    layers = _some(result.layers)
    found = table("after", *(f"layer {layer.layer}" for layer in layers), padding=(0, 1))
    for pos, pair in enumerate(result.tokens):
        cells = [Text(f"{layer.apart[pos]:.2f}", style=_TINTS[sum(layer.apart[pos] >= least for least in _APART)]) for layer in layers]
        found.add_row(Text(_pair(pair), style="bold"), *cells)
    console.print(found)
    said = "bits between what either text would go on with: 0 is the same, 1 nothing in common"
    console.print(Text(said, style="dim"))
    if not result.saes:
        return
    features = table("on", *(f"layer {one.layer}" for one in result.saes), padding=(0, 1))
    for pos, pair in enumerate(result.tokens):
        features.add_row(Text(_pair(pair), style="bold"), *(Text(_differs(one.most[pos], titles)) for one in result.saes))
    console.print()
    console.print(features)
    console.print(Text("the feature that differs most, as shares of its strongest in the first text and the second", style="dim"))


def _pair(pair: tuple[str, str]) -> str:
    return _short(pair[0]) if pair[0] == pair[1] else f"{_short(pair[0])} | {_short(pair[1])}"


def _differs(one: FeatureDifference | None, titles: Titles) -> str:
    return "–" if one is None else f"{_called(one.feature, titles)} {one.first:.0%} → {one.second:.0%}"


def page(result: Lens, titles: Titles) -> str:
    """A whole HTML page: no script, no outside address."""
    lede = (
        "Down the page the text goes through the model, layer after layer. In each cell stands the word that would come after this one, "
        "were that layer the last: dark where that is what the model says in the end. Point at a cell for more."
    )
    return document(
        f"{stripped(result.text)[:60]} · layers · Hooke",
        files("hooke.report").joinpath("lens.css").read_text("utf-8"),
        tag("header", masthead(tag("bdi", stripped(result.text)), lede)),
        tag(
            "main",
            tag("div", _grid(result, titles), class_="scroll", tabindex=0, role="region", aria_label="Layers by tokens"),
            [tag("p", line, class_="soft") for line in changes(result.saes)],
            tag("p", LIMITS, class_="soft"),
        ),
    )


LIMITS = (
    "A layer is read with the model's own last norm and LM head (logit lens). Early layers were never made to be read so: what they seem "
    "to say is often no word of theirs. A feature is carried on where its decoder's direction is (cosine 0.5 or more on the same token), "
    "which says nothing of causes."
)
"""What is said under every lens."""


def _grid(result: Lens, titles: Titles) -> Markup:
    saes = {one.layer: one for one in result.saes}
    heads = [tag("th", tag("bdi", stripped(token).strip() or "·"), scope="col") for token in result.tokens]
    rows: list[Markup] = []
    for layer in result.layers:
        cells = [_cell(layer, pos) for pos in range(len(result.tokens))]
        rows.append(tag("tr", tag("th", str(layer.layer), scope="row"), cells))
        if (own := saes.get(layer.layer)) is not None:
            names = [_feature(one, fresh, titles) for one, fresh in zip(own.top, own.newest or [None] * len(own.top), strict=True)]
            rows.append(tag("tr", tag("th", "features", scope="row"), names, class_="features"))
    return tag("table", tag("thead", tag("tr", tag("th", "layer", scope="col"), heads)), tag("tbody", rows))


def _cell(layer: LayerReading, pos: int) -> Markup:
    words = " · ".join(f"{stripped(word).strip()} {p:.0%}" for word, p in zip(layer.words[pos], layer.probabilities[pos], strict=True))
    said = f"{words}\n{layer.kl[pos]:.2f} nats from the end; the model's own word is number {layer.rank[pos]:,} here"
    kinds = f"s{step_of(layer.kl[pos])}" + (" first" if layer.rank[pos] == 1 else "")
    return tag("td", tag("bdi", stripped(layer.words[pos][0]).strip() or "·"), class_=kinds, title=said)


def _feature(one: FeatureAt | None, fresh: FeatureAt | None, titles: Titles) -> Markup:
    if one is None:
        return tag("td", "–")
    said = f"{one.feature}: {one.relative:.0%} of its strongest" + (f"; new here: {_name(fresh, titles)}" if fresh else "")
    return tag("td", tag("bdi", _name(one, titles)), title=said)


def changes(saes: Sequence[SaeReading]) -> Iterator[str]:
    """What became of the features between one SAE and the next, in words."""
    for low, high in itertools.pairwise(saes):
        if high.born is None or high.carried is None or high.dropped is None or not sum(high.active) or not sum(low.active):
            continue
        chance = ""
        if high.by_chance is not None:
            chance = f" (by chance, beside the features of another word, {sum(high.by_chance) / sum(high.active):.0%})"
        kept, new, gone = sum(high.carried) / sum(high.active), sum(high.born) / sum(high.active), sum(high.dropped) / sum(low.active)
        yield (
            f"From layer {low.layer} to {high.layer}: of the features active at {high.layer}, {kept:.0%} carry on one of layer {low.layer}"
            f"{chance}, {new:.0%} are new; of those active at {low.layer}, {gone:.0%} are dropped."
        )


def step_of(kl: float) -> int:
    """0 to 5: how near to what the model says in the end."""
    return sum(kl <= most for most in _STEPS)


def _some(layers: Sequence[_Layer]) -> list[_Layer]:
    """About as many layers as a terminal has room for, evenly spread, the first and last among them."""
    count = min(_COLUMNS, len(layers))
    return [layers[round(i * (len(layers) - 1) / max(1, count - 1))] for i in range(count)]


def _short(text: str) -> str:
    shown = marked(text).strip() or "·"
    return shown if len(shown) <= _WORD else shown[: _WORD - 1] + "…"


def _active(one: FeatureAt | None, titles: Titles) -> str:
    return "–" if one is None else f"{_name(one, titles)} {one.relative:.0%}"


def _name(one: FeatureAt, titles: Titles) -> str:
    return _called(one.feature, titles)


def _called(feature: str, titles: Titles) -> str:
    title = titles.get(feature)
    return shortened(stripped(title)) if title else feature.rpartition("/")[2]
