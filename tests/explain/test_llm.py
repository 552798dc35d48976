"""Names by reading: what a reader sees, answers taken apart with distrust, requests and batches, names tried on held-out text."""

import json
import re
from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import read_atlas
from hypothesis import given
from read_atlas import NEVER, ONCE, PRICES, ROCKETS, SAE

from hooke.atlas import NO_MEANING, TOO_RARE, Atlas, Name
from hooke.atlas.feature import TokenShare
from hooke.atlas.missed import missed
from hooke.atlas.records import document_key
from hooke.errors import BadConfig, BadFile, UnknownName
from hooke.explain.llm import use
from hooke.explain.llm.answer import Invalid, parse_detection, parse_name
from hooke.explain.llm.detection import mean_with_interval, trials, wordings
from hooke.explain.llm.embedding import auroc
from hooke.explain.llm.ledger import Answer, Ledger
from hooke.explain.llm.naming import requests
from hooke.explain.llm.request import chosen_features, features_in, read_batch, told_apart, write_batch
from hooke.explain.llm.sheet import evidence, held_out
from hooke.explain.llm.use import Shown


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return read_atlas.write(tmp_path_factory.mktemp("llm") / "atlas.sqlite")


@pytest.fixture
def atlas(path, tmp_path, monkeypatch) -> Atlas:
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    return Atlas(path)


def documents(text: str) -> set[int]:
    """The documents that the lines of a sheet come from; a line tells its own number."""
    own = {n: n for n in range(read_atlas.DOCUMENTS)} | {f"day {n}": read_atlas.DOCUMENTS + n for n in range(read_atlas.DOCUMENTS)}
    return {own[int(n)] for n in re.findall(r"«rocket» number (\d+)", text)}


def test_a_sheet_is_of_the_label_half_and_the_trial_of_the_other(atlas):
    feature = atlas.feature(f"{SAE}/{ROCKETS}")
    sheet, places = evidence(feature), held_out(feature, {})
    seen, tried = documents(sheet.text), documents("\n".join(place.text for place in places))
    assert len(seen) == sheet.contexts > 6
    assert all(document_key("news", n) % 2 == 0 for n in seen)
    assert all(place.document % 2 == 1 for place in places)
    assert tried
    assert not seen & tried
    assert len(places) == 10
    assert 3 <= sum(place.active for place in places) <= 7
    assert len({place.document for place in places}) == 10
    assert [place.active for place in places] != sorted((place.active for place in places), reverse=True)  # in a lot's order


def test_a_sheet_shows_the_range_near_misses_and_what_is_known(atlas):
    lines = evidence(atlas.feature(f"{SAE}/{ROCKETS}")).text.split("\n")
    strengths = [int(line.split("%")[0]) for line in lines[1 : lines.index("SILENT")]]
    assert strengths[:6] == sorted(strengths[:6], reverse=True)
    assert min(strengths[6:]) < 50 <= max(strengths[6:])  # above and below the middle of the range
    assert lines.index("SILENT") == len(strengths) + 1
    assert lines[-2:] == ["PROMOTES rocket, sea", "RULE rocket (0.80)"]
    assert all(len(line.split("«")[0].split()) <= 11 for line in lines)
    shares = [TokenShare(" rocket", 30, 0.41, 9.0), TokenShare("sea", 9, 0.126, 3.0)]
    feature = replace(atlas.feature(f"{SAE}/{ROCKETS}"), tokens=shares)
    assert evidence(feature).text.split("\n")[-3] == "SPENT ON rocket 41%, sea 13%"


def test_text_from_documents_is_shown_as_data(atlas):
    feature = atlas.feature(f"{SAE}/{ROCKETS}")
    sheet = "\n".join([evidence(feature).text, *(place.text for place in held_out(feature, {}))])
    assert "\x1b" not in sheet
    assert sheet.count("«") == sheet.count("»") == sum("«" in line for line in sheet.split("\n"))  # the document's own are told apart


def test_what_fires_too_seldom_is_not_asked_about(atlas):
    asked, known = requests(atlas, SAE, range(8), "m")
    assert [request.feature for request in asked] == [ROCKETS, PRICES]
    assert {index for index in known if "never" in known[index].note} == {NEVER, 4, 5, 6, 7}
    assert (known[ONCE].about, "too seldom" in known[ONCE].note) == ("unclear", True)
    assert all(request.tokens < 1200 for request in asked)


def test_an_atlas_with_too_few_contexts_is_refused(tmp_path):
    with pytest.raises(BadConfig, match=r"keeps too few contexts: 2 of 3 .*hooke atlas build"):
        requests(Atlas(read_atlas.write(tmp_path / "small.sqlite", documents=4)), SAE, range(8), "m")


def test_a_request_is_known_by_all_that_it_says(atlas):
    ids = {requests(atlas, SAE, [ROCKETS], reader)[0][0].id for reader in ("a", "a", "b")}
    assert len(ids) == 2
    assert all(re.fullmatch(r"0-[0-9a-f]{12}", name) for name in ids)


GOOD = {"name": "rocket launches", "about": "event", "note": "Also countdowns.", "confidence": 0.9}


def test_a_valid_answer():
    expected = Name("rocket launches", "event", "Also countdowns.", 0.9)
    assert parse_name(json.dumps(GOOD)) == parse_name(f"```json\n{json.dumps(GOOD)}\n```") == expected
    assert parse_name('{"name": " The word \'by\'. ", "about": "word"}') == Name("The word 'by'", "word")
    assert parse_name('{"name": "whatever", "about": "unclear"}') == Name("", "unclear")
    assert parse_name('{"name": "the Chinese word “的”", "about": "word"}').name == "the Chinese word “的”"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "rocket launches",
        '{"name": "rocket launches", "about": "ev',
        "[]",
        "null",
        "[" * 5000,
        json.dumps([GOOD]),
        json.dumps(GOOD | {"command": "rm"}),
        json.dumps({"name": "rocket launches"}),
        json.dumps(GOOD | {"about": "HACKED"}),
        json.dumps(GOOD | {"about": ["event"]}),
        json.dumps(GOOD | {"name": ""}),
        json.dumps(GOOD | {"name": "  \u202e "}),
        json.dumps(GOOD | {"name": "x" * 41}),
        json.dumps(GOOD | {"name": "one two three four five six seven"}),
        json.dumps(GOOD | {"name": ["rocket"]}),
        json.dumps(GOOD | {"name": "<b>rockets</b>"}),
        json.dumps(GOOD | {"name": "rockets &amp; more"}),
        json.dumps(GOOD | {"name": "\x1b[31mrockets"}),
        json.dumps(GOOD | {"name": "see https://example.com"}),
        json.dumps(GOOD | {"name": "выборы президента"}),
        json.dumps(GOOD | {"name": "1234"}),
        json.dumps(GOOD | {"name": "talk of a " + "".join(chr(c) for c in (99, 117, 110, 116))}),
        json.dumps(GOOD | {"confidence": 2}),
        json.dumps(GOOD | {"confidence": True}),
        json.dumps(GOOD | {"note": 7}),
        json.dumps(GOOD | {"note": "x" * 5000}),
    ],
)
def test_an_answer_that_is_none(answer):
    with pytest.raises(Invalid):
        parse_name(answer)


def test_a_note_is_cleaned_and_cut():
    note = parse_name(json.dumps(GOOD | {"note": "\u202ea \x1b[31m<b>" + "word " * 60})).note
    assert (len(note) <= 200, note[-1]) == (True, "…")
    assert not re.search("[\x1b\u202e]|<b", note)


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_no_answer_does_anything_but_parse_or_fail(value):
    answer = value if isinstance(value, str) else json.dumps({"name": value, "about": "topic", "note": value})
    try:
        name = parse_name(answer)
    except Invalid:
        return
    assert len(name.name) <= 40
    assert name.name.isprintable()


def test_detection_answers():
    parse = parse_detection(10)
    assert parse('{"active": [3, 1, 3]}') == (1, 3)
    assert parse('{"active": []}') == ()
    for bad in ('{"active": [0]}', '{"active": [11]}', '{"active": [true]}', '{"active": "1"}', '{"active": [1.5]}', "[1]", "{}"):
        with pytest.raises(Invalid):
            parse(bad)


def test_a_trial_scores_who_is_right_and_who_guesses(atlas):
    (trial,) = trials(atlas, SAE, {ROCKETS: "rocket launches"}, "m")
    right = [n for n, place in enumerate(trial.places, 1) if place.active]
    wrong = [n for n, place in enumerate(trial.places, 1) if not place.active]
    assert "active" not in trial.request.text
    assert (trial.score(right).value, trial.score(wrong).value, trial.score(range(1, 11)).value) == (1.0, 0.0, 0.5)
    assert trial.score(right).low > 0.6
    assert trial.score(range(1, 11)).low < 0.5 < trial.score(range(1, 11)).high


def test_how_many_places_fire_is_drawn_by_lot_and_their_order_too(atlas):
    feature = atlas.feature(f"{SAE}/{ROCKETS}")
    drawn = [held_out(replace(feature, name=f"{SAE}/{n}"), {}) for n in range(200)]
    counts = Counter(sum(place.active for place in places) for places in drawn)
    assert set(counts) == {3, 4, 5, 6, 7}
    assert min(counts.values()) > 20  # of 40 each
    assert all(len({place.document for place in places}) == len(places) == 10 for places in drawn)
    at = Counter(n for places in drawn for n, place in enumerate(places) if place.active)
    assert max(at.values()) < 2 * min(at.values())  # no place among the ten is likelier to fire
    assert held_out(feature, {}) == held_out(feature, {})


def test_with_few_places_of_a_kind_a_number_is_drawn_that_there_are(atlas):
    feature = atlas.feature(f"{SAE}/{ROCKETS}")
    fires = [p for part in feature.intervals for p in part if document_key(p.corpus, p.doc) % 2 and p.activation > 2.5]
    silent = [p for p in feature.misses if document_key(p.corpus, p.doc) % 2]
    for active, misses, possible in ((4, 9, {3, 4}), (9, 4, {6, 7}), (3, 7, {3}), (2, 9, set()), (9, 2, set()), (4, 5, set())):
        own = [replace(feature, name=f"{SAE}/{n}", top=[], intervals=[fires[:active]], misses=silent[:misses]) for n in range(20)]
        assert {sum(place.active for place in held_out(one, {})) for one in own} == (possible or {0})


def test_a_near_miss_of_many_features_is_taken_where_there_is_no_other(atlas):
    feature = atlas.feature(f"{SAE}/{ROCKETS}")
    silent = [p for p in feature.misses if document_key(p.corpus, p.doc) % 2]
    often = {document_key(p.corpus, p.doc): 900 for p in silent[::2]}
    for n in range(30):
        own = [place.document for place in held_out(replace(feature, name=f"{SAE}/{n}"), often) if not place.active]
        assert not often.keys() & own
    few = replace(feature, misses=silent[:7])
    assert any(often.keys() & {place.document for place in held_out(replace(few, name=f"{SAE}/{n}"), often)} for n in range(30))


def test_in_how_many_features_a_near_miss_lies_in_a_document(atlas, path):
    naive = Counter(
        key for i in range(read_atlas.SIZE) for key in {document_key(p.corpus, p.doc) for p in atlas.feature(f"{SAE}/{i}").misses}
    )
    assert missed(atlas, SAE) == naive
    assert set(naive.values()) == {3}


def test_answers_to_trials_of_five_and_five_go_on_counting(atlas):
    """The id is that of a request before the number was drawn by lot."""
    before = "0-9377d3e21d25"
    (trial,) = trials(atlas, SAE, {ROCKETS: "rocket launches"}, "m", {before})
    assert (trial.request.id, sum(place.active for place in trial.places)) == (before, 5)
    (fresh,) = trials(atlas, SAE, {ROCKETS: "rocket launches"}, "m")
    assert fresh.request.id != before
    assert "3 to 7 of the lines are such" in fresh.request.system
    assert '{"active": [numbers of the lines]}' in fresh.request.system


def beside(strengths: dict[str, float]) -> list[Shown]:
    return [Shown(text, strength, " word") for text, strength in strengths.items()]


def test_names_are_made_and_tried_on_different_texts_over_the_range():
    shown = beside({f"text {n}": 1 - n / 100 for n in range(80)})
    asked = use.trials({3: "rocket launches"}, {3: shown}, "m", "d")[3]
    tried = [line.split(". ", 1)[1] for line in asked.text.split("\n")[1:]]
    made = [re.search(r"% (.*) \(on «word»\)", line)[1] for line in use.lines(shown, 8)]
    assert (len(tried), len(made), use.texts_in(asked)) == (12, 8, 12)
    assert not set(tried) & set(made)
    own = [one.text for one in shown if one.tries]
    assert (tried[0], tried[-1]) == (own[0], own[-1])  # from the strongest to the weakest
    assert 20 < len(own) < 60  # about half
    assert "%" not in asked.text  # whoever tries is not told how strong


def test_texts_to_be_tried_on_are_data_and_those_without_are_not_asked_about():
    texts = {f"{read_atlas.INJECTION} {n}\nNAME: other": 0.5 for n in range(8)}
    asked = use.trials({0: "a", 1: "b"}, {0: beside(texts)}, "m", "d")
    assert list(asked) == [0]
    assert "\x1b" not in asked[0].text
    assert asked[0].text.count("\n") == use.texts_in(asked[0]) == sum(one.tries for one in beside(texts))


def test_answers_to_a_trial_by_use():
    assert use.parse_use('{"true": [3, 1], "telling": false}') == ((1, 3), False)
    for bad in ('{"true": [1]}', '{"true": [13], "telling": true}', '{"true": [1], "telling": 1}', '{"true": 1, "telling": true}'):
        with pytest.raises(Invalid):
            use.parse_use(bad)


def test_a_sheet_with_texts_beside_is_another_question(atlas):
    plain, with_texts = (
        requests(atlas, SAE, [ROCKETS], "m", shown)[0][0] for shown in (None, {ROCKETS: beside({f"t {n}": 0.5 for n in range(9)})})
    )
    assert plain.id != with_texts.id
    assert with_texts.text.startswith(plain.text + "\nBESIDE\n50% t ")


def test_what_features_are_called():
    names = {i: Name(f"name {i}", "topic") for i in range(6)} | {6: Name("", "unclear")}
    labels = ["rocket", "prices", NO_MEANING, "sky", None, TOO_RARE, "", None]
    assert wordings(range(8), "name", names, labels) == {i: f"name {i}" for i in range(6)}
    assert wordings(range(8), "rule", names, labels) == {ROCKETS: "rocket", PRICES: "prices", ONCE: "sky"}
    shuffled = wordings(range(8), "shuffled", names, labels)
    assert sorted(shuffled.values()) == [f"name {i}" for i in range(6)]
    assert all(shuffled[i] != f"name {i}" for i in shuffled)


def test_a_batch_and_its_answers(atlas, tmp_path):
    asked, _ = requests(atlas, SAE, range(8), "m")
    assert write_batch(tmp_path / "out.jsonl", asked) == 2
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["custom_id"], row["method"], row["url"]) for row in rows] == [(r.id, "POST", "/v1/chat/completions") for r in asked]
    assert rows[0]["body"]["messages"][1]["content"] == asked[0].text
    done = {"status_code": 200, "body": {"choices": [{"message": {"content": json.dumps(GOOD)}}]}}
    lines = [
        {"custom_id": asked[0].id, "response": done, "error": None},
        {"custom_id": asked[1].id, "answer": GOOD},
        {"custom_id": "5-000000000000", "response": {"status_code": 500, "body": {}}},
        {"custom_id": "1-000000000000", "response": None, "error": {"code": "expired"}},
        {"custom_id": "\x1bother", "answer": "x"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    answers = read_batch(tmp_path / "in.jsonl")
    assert [bool(text) for text in answers.values()] == [True, True, False, False, True]
    fitting, wrong = told_apart(tmp_path, answers, asked)
    assert {name: parse_name(text) for name, text in fitting.items()} == {r.id: Name(**GOOD) for r in asked}
    assert ["was not asked about" in wrong[0], "something else was asked" in wrong[1], "no answer to a request" in wrong[2]] == [True] * 3
    assert features_in(answers) == [0, 1, 5]
    with pytest.raises(BadFile, match="no answer to what was asked"):
        told_apart(tmp_path, {"7-000000000000": "x"}, asked)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"answer": "x"}', '{"custom_id": "a"}', '{"custom_id": "a", "response": {"status_code": 200}}']
)
def test_a_batch_that_is_none_says_where(tmp_path, line):
    (tmp_path / "in.jsonl").write_text('{"custom_id": "a", "answer": "x"}\n' + line + "\n")
    with pytest.raises(BadFile, match=r"in\.jsonl, line 2: not an answer"):
        read_batch(tmp_path / "in.jsonl")


def test_features_are_chosen_by_numbers_and_ranges():
    assert chosen_features("0-2,7", 8) == [0, 1, 2, 7]
    for bad in ("8", "2-1", "a", "", "1-", "-1", "0-8"):
        with pytest.raises(UnknownName):
            chosen_features(bad, 8)


def test_the_ledger_keeps_what_was_written_whole(tmp_path):
    path = tmp_path / "a.answers.jsonl"
    with Ledger(path).opened() as ledger:
        ledger.add(Answer("0-a", "first\n\x1b", 10, 2))
        ledger.add(Answer("0-a", "second"))
    path.write_bytes(path.read_bytes() + b'{"id": "1-b", "te')  # killed in the middle of a line
    with Ledger(path).opened() as ledger:
        assert [answer.text for answer in ledger.answers["0-a"]] == ["first\n\x1b", "second"]
        ledger.add(Answer("1-b", "again"))
    with Ledger(path).opened() as ledger:
        assert [answer.text for answer in ledger.answers["1-b"]] == ["again"]
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(BadFile, match="line 1: not a line of the ledger"), Ledger(path).opened():
        pass


@given(st.lists(st.integers(0, 3), min_size=1), st.lists(st.integers(0, 3), min_size=1))
def test_auroc_against_pairs(positives, negatives):
    pairs = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    assert auroc(np.array(positives), np.array(negatives)) == pytest.approx(sum(pairs) / len(pairs))


def test_the_interval_of_a_mean_holds_it_and_narrows():
    rng = np.random.default_rng(1)
    few, many = (mean_with_interval(rng.random(n).tolist()) for n in (20, 2000))
    assert few[1] < few[0] < few[2]
    assert many[2] - many[1] < few[2] - few[1]
    assert many[1] < 0.5 < many[2]
