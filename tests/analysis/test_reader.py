"""Texts in, the planted concepts out: on the right token, in the order the texts came, however the work is cut up."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pandas
import planted
import pytest
import torch

import hooke
from hooke import tiny
from hooke.analysis import Options, Reader, TextResult
from hooke.analysis import reader as reader_module
from hooke.errors import BadConfig, BadFile, Missing, ShapeMismatch, UnknownName

CONCEPTS = list(tiny.concepts)
TEXTS = [
    "Bank profit and inflation",
    " ",
    "the old choir",
    "After the trial the jury and the judge agree on a verdict in the long case",
    "rain",
    "no more than that",
    "vaccine for patients after the storm",
]


@pytest.fixture
def reader(model, known) -> Reader:
    return Reader(model, known[:1], Options())


def one(reader: Reader, text: str) -> TextResult:
    (result,) = reader.read([text])
    return result


@pytest.mark.parametrize("index", range(len(CONCEPTS)))
def test_the_planted_concept_is_on_top(reader, index):
    words = [word for word in tiny.concepts[CONCEPTS[index]] if word != "court"]
    result = one(reader, f"the first {words[0]} and the last {words[1]} with {words[2]}")
    (hit,) = result.features
    assert (hit.index, hit.label) == (index, CONCEPTS[index])
    assert hit.token.strip() in words
    assert result.tokens[hit.pos] == hit.token
    assert [result.tokens[pos].strip() for pos in hit.activations] == words[:3]
    assert hit.activation == pytest.approx(planted.STRENGTH, rel=0.1)
    assert hit.relative == pytest.approx(1, rel=0.1)
    assert result.topic == CONCEPTS[index]
    assert result.topics[0].features[0] == hit.feature
    assert "".join(result.tokens) == result.text


def test_a_word_with_two_meanings_shows_both(reader):
    result = one(reader, "the court")
    assert {hit.label for hit in result.features} == {"sport", "justice"}
    assert {topic.topic for topic in result.topics} >= {"sport", "justice"}


def test_what_fires_everywhere_is_left_out(reader):
    for result in reader.read(TEXTS):
        assert all(hit.index < tiny.UBIQUITOUS for hit in result.features)


def test_the_first_position_is_left_out(reader):
    """<bos> drives every concept: were it read, every text would be about everything."""
    result = one(reader, "no more than that")
    assert result.features == []
    assert result.topic is None
    assert result.tokens == ["no", " more", " than", " that"]


@pytest.mark.parametrize("text", [" ", "", "\n"])
def test_a_text_of_nothing_has_no_features(reader, text):
    result = one(reader, text)
    assert (result.text, result.features, result.topic) == (text, [], None)
    assert "".join(result.tokens) == text
    if not text:
        assert result.explained is None


def assert_same(found: list[TextResult], wanted: list[TextResult]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.text, ours.tokens, ours.topic) == (theirs.text, theirs.tokens, theirs.topic)
        assert [(hit.feature, hit.pos, hit.token) for hit in ours.features] == [
            (hit.feature, hit.pos, hit.token) for hit in theirs.features
        ]
        assert [hit.activation for hit in ours.features] == pytest.approx([hit.activation for hit in theirs.features], rel=1e-4)
        assert [t.topic for t in ours.topics] == [t.topic for t in theirs.topics]
        assert ours.explained == pytest.approx(theirs.explained, abs=1e-4)


@pytest.mark.parametrize(("batch_tokens", "chunk"), [(1, 1), (1, 100), (16, 2), (4096, 3)])
@pytest.mark.parametrize("atlas", [True, False])
def test_results_do_not_depend_on_how_the_work_is_cut(model, known, monkeypatch, batch_tokens, chunk, atlas):
    if not atlas:
        monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    wanted = [one(Reader(model, known[:1], Options()), text) for text in TEXTS]
    assert [result.text for result in wanted] == TEXTS
    assert_same(list(Reader(model, known[:1], Options(batch_tokens=batch_tokens, chunk=chunk)).read(TEXTS)), wanted)


def test_results_come_a_chunk_at_a_time(model, known):
    taken = []

    def texts():
        for text in TEXTS:
            taken.append(text)
            yield text

    results = Reader(model, known[:1], Options(chunk=2)).read(texts())
    assert next(results).text == TEXTS[0]
    assert taken == TEXTS[:2]


def test_a_long_text_is_read_in_windows(reader, model):
    assert model.context == 128
    words = ["the"] * 500
    words[300], words[301] = "choir", "opera"
    result = one(reader, " ".join(words))
    assert len(result.tokens) == 500
    (hit,) = result.features
    assert sorted(hit.activations) == [300, 301]
    assert result.tokens[hit.pos] == hit.token
    assert (hit.label, result.topic, result.truncated) == ("music", "music", 0)


def test_what_is_too_long_is_cut_and_counted(reader, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_TOKENS", 200)
    words = ["the"] * 250
    words[199], words[200] = "choir", "goal"
    result = one(reader, " ".join(words))
    assert (len(result.tokens), result.truncated) == (200, 50)
    assert [(hit.label, hit.pos) for hit in result.features] == [("music", 199)]


@pytest.mark.parametrize("pool", ["max", "sum", "mean"])
def test_pooling_ranks_and_strength_is_of_the_peak(model, known, pool):
    result = one(Reader(model, known[:1], Options(pool=pool)), "the rain and snow")
    assert result.features[0].label == "weather"
    assert result.features[0].relative == pytest.approx(1, rel=0.1)
    assert result.features[0].activation == pytest.approx(planted.STRENGTH, rel=0.1)


def test_a_feature_on_more_of_the_text_stands_before_one_as_strong_on_a_word(model, known):
    result = one(Reader(model, known[:1], Options()), "the goal and rain and snow and wind")
    assert [hit.label for hit in result.about[:2]] == ["weather", "sport"]
    assert {hit.group for hit in result.about} == {"about"}
    assert {hit.group for hit in result.words} <= {"words"}


def test_labels_that_score_too_little_are_left_out(model, known):
    text = "choir and bank"  # music scores 0.6, finance 0.95
    assert {hit.label for hit in one(Reader(model, known[:1], Options()), text).features} == {"music", "finance"}
    assert [hit.label for hit in one(Reader(model, known[:1], Options(min_label_score=0.9)), text).features] == ["finance"]


def test_at_most_top_features_and_two_on_one_token(model, known):
    text = "bank goal rain doctors election judge scientists album"
    reader = Reader(model, known, Options(top=5))
    result = one(reader, text)
    assert len(result.features) == 5
    for pos in range(len(result.tokens)):
        assert sum(hit.pos == pos for hit in result.features) <= 2


def test_explained_is_one_minus_the_share_of_variance_left(reader, model, known):
    text = "the judge and the old choir"
    result = one(reader, text)
    acts = model.capture(torch.tensor(model.tokenizer.encode([text])), [known[0].site])[known[0].site][0, 1:]
    mean = torch.from_numpy(reader.labelled_saes[0].entry.mean.copy())
    wanted = 1 - float((acts - known[0].reconstruct(acts)).square().sum() / (acts - mean).square().sum())
    assert result.explained == pytest.approx(wanted, abs=1e-4)
    assert reader.explained[0] == pytest.approx(wanted, abs=1e-4)


def test_an_sae_that_names_another_model_is_tried_though_an_atlas_knows_it(model, known):
    other = replace(known[0], facts=replace(known[0].facts, model="gemma-3-270m"))
    told: list[str] = []
    Reader(model, [other], Options(), told.append)
    assert "was trained on gemma-3-270m, not on tiny" in told[-1]
    with pytest.raises(ShapeMismatch, match="trained on gemma-3-270m, not on tiny"):
        Reader(model, [replace(other, W_dec=other.W_dec.flip(0))], Options())


def test_an_sae_of_another_width_is_refused(model, known):
    wide = replace(known[0], W_enc=torch.zeros(48, tiny.D_SAE))
    with pytest.raises(ShapeMismatch, match=r"reads width 48 at resid_post\.0.*tiny has width 32"):
        Reader(model, [wide], Options())


def test_a_layer_the_model_lacks_is_refused(model, known):
    deep = replace(known[0], facts=replace(known[0].facts, name="tiny/resid_post.7/64"))
    with pytest.raises((UnknownName, BadConfig), match=r"resid_post\.7"):
        Reader(model, [deep], Options())


@pytest.mark.parametrize("batch_tokens", [8, 1024])
def test_weights_that_do_not_belong_are_told(model, known, batch_tokens):
    """Also where no single batch holds enough tokens to judge by."""
    wrong = replace(known[0], W_enc=known[0].W_enc.roll(1, 1))
    texts = ["the bank and the old choir after the storm"] * 12
    assert len(list(Reader(model, known[:1], Options(batch_tokens=batch_tokens)).read(texts))) == 12
    told: list[str] = []
    assert len(list(Reader(model, [wrong], Options(batch_tokens=batch_tokens), told.append).read(texts))) == 12
    (said,) = [line for line in told if line.startswith("Warning: ")]
    assert re.search(r"explains .*% \(on its card 99%\).* at resid_post\.0 on ordinary text.*or its weights are damaged", said)


def test_half_a_surrogate_pair_is_named(reader):
    with pytest.raises(BadFile, match="not valid UTF-8"):
        list(reader.read(["fine", "caf\udce9"]))


@pytest.mark.parametrize(
    "wrong", [{"top": 0}, {"batch_tokens": 0}, {"chunk": 0}, {"min_label_score": 1.5}, {"min_label_score": float("nan")}, {"top": 10**9}]
)
def test_options_that_cannot_be(wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        Options(**wrong)


def test_options_that_are_no_numbers():
    with pytest.raises(BadConfig, match="top is 'many'; it must be from 1 to 100,000"):
        inspect.unwrap(Options.__init__)(object.__new__(Options), top="many")


def test_sae_files_that_are_not_there_are_named_before_the_model_is_read(tmp_path):
    with pytest.raises(Missing, match=r"nothing\.safetensors"):
        Reader.load("no such model", [str(tmp_path / "nothing.safetensors")], Options())
    with pytest.raises(Missing, match="holds no SAE"):
        Reader.load("no such model", [str(tmp_path)], Options())


@pytest.fixture
def planted_default(model, known, monkeypatch):
    """`analyze` with the planted model and SAE where the pack's would be."""
    return lambda texts, **options: hooke.analyze(texts, model=model, saes=known[:1], **options)


def test_a_lone_string_is_one_text(planted_default):
    text = "the bank and the judge in the rain"
    alone, listed = planted_default(text, top=2), planted_default([text], top=2)
    assert alone.texts == listed.texts
    assert [len(result.features) for result in alone.texts] == [2]
    assert len(planted_default(text, top=1).texts[0].features) == 1
    assert planted_default(iter([text])).texts[0].text == text
    assert planted_default([]).texts == []


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["rain", None], r"texts\[1\] is None \(NoneType\), not text"),
        (["rain", "snow", float("nan")], r"texts\[2\] is nan \(float\)"),
        ([b"rain"], r"texts\[0\] is b'rain' \(bytes\)"),
    ],
)
def test_what_is_no_text_is_named_by_its_index_before_the_model_is_loaded(texts, said):
    with pytest.raises(BadConfig, match=said):
        hooke.analyze(texts, model="no such model", saes="no such sae")


@pytest.mark.parametrize("texts", [None, 7, float("nan"), b"rain", Path("rain.txt"), {"rain": 1}, pandas.DataFrame({"text": ["rain"]})])
def test_what_are_no_texts_is_said_before_the_model_is_loaded(texts):
    with pytest.raises(BadConfig, match=rf"texts is (?s:.)*\({type(texts).__name__}\), not texts. Give a text, a list"):
        inspect.unwrap(hooke.analyze)(texts, model="no such model", saes="no such sae")


def test_one_sae_may_stand_alone(model, known):
    assert hooke.analyze("rain", model=model, saes=known[0]).texts == hooke.analyze("rain", model=model, saes=known[:1]).texts


def test_a_glance_finds_what_reading_finds(known, model):
    texts = ["Bank profit beats the forecast", "", "Rain stops the match", "Doctors say vaccine is new " * 40]
    reader = Reader(model, [known[0]], Options(top=1000, pool="mean", batch_tokens=64))
    read, glanced = list(reader.read(texts)), list(reader.glance(texts))
    for text, glance in zip(read, glanced, strict=True):
        assert glance.tokens == len(text.tokens)
        assert glance.topic == text.topic
        fired = dict(zip(glance.fired[0].feature.tolist(), glance.fired[0].peak.tolist(), strict=True)) if glance.tokens else {}
        assert {hit.index: hit.activation for hit in text.features}.items() <= fired.items()
    acts = model.capture(texts[0], [known[0].site])
    assert glanced[0].acts == pytest.approx(acts[known[0].site][acts.keep].float().mean(0).numpy(), abs=1e-5)
    assert not glanced[1].acts.any()
