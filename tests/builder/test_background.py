"""Short texts: read in one pass whatever their order, fitted to topics, and a feature named after the topic it follows."""

import numpy as np
import pytest
import torch

from hooke import tiny
from hooke.atlas.records import Label, Score
from hooke.builder.background import Driven, Headlines, TopicEvidence, driven_by, heads, neutral_texts
from hooke.codes import Codes
from hooke.features.corpus_tokens import CorpusTokens
from hooke.text.corpus import Corpus, Window
from hooke.topics import NONE, load_topics

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_text_gets_its_own_largest_activations_in_any_batches():
    model, sae = tiny.model(), tiny.sae()
    texts = [" ".join(words[:n]) for n, words in zip((1, 5, 2, 8, 3), tiny.concepts.values(), strict=False)]
    own = [Window("texts", i, ids) for i, ids in enumerate(model.tokenizer.encode(texts))]
    wanted, acts = [], []
    for window in own:
        acts.append(model.capture(torch.tensor([window.ids]), [sae.site])[sae.site][0, 1:])
        wanted.append(sae.encode(acts[-1]).dense().amax(0))
    for batch in (4, 4096):
        found = driven_by(model, [sae], own, batch)[sae.name]
        torch.testing.assert_close(found.texts.dense(), torch.stack(wanted), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.mean, torch.cat(acts).mean(0), atol=1e-4, rtol=1e-4)
        assert found.explained > 0.99


def test_neutral_texts_are_as_long_as_headlines_and_begin_as_texts_do(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{"the bank of the market " * 9}"}}\n' for _ in range(30)))
    tokenizer = tiny.model().tokenizer
    found = neutral_texts([Corpus("a", tmp_path / "a.jsonl")], tokenizer, 20, 32)
    assert len(found) == 20
    assert all(8 <= len(own.ids) - 1 <= 24 and own.ids[0] == tokenizer.bos and tokenizer.bos not in own.ids[1:] for own in found)
    assert len({len(own.ids) for own in found}) > 5


def test_the_first_tokens_of_windows_that_were_read_are_neutral_texts_of_their_own():
    """By one pass over the whole windows, and by reading their beginnings alone."""
    model, sae = tiny.model(), tiny.sae()
    rng = np.random.default_rng(0)
    words = sorted({word for own in tiny.concepts.values() for word in own})
    ids = model.tokenizer.encode([" ".join(rng.choice(words, int(rng.integers(4, 40)))) for _ in range(30)])
    corpus = np.arange(30) % 3
    table = np.stack([corpus, np.arange(30), np.zeros(30, int), [len(own) - 1 for own in ids]], 1)
    text = CorpusTokens(np.concatenate([own[1:] for own in ids]), table, ("a", "news", "b"))
    codes = [sae.encode(model.capture(torch.tensor([own]), [sae.site])[sae.site][0, 1:]) for own in ids]
    head = heads(text, ["news"], 8)
    shown = {int(number): np.flatnonzero(head == number) for number in np.unique(head[head >= 0])}
    assert sorted(shown) == list(range(8))
    own = [text.window[rows[0]] for rows in shown.values()]
    assert own == sorted(own)
    assert {corpus[window] for window in own} == {0, 2}
    assert all(rows.tolist() == list(range(rows[0], rows[0] + len(rows))) and rows[0] in text.start for rows in shown.values())
    assert all(min(8, table[window, 3]) <= len(rows) <= 24 for window, rows in zip(own, shown.values(), strict=True))
    short = [Window("", 0, ids[window][: 1 + len(rows)]) for window, rows in zip(own, shown.values(), strict=True)]
    apart = driven_by(model, [sae], short, 4096)[sae.name]
    none = Driven(apart.texts.rows(0, 0), apart.mean, apart.explained)
    found = none.beside(Codes.cat(codes).take(torch.from_numpy(np.flatnonzero(head >= 0))), head[head >= 0])
    torch.testing.assert_close(found.texts.dense(), apart.texts.dense(), atol=1e-4, rtol=1e-4)


def test_where_all_text_is_news_that_is_what_neutral_texts_come_from():
    text = CorpusTokens(np.arange(20), np.array([[0, 0, 0, 12], [0, 1, 0, 8]]), ("news",))
    assert np.unique(heads(text, ["news"], 9)).tolist()[-2:] == [0, 1]
    assert heads(text, [], 0).max() == -1


def evidence(further: int = 0) -> tuple[TopicEvidence, int]:
    """Feature 0 fires on all typical headlines of a topic, 1 on every other, 2 on neutral texts, 3 on `further` ones of another topic."""
    topics, none = load_topics()
    typical = torch.tensor([i for i, one in enumerate(topics) for _ in one.examples])
    topic = torch.cat([typical, torch.tensor([len(topics)] * len(none) + [4] * further)])
    dense = torch.zeros(len(topic), 4)
    dense[topic == 2, 0], dense[: len(topic) - further : 2, 1], dense[len(topic) - further :, 3] = 3.0, 1.0, 1.0
    neutral = torch.zeros(200, 4)
    neutral[:, 2] = 0.5
    headlines = Headlines([], topic, [*(one.name for one in topics), NONE], len(typical))
    driven = [Driven(Codes.from_dense(one), torch.zeros(2), 0.9) for one in (dense, neutral)]
    return TopicEvidence.weigh(headlines, *driven, np.array([3.0, 1.0, 1.0, float(further > 0)], np.float32)), int((topic == 2).sum())


def test_headlines_that_are_not_typical_teach_topics_and_nothing_else():
    without, _ = evidence()
    found, _ = evidence(further=40)
    assert found.weights[3].argmax() == 4
    assert without.weights[3].tolist() == [0] * (len(load_topics()[0]) + 1)
    assert (found.background == without.background).all(), "a feature is no less specific for them"
    assert found.rules == without.rules
    assert found.texts == without.texts


def test_all_headlines_are_read_typical_ones_first():
    topics, none = load_topics()
    read, typical = Headlines.encoded(tiny.model().tokenizer, 2), sum(len(topic.examples) for topic in topics)
    assert (len(read.windows), read.typical) == (typical + len(none) + 2 * (len(topics) + 1), typical)
    assert read.topic[typical:].tolist() == [len(topics)] * len(none) + [i for i in range(len(topics) + 1) for _ in range(2)]


def test_topics_are_weighed_and_name_what_follows_them():
    found, count = evidence()
    assert found.texts == 400
    assert found.weights[0].argmax() == 2
    assert found.weights[2].argmax() == len(load_topics()[0])
    own = sum(len(topic.examples) for topic in load_topics()[0])
    assert found.background[0, 0] == round(200 / own * count)
    assert found.background[2].tolist() == [200] * 4 + [0] * 4
    short = load_topics()[0][2].short
    label = found.label(0, Label("place names", "class", token=Score(0.9, 0.8, 0.95, 20, 20), control=0.5))
    assert (label.text, label.kind, label.token, label.control) == (f"texts on {short}", "topic", None, 0.5)
    assert label.document is not None
    assert label.document.value == 1.0 > label.document.low > 0.5
    assert label.document.positives + label.document.negatives <= len(found.rules) * 400


def test_a_label_that_does_better_stays_and_so_does_that_of_a_feature_without_topic():
    found, _ = evidence()
    better, none = Label("it", "token", token=Score(1.0, 0.9, 1.0, 20, 20)), Label("no", "none")
    assert found.label(0, better) is better
    assert [found.label(i, none) for i in (1, 2, 3)] == [none] * 3
