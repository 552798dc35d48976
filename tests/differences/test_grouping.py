"""Groups: what is compared with what, and every refusal with what to do."""

import numpy as np
import pytest

from hooke.differences.grouping import group, piles
from hooke.errors import BadConfig, BadFile, UnknownName
from hooke.text.intake import Record


def records(**columns):
    """As many texts as the columns are long, all different."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [Record.of(f"text {n}", row) for n, row in enumerate(rows)]


def test_two_groups_the_largest_first():
    found = group(records(desk=["b"] * 12 + ["a"] * 20), "desk")
    assert found.names == ["a", "b"]
    (one,) = found.comparisons
    assert (one.a, one.b, one.in_a.sum(), one.in_b.sum()) == ("a", "b", 20, 12)


def test_several_groups_are_each_held_against_the_others():
    found = group(records(desk=["a", "b", "c"] * 10), "desk")
    assert [(one.a, one.b, int(one.in_b.sum())) for one in found.comparisons] == [(name, "the others", 20) for name in "abc"]
    named = group(records(desk=["a", "b", "c"] * 10), "desk", groups=["c", "a"])
    assert (named.names, len(named.texts)) == (["a", "c"], 20)  # in whatever order they are named


def test_a_list_of_one_label_is_that_label_and_of_several_none():
    found = group(records(desk=[["a"], "b", ["a", "b"], [], {"x": 1}] * 10), "desk")
    assert (found.names, len(found.texts)) == (["a", "b"], 20)
    assert "30 of 50 texts were left out: they have several labels of desk, or none" in found.notes[0]
    with pytest.raises(BadFile, match="A text is of one group"):
        group(records(desk=[["a", "b"]] * 20), "desk")


def test_what_is_left_out_is_said():
    texts = records(desk=["a", "b", None] * 10)
    texts[3:3] = [Record.of("everywhere", {"desk": "a"}), Record.of("everywhere", {"desk": "b"})]
    found = group(texts, "desk")
    assert len(found.texts) == 20
    assert "10 of 32 texts were left out: they have no desk" in found.notes[0]
    assert "2 texts were left out: the same text stands in more than one group" in found.notes[1]


@pytest.mark.parametrize(("labels", "names"), [([1, 2], ["1", "2"]), ([0.5, 1.0], ["0.5", "1.0"]), ([True, False], ["false", "true"])])
def test_labels_that_are_numbers_are_labels(labels, names):
    assert group(records(grade=labels * 10), "grade").names == names


def test_a_trend_goes_over_thirds_and_ranks():
    found = group(records(date=[f"2016-{1 + n % 12:02d}-03" for n in range(36)]), "date", trend=True)
    assert [name.partition(" ")[0] for name in found.names] == ["date", "between", "date"]
    (one,) = found.comparisons
    assert one.trend is not None
    assert one.trend[one.in_a].min() > one.trend[one.in_b].max()


def test_pairs_stand_side_by_side():
    texts = records(kind=["new", "old"] * 12, pair=[n // 2 for n in range(24)])
    found = group([*texts, Record.of("alone", {"kind": "new", "pair": 99})], "kind", pair="pair")
    assert "1 of 13 pairs were left out" in found.notes[0]
    (one,) = found.comparisons
    assert np.array_equal(one.in_a, np.arange(24) % 2 == 0)
    assert np.array_equal(found.family[one.in_a], found.family[one.in_b])


TWO = {"desk": ["a", "b"] * 15}


@pytest.mark.parametrize(
    ("columns", "options", "error", "said"),
    [
        ({"desk": ["a"] * 20}, {}, BadConfig, "all 20 texts are of one group"),
        ({"desk": ["a"] * 20 + ["b"]}, {}, BadConfig, "'b' has 1. Each group needs at least 10"),
        ({"desk": [None, ""] * 10}, {}, BadFile, "is empty in every record"),
        ({"desc": ["a", "b"] * 10}, {}, UnknownName, "Did you mean 'desc'?"),
        ({"desk": [f"g{n % 500}" for n in range(1000)]}, {}, BadConfig, "500 different values, and at most 12 groups"),
        ({"desk": [str(n % 40) for n in range(1000)]}, {}, BadConfig, "--trend takes them as such"),
        (TWO, {"groups": ["a", "z"]}, UnknownName, "unknown group of desk 'z'"),
        (TWO, {"groups": ["a"]}, BadConfig, "only the group 'a' was named"),
        (TWO, {"trend": True}, BadConfig, "needs numbers or dates"),
        ({"desk": [3] * 30}, {"trend": True}, BadConfig, "the same in every text"),
        ({**TWO, "pair": [n // 2 for n in range(30)]}, {"family": "pair", "pair": "pair"}, BadConfig, "joins several pairs"),
        (
            {"desk": ["a", "b"] * 15, "pair": [n // 2 for n in range(30)], "story": [n // 10 for n in range(30)]},
            {"family": "story", "pair": "pair"},
            BadConfig,
            "of 3 families (story)",
        ),
        ({**TWO, "author": ["x", "y"] * 15}, {"family": "author"}, BadConfig, "of 1 family (author)"),
        ({"desk": ["a", "b", "c"] * 10, "pair": list(range(30))}, {"pair": "pair"}, BadConfig, "pairs are of two groups"),
    ],
)
def test_what_cannot_be_compared_is_refused(columns, options, error, said):
    with pytest.raises(error) as caught:
        group(records(**columns), "desk", **options)
    assert said in str(caught.value)


def test_the_same_documents_on_both_sides():
    texts = [f"text {n}" for n in range(20)]
    with pytest.raises(BadConfig, match="the same documents stand on both sides"):
        group(piles([texts, texts], ["a", "b"], "file"), "file")


def test_a_few_texts_many_times_over_are_few():
    texts = [[f"text {n % 10}" for n in range(40)], [f"other text {n % 3}" for n in range(40)]]
    with pytest.raises(BadConfig, match="'b' of file has 40 texts, but only 3 different ones"):
        group(piles(texts, ["a", "b"], "file"), "file")
    assert len(group(piles([texts[0], [f"other {text}" for text in texts[0]]], ["a", "b"], "file"), "file").texts) == 80


def test_plain_lines_have_no_groups():
    with pytest.raises(BadFile, match="have no field 'desk'"):
        group(["a text", "another"], "desk")


def test_pairs_in_families_keep_to_one_family():
    rows = records(desk=["a", "b"] * 20, pair=[n // 2 for n in range(40)], story=[0, 1] * 2 + [n // 4 for n in range(4, 40)])
    found = group(rows, "desk", pair="pair", family="story")
    assert (len(found.texts), found.in_families) == (36, True)
    assert found.family is not None
    assert found.family.tolist() == np.repeat(np.arange(1, 10), 4).tolist()
    assert "2 of 20 pairs were left out: their two texts are of different families" in found.notes[0]
    assert not group(rows, "desk", pair="pair").in_families
