"""What is known of a word by itself."""

import pytest

from hooke.explain.rules.vocabulary import (
    beginning,
    classes,
    classes_of,
    ending,
    families,
    grammatical,
    language_of,
    languages,
    named_classes,
)


def test_classes_of_a_word_are_those_that_hold_it():
    names = list(classes())
    for word in ("paris", "march", "the", "running", "nonsuch"):
        assert sorted(names[number] for number in classes_of(word)) == sorted(name for name, words in classes().items() if word in words)


def test_a_class_can_take_in_others():
    assert {"france", "paris", "texas"} <= classes()["place names"]


def test_words_are_lower_case_and_no_class_is_empty():
    for name, words in classes().items():
        assert words, name
        assert all(word == word.lower() and word.strip() == word for word in words)


def test_words_of_grammar():
    assert {"the", "of", "not", "she"} <= grammatical()
    assert not {"bank", "paris"} & grammatical()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat is on the roof of the house", "English"),
        ("le chat est sur le toit de la maison", "French"),
        ("der hund ist nicht in dem haus und die katze", "German"),
        ("каждый человек имеет право на жизнь и не", "Russian"),
        ("zzz yyy", None),
        ("", None),
    ],
)
def test_language(text, expected):
    found = language_of(text.split())
    assert (None if found < 0 else languages()[found]) == expected


def test_endings_and_beginnings_of_words_long_enough():
    assert (ending("walking", 3), ending("walking", 2), beginning("walking")) == ("ing", "ng", "walk")
    assert (ending("king", 3), beginning("king"), ending("x1234567", 3)) == (None, None, None)


def test_families_are_classes_beside_those_with_names():
    assert classes().keys() - named_classes().keys() == families().keys()
    assert not named_classes().keys() & families().keys()
