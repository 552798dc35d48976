"""Topics are fitted from features: planted ones are found, and what belongs to none is told apart."""

import torch

from hooke.topics import NONE, fit, further_headlines, load_topics, topic_rules, topic_vectors

TOPICS, PER_TOPIC, FEATURES, BACKGROUND = 5, 12, 40, 600


def planted(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of each topic fire two of its four features, and all fire some of the others; the background fires only those."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(TOPICS).repeat_interleave(PER_TOPIC), torch.full((BACKGROUND,), TOPICS)])
    relative = torch.zeros(len(labels), FEATURES)
    noise = torch.randint(4 * TOPICS, FEATURES, (len(labels), 4), generator=generator)
    relative.scatter_(1, noise, torch.rand(noise.shape, generator=generator))
    for row, label in enumerate(labels.tolist()):
        if label < TOPICS:
            own = 4 * label + torch.randperm(4, generator=generator)[:2]
            relative[row, own] = 0.5 + torch.rand(2, generator=generator)
    return topic_vectors(relative), labels


def test_planted_topics_are_told_apart_on_texts_not_seen():
    weights = fit(*planted(0), TOPICS + 1)
    vectors, labels = planted(1)
    right = (vectors @ weights).argmax(1) == labels
    assert float(right[labels < TOPICS].float().mean()) > 0.95
    assert float(right[labels == TOPICS].float().mean()) > 0.95
    # Every topic's weight sits on its own features, so that an assignment names the features that made it.
    assert torch.equal(weights[: 4 * TOPICS].argmax(1), torch.arange(TOPICS).repeat_interleave(4))


def test_classes_count_alike_however_many_texts_they_have():
    weights = fit(*planted(0), TOPICS + 1)
    torch.testing.assert_close(weights.sum(1), torch.zeros(FEATURES), atol=1e-5, rtol=0)
    share = (planted(1)[0] @ weights).softmax(1)[:PER_TOPIC, 0]
    assert float(share.median()) > 0.7, "fifty times as many texts of the background must not drown a topic"


def test_the_fit_is_deterministic():
    assert torch.equal(fit(*planted(0), TOPICS + 1), fit(*planted(0), TOPICS + 1))


def test_vectors_have_length_one_and_nothing_stays_nothing():
    vectors = topic_vectors(torch.tensor([[0.25, 0.0, 1.0], [0.0, 0.0, 0.0], [4.0, 0.0, -1.0]]))
    torch.testing.assert_close(vectors, torch.tensor([[0.2**0.5, 0, 0.8**0.5], [0, 0, 0], [1.0, 0, 0]]))


def test_the_list_of_topics():
    topics, none = load_topics()
    assert len(topics) >= 12
    for field in ("name", "short", "code"):
        assert len({getattr(topic, field) for topic in topics}) == len(topics)
    assert NONE not in {topic.name for topic in topics}
    further = further_headlines(10_000)
    assert {number for _, number in further} == set(range(len(topics) + 1))
    assert [number for _, number in further_headlines(1)] == list(range(len(topics) + 1))
    lines = [line for topic in topics for line in topic.examples] + list(none) + [line for line, _ in further]
    assert len({line.lower() for line in lines}) == len(lines), "one line cannot teach two topics"
    assert all(len(topic.examples) >= 10 for topic in topics)
    assert len(none) >= 10
    assert all(line == line.strip() and line for line in lines)


def test_topic_rules_name_the_topic_and_score_it_on_texts_not_used_to_choose():
    labels = torch.arange(3).repeat_interleave(20)
    relative = torch.zeros(60, 3)
    relative[labels == 1, 0] = 0.9  # fires on all of topic 1 and on nothing else
    relative[::2, 1] = 0.9  # fires on half of every topic
    relative[labels == 2, 2] = 0.1  # too weakly to count as driven, but not silent
    relative[1, 2] = 0.9
    clear, half, weak = topic_rules(relative, labels, 3, strong=0.25)
    assert (clear.topic, clear.score, clear.driven, clear.silent) == (1, 1.0, 10, 20)
    assert half.score <= 0.5
    assert weak.driven == 1
