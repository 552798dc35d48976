"""Marks: which names are judged beside which texts, kept whole, and what is learnt from them: on a planted truth, learnt back."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import planted
import pytest

from hooke import tiny
from hooke.analysis import Options, Reader
from hooke.analysis.likelihood import known, own_likelihood
from hooke.analysis.marking import (
    Marked,
    TooFew,
    digest,
    keep_marks,
    kept_marks,
    learn,
    mean_acts,
    read_marks,
    sites_before,
    to_judge,
    to_judge_behind,
    tries,
    with_tries,
    write_marks,
)
from hooke.atlas import Name
from hooke.atlas.naming import own_names, write_names
from hooke.errors import BadFile
from hooke.explain.llm.answer import Invalid
from hooke.explain.llm.marks import SYSTEM_BEHIND, Beside, parse_marks, sheets
from hooke.explain.llm.use import TRIED
from hooke.names import Site

CONCEPTS = list(tiny.concepts)
COURT = "court"  # of two concepts


def texts(n: int) -> list[str]:
    """Texts of two concepts each; in every other one *court* stands, which means sport beside sport and justice beside justice."""
    rng = np.random.default_rng(1)
    out = []
    for _ in range(n):
        one, other = rng.choice(len(CONCEPTS), 2, replace=False)
        words = [str(word) for at in (one, one, other) for word in rng.choice([w for w in tiny.concepts[CONCEPTS[at]] if w != COURT], 1)]
        out.append("the " + " and the ".join(words + [COURT] * int(rng.integers(2))))
    return list(dict.fromkeys(out))


def name(index: int) -> str:
    """What a concept's feature is called."""
    return f"the word “{CONCEPTS[index]}”"


def truth(text: str, index: int) -> str:
    """Whether a concept's name is right of a text: where a word stands that can mean nothing else."""
    words = set(text.split()) - {COURT}
    return "good" if words & set(tiny.concepts[CONCEPTS[index]]) else "wrong"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return planted.write(tmp_path_factory.mktemp("marking") / "atlas.sqlite", sealed=True)


@pytest.fixture
def reader(path, tmp_path, monkeypatch) -> Reader:
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    return Reader(tiny.model(), [tiny.sae()], Options(), atlas=path)


def judged(reader: Reader, some: list[str]) -> dict[str, dict[int, str]]:
    beside = to_judge(reader, some, range(tiny.D_SAE), {})
    return {one.text: {index: truth(one.text, index) for index, _ in one.names} for one in beside if one.names}


def test_names_that_stand_out_are_put_beside_a_text_and_those_that_were_judged_are_not(reader):
    some = ["the bank and the loan and the storm", "a new day", "the bank and the loan and the storm again"]
    first, nothing, other = to_judge(reader, some, range(tiny.D_SAE), {digest(some[2]): {0: "good"}})
    assert (first.text, dict(first.names)) == (some[0], {0: name(0), 2: name(2)})
    assert nothing.names == ()
    assert other.names == ((2, name(2)),)
    assert to_judge(reader, some[:1], [2], {})[0].names == ((2, name(2)),)
    assert to_judge(reader, some, range(tiny.D_SAE), {})[0] == first  # the same lot each time


@pytest.fixture
def words(path, reader) -> Reader:
    """The reader, where somebody named the concepts' features after words, but for the last, which its rule names."""
    entry = reader.labelled_saes[0].entry
    assert entry is not None
    write_names(own_names(entry), entry, {index: Name(f"{concept} words", "word") for index, concept in enumerate(CONCEPTS[:-1])})
    return Reader(tiny.model(), [tiny.sae()], Options(), atlas=path)


def test_names_are_put_behind_the_words_that_they_stand_behind(words):
    some = ["The bank and the storm", "a new day", "the court and the guitar"]
    first, court = to_judge_behind(words, some, range(tiny.D_SAE), {})
    assert first == Beside(some[0], ((0, "«bank»: finance words"), (2, "«storm»: weather words")), "The «bank» and the «storm»")
    assert court.names == ((1, "«court»: sport words"), (5, "«court»: justice words"))  # music has no name by a reader
    assert court.shown == "the «court» and the guitar"
    (only,) = to_judge_behind(words, some[:1], [2], {})
    assert (only.names, only.shown) == (((2, "«storm»: weather words"),), "The bank and the «storm»")


def test_a_name_is_tried_in_so_many_texts_and_what_is_known_changes_no_other_sheet(words):
    drawn = [f"the {word} and the {tiny.concepts['weather'][n % 8]}" for n, word in enumerate(tiny.concepts["finance"] * 3)]
    some = list(dict.fromkeys(drawn + [f"{text} again" for text in drawn]))
    asked = to_judge_behind(words, some, range(tiny.D_SAE), {})
    assert [one.text for one in asked] == some[:TRIED]
    known = {digest(some[0]): {0: "odd"}, digest(some[11]): {0: "false", 2: "sensible"}}
    again = to_judge_behind(words, some, range(tiny.D_SAE), known)
    assert again[0].names == asked[0].names[1:]
    assert again[1:11] == asked[1:11]
    assert [one.names for one in again[11:]] == [()]
    before, after = sheets(asked, "m", "d", SYSTEM_BEHIND), sheets(again, "m", "d", SYSTEM_BEHIND)
    assert [sheet.request.feature for sheet in before] == [0, 1]
    assert (len(after), after[0] == before[0]) == (2, False)
    assert to_judge_behind(words, some, range(tiny.D_SAE), {digest(some[0]): {0: "odd"}})[10:] == asked[10:]


def test_what_is_learnt_tells_names_that_are_right_from_those_that_are_not(reader):
    marked = judged(reader, texts(260))
    learnt = learn(reader, marked)
    assert learnt.better
    assert learnt.marks == sum(map(len, marked.values()))
    assert learnt.after.said["good"] > learnt.before.said["good"] + 0.05
    for tenth, count, right in learnt.calibration:
        assert abs(right - (tenth + 0.5) / 10) < 0.1 + 3 * (0.25 / count) ** 0.5
    entry = reader.labelled_saes[0].entry
    assert entry is not None
    learnt.likelihood.save(own_likelihood(entry), entry)
    found = known(entry)
    assert found is not None
    assert found.name_of == {index: name(index) for index in found.feature.tolist()}


def test_what_is_said_of_names_counts_as_tries_of_them():
    said = [{1: "good", 2: "wrong"}, {1: "useless", 2: "useless"}, {1: "useless", 3: "good"}, {1: "useless", 2: "wrong"}, {2: "useless"}]
    assert tries(said) == {1: (4, 4, False, 4), 2: (2, 4, None, 4), 3: (1, 1, None, 1)}
    assert tries([*said, {1: "good"}, {1: "good"}, {1: "wrong"}])[1] == (6, 7, True, 7)
    assert tries([]) == {}


def test_names_behind_words_are_tried_there_once_they_were_judged_there_often_enough():
    said = [{1: "good"}] * 3 + [{1: "sensible"}, {1: "odd"}, {1: "false"}]
    assert tries(said) == {1: (4, 6, True, 6)}
    assert tries([*said, {1: "sensible"}, {1: "odd"}]) == {1: (2, 5, True, 8)}
    names = {1: Name("bank", "word", right=6, tried=7, telling=False), 2: Name("rain", "word", right=1, tried=9)}
    behind = [{1: "sensible", 2: "odd"}, *[{1: "odd"}] * 6]
    assert with_tries(names, behind) == {1: replace(names[1], right=1, tried=7)}  # whether it is telling marks behind words do not say
    assert with_tries(names, behind[1:]) == {}  # it was tried on more


def test_a_likelihood_is_not_learnt_from_what_stands_behind_words(reader):
    said = {text: dict.fromkeys(own, "sensible") for text, own in judged(reader, texts(100)).items()}
    with pytest.raises(TooFew, match="0, 0 of them good"):
        learn(reader, said)


def test_marks_that_say_nothing_are_not_better_than_their_share(reader):
    rng = np.random.default_rng(3)
    marked = {text: {index: str(rng.choice(["good", "wrong"])) for index in said} for text, said in judged(reader, texts(200)).items()}
    assert not learn(reader, marked).better


def test_too_few_marks_are_said_to_be_so(reader):
    with pytest.raises(TooFew, match=r"too few marks to learn from: \d+, \d+ of them good"):
        learn(reader, judged(reader, texts(20)))
    with pytest.raises(TooFew, match="0, 0 of them good"):
        learn(reader, {"a new day": {0: "good"}})


def test_marks_come_back_and_count_no_more_once_a_name_has_changed(reader, tmp_path):
    said: Mapping[str, Mapping[int, str]] = {digest("a"): {0: "good", 2: "wrong"}, digest("b"): {1: "useless"}}
    assert kept_marks(tmp_path / "none", reader) == {}
    keep_marks(tmp_path / "marks.jsonl", reader, said)
    assert kept_marks(tmp_path / "marks.jsonl", reader) == said
    names, rows = read_marks(tmp_path / "marks.jsonl")
    assert names == {index: name(index) for index in range(3)}
    write_marks(tmp_path / "marks.jsonl", names | {2: "rain"}, rows)
    assert kept_marks(tmp_path / "marks.jsonl", reader)[digest("a")] == {0: "good"}


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "[]",
        '{"names": [1]}',
        '{"names": {"x": "y"}}',
        '{"names": {}}\n{"text": "a", "good": [1]}',
        '{"names": {"1": "y"}}\n{"good": [1]}',
        '{"names": {"1": "y"}}\n{"text": "a", "good": 1}',
        '{"names": {"1": "y"}}\n{"text": "a", "good": [[1]]}',
        '{"names": {"1": "y"}}\n{"text": "a"',
    ],
)
def test_a_file_that_holds_no_marks_is_refused(tmp_path, lines):
    (tmp_path / "marks.jsonl").write_text(lines)
    with pytest.raises(BadFile, match=r"marks\.jsonl is not a file of marks or is damaged, at line"):
        read_marks(tmp_path / "marks.jsonl")


def test_marks_keep_where_a_text_is_from(tmp_path):
    rows = [Marked("0123", {3: "good", 1: "wrong"}, "news"), Marked("4567", {1: "useless"}), Marked("89ab", {1: "odd", 3: "sensible"})]
    write_marks(tmp_path / "m", {3: "a", 1: "b"}, rows)
    assert read_marks(tmp_path / "m") == ({1: "b", 3: "a"}, rows)


def test_a_sheet_has_a_numbered_line_a_name_and_takes_a_letter_for_each():
    beside = [Beside(f"text {n}\nTEXT other\x1b[0m", tuple((i, f"name {i}") for i in range(n % 4))) for n in range(25)]
    made = sheets(beside, "m", "d")
    assert [sheet.request.feature for sheet in made] == [0, 1, 2]
    assert sum(len(sheet.rows) for sheet in made) == sum(n % 4 for n in range(25))
    assert "\x1b" not in made[0].request.text
    for sheet in made:
        numbered = [line for line in sheet.request.text.split("\n") if not line.startswith("TEXT ")]
        assert [re.match(r"(\d+) name", line)[1] for line in numbered] == [str(n + 1) for n in range(len(sheet.rows))]
    one = made[0]
    letters = "guw" * len(one.rows)
    answer = [f"{n} {letters[n]}" for n in range(1, len(one.rows) + 1)]
    expected = [{"g": "good", "u": "useless", "w": "wrong"}[letters[n]] for n in range(1, len(one.rows) + 1)]
    assert parse_marks(one.request, "\n".join(answer)) == expected
    assert parse_marks(one.request, "```\n" + "\n".join(answer).upper().replace(" ", ". ") + "\n```\n") == expected
    assert parse_marks(one.request, "\n".join(f"{n} {said}" for n, said in enumerate(expected, 1))) == expected
    for bad in (
        answer[:-1],
        [*answer, "99 g"],
        [*answer[1:], answer[0]],
        ["1 x", *answer[1:]],
        [json.dumps(answer)],
        [],
        ["g"] * len(answer),
    ):
        with pytest.raises(Invalid):
            parse_marks(one.request, "\n".join(bad))


def test_sheets_of_names_behind_words_take_other_letters():
    (sheet,) = sheets([Beside("a b", ((1, "«a»: x"), (2, "«b»: y")), "«a» «b»")], "m", "d", SYSTEM_BEHIND)
    assert sheet.request.text == "TEXT «a» «b»\n1 «a»: x\n2 «b»: y"
    assert sheet.rows == [("a b", 1), ("a b", 2)]
    assert parse_marks(sheet.request, "1 s\n2 false") == ["sensible", "false"]
    with pytest.raises(Invalid, match="one of the letters s, o, f"):
        parse_marks(sheet.request, "1 g\n2 s")


def test_texts_are_read_at_the_site_and_before_it():
    assert [str(site) for site in sites_before(Site(12, "resid_post"))] == ["resid_post.5", "resid_post.9", "resid_post.12"]
    assert sites_before(Site(0, "mlp_out")) == [Site(0, "resid_post")]
    model = tiny.model()
    site = Site(0, "resid_post")
    found = mean_acts(model, ["the bank", "rain"], [site])
    alone = mean_acts(model, ["rain"], [site])
    np.testing.assert_allclose(found[1], alone[0], rtol=1e-5, atol=1e-6)
