"""Whole comparisons on the planted model: what was planted is found, what was not is not, and beside it stands what else it may be."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from piles import pile
from rich.console import Console

from hooke import tiny
from hooke.analysis import Options, Reader
from hooke.differences import compare, diff, group
from hooke.differences import piles as in_files
from hooke.differences.assemble import too_long
from hooke.differences.reading import read_pile
from hooke.differences.rows import csv_text
from hooke.errors import BadConfig
from hooke.report.differences import page
from hooke.report.differences_terminal import print_differences
from hooke.report.differences_wording import NOT_SURE, foremost, summary
from hooke.text.intake import Record

SPORT, WEATHER = (list(tiny.concepts).index(name) for name in ("sport", "weather"))


@pytest.fixture(scope="module")
def grouped():
    """Sport in 60 % of one desk's texts and in 10 % of the other's; weather in half of either's."""
    first = [f"{text} {extra}" for text, extra in zip(pile("sport", 60, 0.6, 1), pile("weather", 60, 0.5, 2)[::-1], strict=True)]
    other = [f"{text} {extra}" for text, extra in zip(pile("sport", 60, 0.1, 3), pile("weather", 60, 0.5, 4)[::-1], strict=True)]
    return group(in_files([first, other], ["back page", "front page"], "desk"), "desk")


@pytest.fixture(scope="module")
def found(reader, grouped):
    return compare(reader, grouped)


def test_the_planted_feature_is_found_first_and_named(found):
    best = next(one for one in found.findings if one.kind == "feature")
    assert (best.feature, "sport" in best.name) == (f"tiny/resid_post.0/64/{SPORT}", True)
    assert best.groups == {"back page": pytest.approx(0.6), "front page": pytest.approx(0.1)}
    assert best.effect == pytest.approx(0.5)
    assert 0.3 < best.low < best.effect < best.high < 0.7
    assert best.q < 1e-4
    assert best.replicated is True
    assert all(holds is not False for holds in best.holds.values())


def test_what_a_group_is_about_comes_before_how_it_is_worded_and_each_name_once(found):
    (one, *_) = (finding for finding in found.findings if finding.kind == "feature" and finding.effect > 0)
    named = {"words": ["loud", "loud", "late"], "about": ["rain", "sun", "rain", "wind", "snow"]}
    rows = [replace(one, name=name, group=group, like=None) for group, names in named.items() for name in names]
    said = [
        (lead, [what.partition(" (")[0] for what in some])
        for lead, some in ((one.lead, one.said) for one in foremost(replace(found, findings=rows)))
    ]
    assert said == [("is more often about", ["rain", "sun", "wind"]), ("is worded with more of", ["loud", "late"])]


def test_how_many_differences_are_doubtful_is_said(found):
    assert not [said for said in summary(found) if "doubtful" in said]
    first, second, *others = found.findings
    weak = [replace(first, replicated=False), replace(second, holds={"length": False}), *others]
    assert any(said.startswith("2 of these are doubtful: each goes away") for said in summary(replace(found, findings=weak)))


def test_texts_that_were_cut_are_said(monkeypatch, reader, grouped):
    pile = read_pile(reader, grouped.texts[:30])
    assert too_long(pile) == []
    monkeypatch.setattr("hooke.differences.assemble.MAX_TOKENS", int(pile.tokens.max()))
    cut = int((pile.tokens == pile.tokens.max()).sum())
    assert f"{cut} text" in too_long(pile)[0]


def test_a_text_of_a_million_characters_is_read_to_its_limit(reader):
    long = ["x" * 1_000_000, "the old goal " * 80_000]
    own = [[f"{text} {n}" for n, text in enumerate(pile("sport", 12, 0.5, seed))] for seed in (1, 2)]
    found = compare(reader, group(in_files([[*own[0], long[0]], [*own[1], long[1]]], ["a", "b"], "pile"), "pile"))
    assert "2 texts are longer than the 16,384 tokens that are read of each." in found.notes
    assert all(len(one.before + one.token + one.after) < 1000 for finding in found.findings for one in finding.excerpts)


def test_what_is_alike_in_both_is_no_finding(found):
    assert not [one for one in found.findings if one.feature == f"tiny/resid_post.0/64/{WEATHER}"]


def test_texts_stand_behind_a_row_with_the_token_marked(found, grouped):
    best = next(one for one in found.findings if one.kind == "feature")
    assert [one.group for one in best.excerpts] == ["back page"] * 5 + ["front page"] * 2
    for one in best.excerpts:
        assert one.token.strip() in tiny.concepts["sport"]
        assert (one.before + one.token + one.after).removeprefix("… ").removesuffix(" …") in grouped.texts[one.text]


def test_the_document_has_the_promised_keys(found):
    document = json.loads(json.dumps(found.to_json()))
    promised = ["schema_version", "groups", "tested", "smallest_detectable", "findings", "confounders", "baselines"]
    assert [key for key in promised if key not in document] == []
    one = document["findings"][0]
    assert {"kind", "feature", "name", "groups", "effect", "low", "high", "q", "replicated", "texts"} <= set(one)
    assert document["groups"] == [{"name": "back page", "texts": 60}, {"name": "front page", "texts": 60}]
    assert {row["name"] for row in document["confounders"]} == {"length", "duplicates", "boilerplate", "position"}
    assert document["baselines"]["words (log-odds)"]["auc"] > 0.6
    assert document["made"]["saes"][0]["name"] == "tiny/resid_post.0/64"
    assert {"hooke", "python", "libraries", "models", "corpus_sha256", "seed"} <= set(document["made"])
    assert "command" not in document["made"]  # nobody typed one


def test_the_page_runs_nothing_and_opens_texts_in_place(found):
    html = page(found)
    assert "<script" not in html
    assert "default-src &#x27;none&#x27;" in html
    assert "What this sample can show" in html.split("<main")[0]
    assert html.count("<details") > 1
    rows = csv_text(found).splitlines()
    assert len(rows) == len(found.findings) + 1
    assert "share in back page" in rows[0]


@pytest.mark.parametrize("threads", [1, 3])
def test_any_batch_size_and_number_of_threads_give_the_same_bytes(grouped, found, atlas, threads):
    other, before = Reader(tiny.model(), [tiny.sae()], Options(batch_tokens=64, chunk=7), atlas=atlas), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = compare(other, grouped)
    finally:
        torch.set_num_threads(before)
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())
    assert page(again) == page(found)


@pytest.mark.parametrize("texts", [10, 11, 12])
def test_the_smallest_piles_give_figures_and_no_gaps(reader, texts):
    for words in (("the goal", "the bank"), ("the x", "the y"), ("x", "y")):  # of the second one word is in many texts, of the third none
        own = [[f"{word}{n}" for n in range(texts)] for word in words]
        json.dumps(compare(reader, group(in_files(own, ["a", "b"], "pile"), "pile")).to_json(), allow_nan=False)


def test_random_halves_of_one_pile_differ_in_nothing(reader):
    texts = pile("sport", 120, 0.5, 9)
    grouped = group([Record.of(text, {"half": str(n % 2)}) for n, text in enumerate(sorted(texts))], "half")
    found = compare(reader, grouped)
    assert found.findings == []
    assert "can be told from chance" in page(found)
    assert "does not show that there is no difference" in page(found)
    assert f"takes about {-(-found.needed[0].texts // 10) * 10} texts in each" in page(found)
    assert 0 < len(found.nearest) <= 8
    assert min(one.q for one in found.nearest) >= found.level
    assert {(one.beyond_words, one.replicated, *one.holds) for one in found.nearest} == {(None, None)}
    assert [one.like for one in found.nearest] == [None] * len(found.nearest)
    assert NOT_SURE in page(found)
    assert page(found).count('class="row weak"') == len(found.nearest)
    out = io.StringIO()
    print_differences(found, Console(file=out, width=200))
    assert out.getvalue().index(NOT_SURE) < out.getvalue().index(found.nearest[0].name)


def test_what_comes_nearest_is_shown_only_where_nothing_is_found(found):
    assert found.findings
    assert found.nearest == []
    assert NOT_SURE not in page(found)


def test_the_nearest_is_what_was_planted_in_a_sample_too_small_to_show_it(reader):
    own = [pile("sport", 14, 0.5, 1), pile("sport", 14, 0.15, 3)]
    found = compare(reader, group(in_files(own, ["back page", "front page"], "desk"), "desk"))
    assert found.findings == []
    best = next(one for one in found.nearest if one.kind == "feature")
    assert ("sport" in best.name, best.effect > 0.2) == (True, True)


def test_a_source_that_explains_everything_takes_the_finding_away(reader):
    """One paper writes of sport and fills one group; within a paper the groups are alike."""
    sport, plain = pile("sport", 100, 1.0, 5), pile("sport", 100, 0.0, 6)
    rows = [Record.of(text, {"group": "a" if n % 5 else "b", "outlet": "Goal"}) for n, text in enumerate(sport)]
    rows += [Record.of(text, {"group": "b" if n % 5 else "a", "outlet": "Daily"}) for n, text in enumerate(plain)]
    found = compare(reader, group(rows, "group"))
    best = next(one for one in found.findings if "sport" in one.name)
    assert best.holds["source"] is False
    assert best.holds["length"] is True
    source = next(row for row in found.confounders if row.name == "source")
    assert source.kept is not None
    assert source.kept < source.of


def test_a_source_that_is_the_group_cannot_be_told_from_it(reader):
    rows = [Record.of(text, {"group": "a", "outlet": "Goal"}) for text in pile("sport", 40, 0.9, 5)]
    rows += [Record.of(text, {"group": "b", "outlet": "Daily"}) for text in pile("sport", 40, 0.0, 6)]
    found = compare(reader, group(rows, "group"))
    assert next(row for row in found.confounders if row.name == "source").kept is None


def test_families_count_as_wholes(reader):
    """Ten stories told eight times each: one group has more that mention sport, and ten stories show little."""
    rows = []
    for story in range(24):
        sporty = story % 2 == 0 and story < 14
        for n, text in enumerate(pile("sport", 6, 1.0 if sporty else 0.0, 100 + story)):
            rows.append(Record.of(f"{text} {n}", {"group": "a" if story % 2 == 0 else "b", "story": story}))
    texts = compare(reader, group(rows, "group"))
    whole = compare(reader, group(rows, "group", family="story"))
    one, other = (next((f for f in found.findings if "sport" in f.name), None) for found in (texts, whole))
    assert one is not None
    assert other is None or other.high - other.low > 1.5 * (one.high - one.low)
    assert whole.smallest_detectable > texts.smallest_detectable
    assert np.isfinite(whole.smallest_detectable)


def test_pairs_and_trends(reader):
    plain = pile("sport", 40, 0.0, 7)
    rows = [Record.of(text, {"kind": "as it was", "pair": n, "year": 1990 + n}) for n, text in enumerate(plain)]
    rows += [Record.of(f"{text} goal", {"kind": "changed", "pair": n, "year": 2020 + n}) for n, text in enumerate(plain)]
    for options in ({"by": "kind", "pair": "pair"}, {"by": "year", "trend": True}):
        grouped = group(rows, **options)
        best = next(one for one in compare(reader, grouped).findings if one.kind == "feature")
        assert ("sport" in best.name, abs(best.effect)) == (True, pytest.approx(1, abs=0.15))


def test_pairs_of_one_family_count_as_one(reader):
    """Twelve authors, five sentences each: what one author in four changes is little, what every author changes is much."""
    rows = []
    for n, text in enumerate(pile("sport", 60, 0.0, 7)):
        own = {"pair": n, "author": n // 5}
        changed = f"{text} goal" + (" storm" if n // 5 in (0, 4, 8) else "")
        rows += [Record.of(text, {**own, "kind": "as it was"}), Record.of(changed, {**own, "kind": "changed"})]
    alone, joined = (compare(reader, group(rows, "kind", pair="pair", family=family)) for family in (None, "author"))
    columns = [{int(one.feature.rpartition("/")[2]) for one in found.findings if one.kind == "feature"} for found in (alone, joined)]
    assert columns[0] >= {SPORT, WEATHER}
    assert (SPORT in columns[1], WEATHER in columns[1]) == (True, False)
    assert joined.smallest_detectable > alone.smallest_detectable
    assert "turned together" in joined.limits[-1]
    assert "Pairs were counted one by one" in alone.limits[-1]


def test_from_python(monkeypatch, reader, atlas):
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda sae: atlas)
    piles_ = {"a": pile("sport", 40, 0.9, 5), "b": pile("sport", 40, 0.0, 6)}
    found = diff(piles_, model=reader.model, saes=tiny.sae())
    flat = diff([*piles_["a"], *piles_["b"]], ["a"] * 40 + ["b"] * 40, model=reader.model, saes=tiny.sae())
    assert abs(found.findings[0].effect) == pytest.approx(0.9)
    assert replace(found, made={}) == replace(flat, made={})
    with pytest.raises(BadConfig, match="2 texts and 1 labels"):
        diff(["x", "y"], ["a"], model=reader.model, saes=tiny.sae())


def test_texts_behind_a_sensitive_name_are_shown_on_demand(found):
    at = next(i for i, one in enumerate(found.findings) if one.excerpts)
    told = [replace(one, sensitive=i == at) for i, one in enumerate(found.findings)]
    html = page(replace(found, findings=told))
    assert "they may offend" not in page(found)
    veiled = html.split('class="veiled"')[1]
    assert veiled.index("they may offend") < veiled.index(f"<mark>{found.findings[at].excerpts[0].token}")
    assert "A feature describes text, not people" in html
