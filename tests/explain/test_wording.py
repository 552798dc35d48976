"""Labels say in plain words what their rules look for."""

import pytest

from hooke.explain.families import families
from hooke.explain.rule import Rule
from hooke.explain.wording import worded

FAMILY = next(iter(families()))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"any": {"token": [" minister"]}}, "minister"),
        ({"any": {"token": ["'"]}}, "token “'”"),
        ({"any": {"token": ["ster"]}}, "-ster"),
        ({"any": {"token": ["\n\n"]}}, "line breaks"),
        ({"any": {"word": ["bank", "loan", "debt", "x"]}}, "bank, loan, debt …"),
        ({"any": {"word": [",", "bank", "loan"]}}, "bank, loan, “,”"),
        ({"any": {"word": ["paris", "london", "rome", "texas", "bank"]}}, "place names (paris, london …)"),
        ({"any": {"word": ["paris", "london", "loan", "share", "bank"]}}, "paris, london, loan …"),
        ({"any": {"before": ["in"]}}, "after in"),
        ({"any": {"after": ["said", "told"]}}, "before said, told"),
        ({"any": {"ending": ["ing", "ng"]}}, "words ending in -ing"),
        ({"any": {"beginning": ["comp"]}}, "words beginning with comp-"),
        ({"any": {"language": ["French"]}}, "text in French"),
        ({"any": {"mark": ["years"]}}, "years"),
        ({"any": {"class": ["months"], "mark": ["years"]}}, "months or years"),
        ({"any": {"near": ["the", "bank"]}}, "near bank, the"),
        ({"any": {"text class": ["sport words"]}}, "in texts with sport words"),
        ({"any": {"text class": [FAMILY]}}, f"in texts with words like {FAMILY}"),
        ({"any": {"class before": [FAMILY, "months"]}}, f"after months or words like {FAMILY}"),
        ({"any": {"subject": ["sport 0.30", "sport 0.35"]}}, "in texts on sport"),
        ({"all": [{"class": ["place names"]}, {"before": ["in"]}]}, "place names after in"),
        ({"all": [{"before": ["in"]}, {"class": ["place names"]}]}, "place names after in"),
        ({"all": [{"before": ["mr"]}, {"near": ["court"]}]}, "words after mr near court"),
        ({"all": [{"word": ["bank"]}, {"mark": ["first words of a line"]}]}, "bank (first words of a line)"),
        ({"points": [[{"word": ["of"]}, 3], [{"near": ["barrels"]}, 2], [{"word": ["a"]}, -3]], "at_least": 4}, "mostly of near barrels"),
        ({"points": [[{"word": ["of", "in"]}, 3], [{"word": ["of"]}, 2]], "at_least": 3}, "mostly of, in"),
        ({"points": [[{"token": [" Of", " of"]}, 3], [{"word": ["of", "in"]}, 2]], "at_least": 3}, "mostly of, in"),
        ({"any": {"word": ["said", "says", "told", "asked", "replied"]}}, "verbs of saying (said, says …)"),
        ({"any": {"token": [" like", "like", "Like", "LIKE", "-like"]}}, "like, -like, Like …"),
    ],
)
def test_wording(record, expected):
    rule = Rule.parse(record)
    order = [sign for group in rule.groups for sign in group]
    assert worded(rule, {sign: 1 - number / 100 for number, sign in enumerate(order)}) == expected


def test_the_commonest_come_first():
    rule = Rule.parse({"any": {"word": ["ab", "bc", "cd", "de"]}})
    assert worded(rule, {("word", "de"): 0.9, ("word", "cd"): 0.5, ("word", "bc"): 0.2}) == "de, cd, bc …"
