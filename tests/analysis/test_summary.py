"""Over all texts: who is in which topic, by which features, and what must be said beside it."""

import planted
import pytest

from hooke import tiny
from hooke.analysis import Analysis, Options, Reader, TextResult, TopicScore, conclude, wording
from hooke.analysis.labelled_sae import LabelledSae
from hooke.atlas.naming import Name
from hooke.atlas.notes import Notes

TEXTS = [
    "bank profit and shares",
    "no more than that",
    "the striker and the coach",
    "inflation and bonds",
    " ",
    "an old loan",
]


def analyse(model, saes, texts=TEXTS) -> Analysis:
    reader = Reader(model, saes, Options())
    return conclude(reader, list(reader.read(texts)))


@pytest.fixture
def found(model, known) -> Analysis:
    return analyse(model, known[:1])


def test_texts_are_grouped_by_topic_largest_first(found):
    assert [(topic.topic, topic.texts) for topic in found.topics] == [("finance", [0, 3, 5]), ("sport", [2])]
    assert [text.topic for text in found.texts] == ["finance", None, "sport", "finance", None, "finance"]


def test_a_topic_says_which_features_carried_it(found, known):
    (carrier,) = found.topics[0].features
    assert carrier == {
        "feature": f"{known[0].name}/0",
        "sae": known[0].name,
        "index": 0,
        "name": "the word “finance”",
        "name_score": None,
        "name_evidence": 0,
        "name_low": None,
        "name_right": 0,
        "name_tried": 0,
        "named_by": "rule",
        "kind": carrier["kind"],
        "label": "finance",
        "label_score": planted.score(0),
        "label_method": "word",
        "label_evidence": 50,
        "own_label": None,
        "sensitive": False,
        "texts": 3,
    }


def test_a_topics_carriers_have_the_names_of_the_rows_each_once_and_none_without_a_name(model, known, monkeypatch):
    titles = {0: "no consistent meaning found", 1: "money", 2: "money", 3: "loans"}
    plain = LabelledSae.named
    monkeypatch.setattr(LabelledSae, "named", lambda self, i: plain(self, i) | {"name": titles[i], "named_by": "reader", "name_score": 0.9})
    reader = Reader(model, known[:1], Options())
    sae = known[0].name
    scores = [TopicScore("finance", 0.9, [f"{sae}/{i}" for i in features]) for features in ((0, 1, 2), (0, 1, 3), (0,))]
    texts = [TextResult("a", [" a"], [], "finance", [score], 0.9) for score in scores]
    (topic,) = conclude(reader, texts).topics
    assert [(one["feature"], one["name"], one["name_score"], one["texts"]) for one in topic.features] == [
        (f"{sae}/1", "money", 0.9, 2),
        (f"{sae}/3", "loans", 0.9, 1),
    ]
    assert [(wording.named(hit), texts) for hit, texts in wording.carriers(topic)] == [("money", 2), ("loans", 1)]


def test_it_is_said_how_many_names_were_read_and_tested_and_how_often_they_are_wrong(model, known, monkeypatch):
    names = {
        0: Name("money", "topic", score=0.9, low=0.7, n=10, reader="a model"),
        1: Name("goals", "topic", reader="a model"),
        2: Name("", "unclear"),
    }
    monkeypatch.setattr("hooke.atlas.Atlas.names", lambda self, sae: names)
    monkeypatch.setattr("hooke.atlas.Atlas.judged", lambda self, sae: "Three in ten are wrong.")
    found = analyse(model, known[:1])
    assert found.naming == found.limits[0] == "Names are guesses, some of them by a model. Three in ten are wrong."
    how = f"2 of {known[0].d_sae} features were named by a model after reading where they fire, the others by a rule over words."
    assert found.limits[1].startswith(how)
    assert "1 of the names were tested on held-out passages; of the others" in found.limits[1]


def test_a_topics_carrier_bears_your_own_label(model, known, tmp_path):
    notes = Notes(tmp_path / "notes.sqlite")
    notes.put(LabelledSae(known[0]).entry, 0, label="money")
    reader = Reader(model, known[:1], Options(), notes=notes)
    found = conclude(reader, list(reader.read(TEXTS)))
    (carrier,) = found.topics[0].features
    assert (carrier["own_label"], carrier["label"]) == ("money", "finance")
    assert found.to_json()["texts"][0]["features"][0]["own_label"] == "money"


def test_shares_are_of_all_the_evidence_and_none_is_no_topic(found):
    for text in found.texts:
        scores = [topic.score for topic in text.topics]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 1 + 1e-6
        assert "none" not in [topic.topic for topic in text.topics]
    assert found.texts[1].topics == []
    assert found.texts[0].topics[0].score > 0.9


def test_two_topics_in_one_text_share_it(model, known):
    (text,) = analyse(model, known[:1], ["the bank and the goal"]).texts
    assert {topic.topic: round(topic.score, 1) for topic in text.topics} == {"finance": 0.5, "sport": 0.5}
    named = {topic.topic: topic.features for topic in text.topics}
    assert named == {"finance": [f"{known[0].name}/0"], "sport": [f"{known[0].name}/1"]}


def test_each_sae_says_how_much_it_explains_itself(model, known):
    found = analyse(model, known)
    best, half = found.saes
    assert (best["name"], half["name"]) == (known[0].name, known[1].name)
    assert best["explained"] > 0.98
    assert 0.3 < half["explained"] < 0.9
    for text in found.texts:
        assert text.explained is not None
        assert half["explained"] - 0.4 < text.explained < best["explained"]
    assert best["expected"] == pytest.approx(0.99)
    assert {carrier["feature"] for carrier in found.topics[0].features} == {f"{sae.name}/0" for sae in known}


def test_what_limits_it_is_said(model, known, monkeypatch):
    limits = " ".join(analyse(model, known[:1]).limits)
    assert "guess by rule" in limits
    assert analyse(model, known[:1]).limits[0] == analyse(model, known[:1]).naming
    assert "Another SAE" in limits
    assert "unlike" not in limits
    assert "longer" not in limits
    assert "unlike what they were trained on" in " ".join(analyse(model, known[1:], ["no more than that"]).limits)
    monkeypatch.setattr("hooke.analysis.reader.MAX_TOKENS", 3)
    long = ["the old bank and shares", "rain", "an old new next last"]
    assert "2 of the texts were longer" in " ".join(analyse(model, known[:1], long).limits)
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    bare = analyse(model, known[:1])
    assert f"no atlas for this SAE: {known[0].name}." in " ".join(bare.limits)
    assert bare.topics == []


def test_of_no_texts_there_is_nothing_to_say(model, known):
    found = analyse(model, known[:1], [])
    assert (found.texts, found.topics, found.saes[0]["explained"]) == ([], [], None)
    assert found.to_json()["schema_version"] == 1


def test_every_topic_is_the_planted_one(model, known):
    texts = [f"the {words[0]} and the {words[2]}" for words in tiny.concepts.values()]
    assert [text.topic for text in analyse(model, known[:1], texts).texts] == list(tiny.concepts)
