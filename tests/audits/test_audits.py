"""Audits on the planted model: what differs by construction is found, what does not is not, and what cannot be asked is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hooke import tiny
from hooke.audits import run_audit
from hooke.audits.measure import measure, values_of
from hooke.audits.plan import AuditPlan, Target
from hooke.errors import BadConfig, BadFile, HookeError, LimitReached, Missing, UnknownName
from hooke.report.audits import page, sentence

SPORT, HEALTH = tiny.concepts["sport"][:7], tiny.concepts["health"][:7]
TEMPLATES = ["the old {word} is in the {place}", "after the {place} the {word} was here"]


def table(**changed):
    """A plan as TOML would give it: words of sport against words of health."""
    plan = {
        "title": "Does the model read sport as it reads health?",
        "templates": TEMPLATES,
        "slots": {"place": ["week", "day"]},
        "groups": {"word": {"sport": list(SPORT), "health": list(HEALTH)}},
        "targets": [{"loss": True}],
    }
    return {**plan, **changed}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The planted model and SAE, as files."""
    import planted

    tiny.save(tmp_path / "model")
    path = planted.write(tmp_path / "atlas.sqlite", [tiny.sae()])
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda sae: path)
    monkeypatch.setattr("hooke.sae.Sae.from_pretrained", lambda *_, **__: tiny.sae())
    return tmp_path


def test_a_plan_is_written_out_whole():
    plan = AuditPlan.parse(table(), Path())
    assert len(plan.cases) == 2 * 2 * 14
    assert plan.groups == ("sport", "health")
    assert {case.text for case in plan.cases} >= {f"the old {SPORT[0]} is in the week", f"after the day the {HEALTH[3]} was here"}
    contexts = [[case.group for case in plan.cases if case.context == n] for n in range(4)]
    assert all(own == [0] * 7 + [1] * 7 for own in contexts)


def test_loss_and_continuations_are_the_models_own():
    model, plan = tiny.model(), AuditPlan.parse(table(), Path())
    texts = [case.text for case in plan.cases]
    loss = values_of(model, None, Target("loss"), plan.cases)
    follows = values_of(model, None, Target("next", " goal"), plan.cases)
    token = model.tokenizer.encode(["goal", " goal"])[1][-1]
    for n in (0, 5, 20):
        assert loss[n] == pytest.approx(float(model.loss(texts[n]).mean()), abs=1e-4)
        assert follows[n] == pytest.approx(float(model.logits(texts[n])[0, -1].log_softmax(-1)[token]), abs=1e-4)


def test_features_tell_the_planted_groups_apart_and_loss_is_given_with_its_interval(folder):
    index = list(tiny.concepts).index("sport")
    targets = [{"feature": f"tiny/resid_post.0/64/{index}"}, {"topic": "sport"}, {"feature": "tiny/resid_post.0/64/7"}]
    found = run_audit(AuditPlan.parse(table(targets=targets, models=[str(folder / "model")]), folder))
    feature, topic, music = found.rows
    assert (feature.verdict, topic.verdict) == ("higher for sport", "higher for sport")
    assert feature.q < 0.01
    assert feature.low > 0
    assert topic.effect == pytest.approx(1)
    assert (music.effect, music.p, music.verdict) == (0, 1, "no difference shown")
    assert len(feature.wordings) == 2
    document = json.loads(json.dumps(found.to_json()))
    assert document["limits"]
    html = page(found)
    assert "<script" not in html
    assert "It says nothing of the people" in html
    assert "more active with sport than with health" in html
    assert "given to more texts with sport than with health" in html
    assert found.made["corpus_sha256"] in html


def test_what_was_found_is_said_as_ratios_and_what_was_not_with_what_cannot_be_excluded(folder):
    found = run_audit(AuditPlan.parse(table(targets=[{"next": " goal"}], models=[str(folder / "model")]), folder))
    row = replace(
        found.rows[0],
        effect=-math.log(2),
        low=-math.log(8),
        high=-math.log(1.5),
        verdict="higher for health",
        wordings={"x": -1.0, "y": 1.0},
    )
    said = sentence(row, found)
    assert said == "“goal” as the next word: 2.0 times as likely with health as with sport (1.5 to 8.0 times), in 1 of 2 wordings."
    none = sentence(replace(row, effect=0.0, low=-math.log(2), high=math.log(3), verdict="no difference shown"), found)
    assert none.endswith("What cannot be excluded: 0.50 to 3.0 times as likely with sport as with health.")


def test_effects_are_welchs_over_fillers_and_students_over_pairs(tmp_path):
    plan, rng = AuditPlan.parse(table(), Path()), np.random.default_rng(3)
    values = rng.normal(size=len(plan.cases)) + 5 * np.array([case.context for case in plan.cases])
    found = measure(plan, "m", Target("loss"), values, 0)
    own = [np.mean([v for v, case in zip(values, plan.cases, strict=True) if case.unit == unit]) for unit in range(14)]
    expected = stats.ttest_ind(own[:7], own[7:], equal_var=False)
    ends = expected.confidence_interval()
    assert (found.effect, found.low, found.high) == pytest.approx((np.mean(own[:7]) - np.mean(own[7:]), ends.low, ends.high))
    lines = [{"text": f"{word} {n} {side}", "group": side, "pair": n} for n, word in enumerate(SPORT) for side in ("a", "b")]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = {"title": "t", "targets": [{"loss": True}], "pairs": {"file": "pairs.jsonl", "groups": ["a", "b"]}}
    plan = AuditPlan.parse(pairs, tmp_path)
    values = rng.normal(size=14)
    expected = stats.ttest_rel(values[::2], values[1::2])
    found, ends = measure(plan, "m", Target("loss"), values, 0), expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.p == pytest.approx(expected.pvalue, abs=0.1)  # by permutation of seven pairs


def test_p_values_are_uniform_where_nothing_differs():
    plan = AuditPlan.parse(table(), Path())
    p = [measure(plan, "m", Target("loss"), np.random.default_rng(n).normal(size=len(plan.cases)), n).p for n in range(60)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"templates": ["a {wrd} b {word}"]}, UnknownName, "Did you mean 'word'?"),
        ({"templates": ["no slot"]}, BadConfig, "has no {word}"),
        ({"groups": {"word": {"a": ["x"], "b": list(HEALTH)}}}, BadConfig, "has 1 fillers; it takes at least 6"),
        ({"groups": {"word": {"a": list(SPORT), "b": list(SPORT)}}}, BadConfig, "stand in both groups"),
        ({"groups": {}}, BadConfig, "groups name one slot"),
        ({"targets": []}, BadConfig, "has no targets"),
        ({"targets": [{"los": True}]}, UnknownName, "Did you mean 'loss'?"),
        ({"targets": [{"next": ""}]}, BadConfig, "a text is needed"),
        ({"pairs": {"file": "x", "groups": ["a", "b"]}}, BadConfig, "either templates"),
        ({"modls": ["x"]}, UnknownName, "Did you mean 'models'?"),
        ({"slots": {"place": [f"w{n}" for n in range(900)]}}, BadConfig, "at most 20,000"),
        ({"slots": {"place": ["week"], "time": ["now"]}}, BadConfig, "stand in no template: time"),
        ({"slots": {"place": []}}, BadConfig, "is a list of words, and not empty"),
        ({"slots": ["week"]}, BadConfig, "slots is a table"),
        ({"templates": ["the {word} in the {place"]}, BadConfig, "has a brace that is no slot"),
        ({"groups": "word"}, BadConfig, "groups name one slot"),
        ({"models": "gemma-3-270m"}, BadConfig, "models is a list of names of models"),
        ({"models": []}, BadConfig, "and not empty"),
        ({"targets": [{"loss": False}]}, BadConfig, "asked for by loss = true"),
        ({"targets": [{"feature": "sport"}]}, BadConfig, "an SAE and a number are needed"),
    ],
)
def test_what_cannot_be_asked_is_refused(changed, error, said):
    with pytest.raises(error) as caught:
        AuditPlan.parse(table(**changed), Path())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ("pairs", BadConfig, "pairs is a table"),
        ({"groups": ["a", "b"]}, BadConfig, "pairs need a file"),
        ({"file": 3, "groups": ["a", "b"]}, BadConfig, "pairs need a file"),
        ({"file": "p.jsonl", "groups": ["a", "a"]}, BadConfig, "two groups"),
        ({"file": "p.jsonl", "groups": ["a", "b"], "pair": "pear"}, UnknownName, "Did you mean 'pair'?"),
        ({"file": "p.jsonl", "groups": ["a", "b"], "where": {"kin": 1}}, UnknownName, "Did you mean 'kind'?"),
        ({"file": "p.jsonl", "groups": ["a", "b"], "where": {"kind": 2}}, BadConfig, "0 pairs with one text of 'a' and one of 'b', among"),
        ({"file": "gone.jsonl", "groups": ["a", "b"]}, Missing, "there is no file"),
    ],
)
def test_pairs_that_cannot_be_read_are_refused(tmp_path, changed, error, said):
    rows = [{"text": f"{word} {side}", "group": side, "pair": n, "kind": 1} for n, word in enumerate(SPORT) for side in "ab"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(error) as caught:
        AuditPlan.parse({"targets": [{"loss": True}], "pairs": changed}, tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "error", "said"),
    [
        ([{"loss": True}, {"feature": "tiny/resid_post.0/64/1"}, {"topic": "sprot"}], UnknownName, "Did you mean 'sport'?"),
        ([{"loss": True}, {"feature": "tiny/resid_post.0/64/64"}], BadConfig, "it has 64, from 0 to 63"),
    ],
)
def test_features_and_topics_that_are_none_are_refused_before_anything_is_measured(folder, monkeypatch, targets, error, said):
    monkeypatch.setattr("hooke.audits.values_of", None)
    plan = AuditPlan.parse(table(targets=targets, models=[str(folder / "model")]), folder)
    with pytest.raises(error) as caught:
        run_audit(plan)
    assert said in str(caught.value)


def test_a_model_without_saes_has_no_features(folder, monkeypatch):
    monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
    plan = AuditPlan.parse(table(targets=[{"topic": "sport"}], models=[str(folder / "model")]), folder)
    with pytest.raises(BadConfig, match="loss and next need none"):
        run_audit(plan)


def test_a_model_that_no_pack_is_for_is_said_to_have_no_such_features(folder, monkeypatch):
    monkeypatch.undo()
    plan = AuditPlan.parse(table(targets=[{"loss": True}, {"feature": "12/6213"}], models=[str(folder / "model")]), folder)
    with pytest.raises(HookeError) as caught:
        run_audit(plan)
    assert "12" in str(caught.value)


def test_a_text_of_a_million_characters_is_refused_before_anything_is_measured(folder, monkeypatch):
    monkeypatch.setattr("hooke.audits.values_of", None)
    words = {"word": {"sport": [*SPORT, "goal " * 200_000], "health": list(HEALTH)}}
    plan = AuditPlan.parse(table(groups=words, models=[str(folder / "model")]), folder)
    with pytest.raises(LimitReached, match=r"has 200,00\d tokens; an audit reads sentences, of at most"):
        run_audit(plan)


def test_pairs_whose_texts_are_the_same_are_refused(tmp_path):
    rows = [{"text": f"the {word}", "group": side, "pair": n} for n, word in enumerate(SPORT) for side in "ab"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadConfig, match="two texts of every pair"):
        AuditPlan.parse({"targets": [{"loss": True}], "pairs": {"file": "p.jsonl", "groups": ["a", "b"]}}, tmp_path)


def test_pairs_are_of_one_wording(tmp_path):
    rows = [
        {"text": f"the {word} {side}", "group": side, "pair": n, "of": "x", "pronoun": side}
        for n, word in enumerate(SPORT)
        for side in "ab"
    ]
    rows[0]["of"], rows[1]["of"], rows[3]["of"] = "y", " y", "z"
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = {"targets": [{"loss": True}], "pairs": {"file": "p.jsonl", "groups": ["a", "b"]}}
    with pytest.raises(BadConfig, match="and in 7 of 7 pairs"):
        AuditPlan.parse({**plan, "pairs": {**plan["pairs"], "wording": "pronoun"}}, tmp_path)
    read = AuditPlan.parse({**plan, "pairs": {**plan["pairs"], "wording": "of"}}, tmp_path)
    assert [case.wording for case in read.cases] == ["y", "y", "x / z", "x / z", *["x"] * 10]


def test_a_plan_that_is_none(tmp_path):
    with pytest.raises(Missing, match="there is no plan"):
        AuditPlan.read(tmp_path / "none.toml")
    (tmp_path / "odd.toml").write_text("a = [")
    with pytest.raises(BadFile, match="is not TOML"):
        AuditPlan.read(tmp_path / "odd.toml")
