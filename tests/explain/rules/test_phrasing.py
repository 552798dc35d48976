"""Labels say in plain words what their rules look for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.explain.rules.phrasing import MOST, in_full, reworded, shortened, worded
from hooke.explain.rules.rule import Rule
from hooke.explain.rules.vocabulary import families

FAMILY = next(iter(families()))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"any": {"token": [" minister"]}}, "the word “minister”"),
        ({"any": {"word": ["by"]}}, "the word “by”"),
        ({"any": {"token": ["'"]}}, "“'”"),
        ({"any": {"token": ["ster"]}}, "-ster"),
        ({"any": {"token": ["ster", "ment"]}}, "-ster, -ment inside words"),
        ({"any": {"token": ["\n\n"]}}, "line breaks"),
        ({"any": {"word": ["budget", "fiscal", "appropriations"]}}, "budget, fiscal, appropriations"),
        ({"any": {"word": ["paris", "london", "rome", "texas", "bank"]}}, "place names: paris, london, rome, texas"),
        ({"any": {"word": ["paris", "london", "loan", "share", "bank"]}}, "paris, london, loan, share, bank"),
        ({"any": {"before": ["in"]}}, "after “in”"),
        ({"any": {"after": ["said", "told"]}}, "before said, told"),
        ({"any": {"ending": ["ing", "ng"]}}, "-ing at the end of words"),
        ({"any": {"beginning": ["sena", "omni"]}}, "sena-, omni- at the start of words"),
        ({"any": {"language": ["French"]}}, "French text"),
        ({"any": {"mark": ["years"]}}, "years"),
        ({"any": {"mark": ["middles of split words", "ends of split words"]}}, "parts of split words"),
        ({"any": {"class": ["months"], "mark": ["years"]}}, "months"),
        ({"any": {"near": ["the", "bank"]}}, "near bank"),
        ({"any": {"text": ["that"]}}, "texts with “that”"),
        ({"any": {"text": ["the", "rugby", "football"]}}, "about rugby, football"),
        ({"any": {"text class": ["sport words"]}}, "about sport"),
        ({"any": {"text class": [FAMILY]}}, f"about {FAMILY}"),
        ({"any": {"class before": [FAMILY, "months"]}}, "after months"),
        ({"any": {"subject": ["sport 0.30", "sport 0.35"]}}, "about sport"),
        ({"all": [{"class": ["place names"]}, {"before": ["in"]}]}, "place names after “in”"),
        ({"all": [{"before": ["in"]}, {"class": ["place names"]}]}, "place names after “in”"),
        ({"points": [[{"word": ["of"]}, 3], [{"near": ["barrels"]}, 2], [{"word": ["a"]}, -3]], "at_least": 4}, "“of” near barrels"),
        ({"points": [[{"word": ["of"]}, 3], [{"text": ["barrels"]}, 2]], "at_least": 4}, "about barrels"),
        ({"points": [[{"token": [" Of", " of"]}, 3], [{"word": ["of", "in"]}, 2]], "at_least": 3}, "“of”, “in”"),
        ({"any": {"word": ["said", "says", "told", "asked", "replied"]}}, "verbs of saying: said, says, told, asked"),
        ({"any": {"token": [" like", "like", "Like", "LIKE"]}}, "the word “like”"),
    ],
)
def test_wording(record, expected):
    rule = Rule.parse(record)
    order = [sign for group in rule.groups for sign in group]
    assert worded(rule, {sign: 1 - number / 100 for number, sign in enumerate(order)}) == expected


def test_the_most_telling_come_first():
    rule = Rule.parse({"any": {"word": ["ab", "bc", "cd", "de"]}})
    assert worded(rule, {("word", "de"): 0.9, ("word", "cd"): 0.5, ("word", "bc"): 0.2}) == "de, cd, bc, ab"


def test_of_unrelated_alternatives_a_label_names_the_one_that_tells_most_and_the_whole_rule_names_all():
    rule = Rule.parse({"any": {"word": ["put", "place"], "near class": ["months"]}})
    coverage = {("word", "put"): 0.2, ("word", "place"): 0.1, ("near class", "months"): 0.6}
    assert worded(rule, coverage) == "near months"
    assert in_full(rule) == "the word put, place or near a word of months"


values = st.text(st.sampled_from("abcdefgß -.\n“"), min_size=1, max_size=50)
signs = st.dictionaries(
    st.sampled_from(["token", "word", "ending", "beginning", "before", "after", "near", "text", "next"]),
    st.lists(values, min_size=1, max_size=6, unique=True),
    min_size=1,
    max_size=3,
)
rules = st.one_of(
    signs.map(lambda group: {"any": group}),
    st.lists(signs, min_size=1, max_size=3).map(lambda groups: {"all": groups}),
    st.lists(st.tuples(signs, st.integers(1, 5)), min_size=1, max_size=3).map(
        lambda groups: {"points": [list(group) for group in groups], "at_least": 3}
    ),
)


@settings(max_examples=50, deadline=None)
@given(rules)
def test_a_label_is_short_and_every_value_of_a_rule_is_in_its_full_wording(record):
    rule = Rule.parse(record)
    assert 0 < len(worded(rule, {})) <= MOST
    said = in_full(rule)
    assert all(value.strip() in said for group in rule.groups for _, value in group)


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ("mostly budget, fiscal, appropriations … in texts with senate, house", "budget, fiscal, appropriations"),
        ("mostly words in texts with firefox, add, browser …", "about firefox, add, browser"),
        ("mostly the, of, and … in texts with court, “.”, he …", "about court"),
        ("mostly of, in … near barrels, crude …", "“of”, “in” near barrels, crude"),
        ("texts on sport", "about sport"),
        ("in texts with words like the, to, a", "texts with the, to, a"),
        ("by", "the word “by”"),
        ("token “,” (words after a number)", "“,”"),
        ("in texts with war words or near war words or words like military, army, gun", "about war"),
        ("beginnings of split words or names inside a sentence", "beginnings of split words"),
        ("words ending in -ed, -en or past participles (used, needed …)", "-ed, -en at the end of words"),
        ("words beginning with mini-, secr-, unde- or after government words", "mini-, secr- at the start of words"),
        ("prepositions (of, in …) near there, problems, the", "prepositions: “of”, “in”"),
        ("no consistent meaning found", "no consistent meaning found"),
        ("names inside a sentence", "names inside a sentence"),
        ("about sport", "about sport"),
        ("budget, fiscal, appropriations", "budget, fiscal, appropriations"),
        ("the word “by”", "the word “by”"),
    ],
)
def test_wordings_of_earlier_versions_are_put_as_labels_are_now(earlier, expected):
    assert reworded(earlier) == expected


@settings(max_examples=50, deadline=None)
@given(rules)
def test_a_label_as_they_are_now_stays_short(record):
    assert len(reworded(worded(Rule.parse(record), {}))) <= MOST


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_whatever_was_stored_as_a_label_is_reworded_without_an_error(label):
    reworded(label)


@pytest.mark.parametrize(
    ("label", "expected"),
    [("war or peace", "war or peace"), ("banking", "banking"), ("mostly war, peace", "war, peace"), ("war, army, gun …", "war, army, gun")],
)
def test_names_that_people_gave_stay(label, expected):
    assert shortened(label) == expected
