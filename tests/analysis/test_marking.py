"""Marks: which names are judged beside which texts, kept whole, and what is learnt from them: on a planted truth, learnt back."""

import json
import re
from collections.abc import Mapping

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
    tries,
    write_marks,
)
from hooke.errors import BadFile
from hooke.explain.llm.answer import Invalid
from hooke.explain.llm.marks import Beside, parse_marks, sheets
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
    assert tries(said) == {1: (4, 4, False), 2: (2, 4, None), 3: (1, 1, None)}
    assert tries([*said, {1: "good"}, {1: "good"}, {1: "wrong"}])[1] == (6, 7, True)
    assert tries([]) == {}


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
    rows = [Marked("0123", {3: "good", 1: "wrong"}, "news"), Marked("4567", {1: "useless"})]
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


def test_texts_are_read_at_the_site_and_before_it():
    assert [str(site) for site in sites_before(Site(12, "resid_post"))] == ["resid_post.5", "resid_post.9", "resid_post.12"]
    assert sites_before(Site(0, "mlp_out")) == [Site(0, "resid_post")]
    model = tiny.model()
    site = Site(0, "resid_post")
    found = mean_acts(model, ["the bank", "rain"], [site])
    alone = mean_acts(model, ["rain"], [site])
    np.testing.assert_allclose(found[1], alone[0], rtol=1e-5, atol=1e-6)
