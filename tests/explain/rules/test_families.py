"""Families are told apart by their names, and their words stand in classes like any others."""

from hooke.explain.rules.rule import Rule
from hooke.explain.rules.vocabulary import families


def test_names_are_words_of_the_family():
    for name, words in families().items():
        assert set(name.split(", ")) <= words, name
        assert len(words) >= 3, name


def test_every_word_is_in_one_small_family_and_at_most_one_large_one():
    count: dict[str, int] = {}
    for words in families().values():
        for word in words:
            count[word] = count.get(word, 0) + 1
    assert set(count.values()) <= {1, 2}
    assert all(word == word.lower() and word.isascii() and word.isalpha() for word in count)


def test_a_rule_holds_for_words_that_are_like_the_named_ones():
    name = next(name for name, words in families().items() if {"minister", "senator"} <= words)
    assert Rule.parse({"any": {"class": [name]}}).matches(["The", " Senator", " paid", " the", " minister"]).tolist() == [0, 1, 0, 0, 1]
