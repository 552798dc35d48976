"""A small analysis written by hand: six headlines, two SAEs, three topics, and every awkward case once."""

from dataclasses import replace

import pytest

from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult, TopicScore

SAES = ("gemma-3-270m/resid_post.9/4k", "gemma-3-270m/resid_post.12/4k")


def hit(
    index: int, label: str | None, tokens: list[str], at: dict[int, float], relative: float, layer: int = 1, score: float | None = 0.91
) -> Hit:
    """A feature that fires at the positions `at`; relative is its peak's."""
    pos = max(at, key=lambda p: at[p])
    return Hit(
        feature=f"{SAES[layer]}/{index}",
        sae=SAES[layer],
        index=index,
        label=label,
        label_score=None if label is None else score,
        label_method=None if label is None else "extractive",
        label_evidence=0 if label is None or score is None else 128,
        activation=at[pos],
        relative=relative,
        specificity=2.5 + relative,
        token=tokens[pos],
        pos=pos,
        activations=at,
    )


def text(tokens: list[str], features: list[Hit], topic: str | None, shares: dict[str, float], explained: float | None = 0.86) -> TextResult:
    scores = [TopicScore(name, share, [features[0].feature]) for name, share in shares.items()]
    return TextResult("".join(tokens), tokens, features, topic, scores, explained)


def build() -> Analysis:
    rates = ["Central", " bank", " holds", " rates", " as", " inflation", " cools"]
    river = ["River", " bank", " gives", " way"]
    probe = ["Mer", "cury", " probe", " sends", " back", " first", " close", " images"]
    strike = ["Dock", " workers", " begin", " indefinite", " strike"]
    world = ["Über", "raschung", ":", " كأس", " العالم", " يبدأ", " 👩\u200d🚀", "\u202e", " 地", "震"]
    texts = [
        text(
            rates,
            [
                hit(2817, "interest rates and central banks", rates, {1: 31.2, 3: 44.0, 5: 12.6}, 0.83, score=0.94),
                hit(311, "prices and inflation", rates, {5: 27.5, 6: 6.1}, 0.58),
                hit(92, "no consistent meaning found", rates, {2: 8.0, 6: 7.5}, 0.31, layer=0, score=0.52),
                hit(4001, None, rates, {4: 3.25}, 0.12, layer=0),
            ],
            "economy, business and finance",
            {"economy, business and finance": 0.81, "politics": 0.11},
        ),
        text(
            river,
            [
                hit(1700, "rivers, shores and floods", river, {0: 22.0, 1: 19.5}, 0.64),
                hit(2817, "interest rates and central banks", river, {1: 4.9}, 0.09),
            ],
            "environment",
            {"environment": 0.52, "economy, business and finance": 0.27},
            0.79,
        ),
        text(
            probe,
            [
                hit(55, "spacecraft and planets", probe, {0: 9.0, 1: 33.0, 2: 38.5}, 1.12, score=0.97),
                hit(640, "photographs and images", probe, {7: 14.0}, 0.4, layer=0),
            ],
            "science and technology",
            {"science and technology": 0.9},
            0.91,
        ),
        text(
            strike,
            [hit(77, "strikes and trade unions", strike, {1: 10.0, 4: 41.0}, 0.77)],
            "economy, business and finance",
            {"economy, business and finance": 0.6},
        ),
        text(
            world, [hit(8, "text that is not English", world, {p: 5.0 + p for p in range(10)}, 0.5, score=None)], None, {"sport": 0.2}, 0.42
        ),
        TextResult("\u200b", [], [], None, [], None),
    ]
    topics = [
        TopicResult("economy, business and finance", [0, 3], [carrier(texts[0].features[0], 1), carrier(texts[3].features[0], 1)]),
        TopicResult("environment", [1], [carrier(texts[1].features[0], 1)]),
        TopicResult("science and technology", [2], [carrier(texts[2].features[0], 1)]),
    ]
    saes = [
        {"name": name, "site": name.split("/")[1], "d_sae": 4096, "l0": 49.7, "explained": explained, "expected": 0.87}
        for name, explained in zip(SAES, (0.88, 0.84), strict=True)
    ]
    limits = [
        "The features explain 86 % of what the model computed on these texts at this depth; the rest is not shown.",
        "A label is extracted from texts on which the feature fires; it says where the feature fires, not what the model does with it.",
        "Topics rest on 6 texts.",
    ]
    return Analysis("gemma-3-270m", saes, texts, topics, limits)


def carrier(feature: Hit, texts: int) -> dict[str, object]:
    said = {
        name: getattr(feature, name) for name in ("feature", "label", "label_score", "label_method", "label_evidence", "name", "named_by")
    }
    return {**said, "texts": texts}


@pytest.fixture(scope="session")
def analysis() -> Analysis:
    """The hand-written analysis; nobody changes it."""
    return build()


@pytest.fixture
def renamed(analysis: Analysis) -> Analysis:
    """The same after its reader gave the first feature of the first text, which carries a topic, a label: wages."""
    first, *rest = analysis.texts
    texts = [replace(first, features=[replace(first.features[0], own_label="wages"), *first.features[1:]]), *rest]
    carriers = [{**own, "own_label": "wages"} for own in analysis.topics[0].features]
    return replace(analysis, texts=texts, topics=[replace(analysis.topics[0], features=carriers), *analysis.topics[1:]])


@pytest.fixture
def known(tmp_path, monkeypatch):
    """The planted SAE, known to an atlas and with the share it explains on its card; a second one beside it knows half as much."""
    import planted

    from hooke import tiny

    sae = tiny.sae()
    best = replace(sae, facts=replace(sae.facts, metrics={"l0": 3.5, "fvu": 0.01}))
    W_dec = sae.W_dec.clone()
    W_dec[9:] = 0  # nothing of what tells tokens apart
    half = replace(sae, W_dec=W_dec, facts=replace(sae.facts, name="tiny/resid_post.0/half", metrics={"fvu": 0.2}))
    path = planted.write(tmp_path / "atlas.sqlite", [best, half])
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: path)
    return best, half
