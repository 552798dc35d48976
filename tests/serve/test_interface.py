"""What the interface answers, against the atlas and the model that it stands on."""

import csv
import io
import itertools
import json
import os
import re
import socket
import threading
import time
from collections import Counter

import hostile
import numpy as np
import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from served import desk as make_desk
from served import tiny_microscope

from hooke import tiny
from hooke.analysis.result import Hit, TextResult
from hooke.atlas import Atlas, Name, wording
from hooke.atlas.wording import SCALE, rated
from hooke.codes import Codes
from hooke.explain.kinds import kind_of
from hooke.explain.rules.phrasing import reworded
from hooke.features.cache import ActivationCache, Chunk
from hooke.serve.app import named
from hooke.serve.library import SORTS, Library, Wanted, names_of, title_of
from hooke.serve.microscope import PART, Cancelled, Microscope, parted
from hooke.serve.runs import read_runs
from hooke.serve.session import API
from hooke.serve.shipped import CHUNK, shipped_texts
from hooke.text.meaning import MiniLM

SAE = "tiny/resid_post.0/64"


def test_what_it_is(desk):
    about = desk.get("/about")
    assert about["model"] == {"name": "tiny", "state": "ready", "detail": "", "saes": [SAE], "default": [SAE]}
    assert about["features"] == tiny.D_SAE
    assert about["ratings"]["here"] == wording.HERE
    assert [atlas["contexts"] for atlas in about["atlases"]] == [False]  # the planted one has no texts
    (row,) = desk.get("/saes")
    assert (row["name"], row["layer"], row["d_sae"], row["ready"]) == (SAE, 0, tiny.D_SAE, True)
    assert (row["named"], row["dead"]) == (len(tiny.concepts), tiny.D_SAE - planted.N_ALIVE)


def test_answers_have_the_shape_that_the_schema_says(desk):
    from hooke.serve import runs, schema

    for path, kind in (
        ("/about", schema.About),
        ("/saes", list[schema.SaeRow]),
        ("/features", schema.FeaturePage),
        (f"/features/{SAE}/0", schema.FeatureHead),
        (f"/features/{SAE}/0/examples", schema.Examples),
        (f"/features/{SAE}/0/near-misses", schema.NearMisses),
        (f"/features/{SAE}/0/neighbours", schema.Neighbours),
        ("/search?q=finance", schema.SearchPage),
        ("/lists", schema.Lists),
        (f"/notes/{SAE}/0", schema.Note),
        ("/runs", runs.Runs),
        (f"/saes/{SAE}", schema.SaeDetail),
    ):
        TypeAdapter(kind).validate_python(desk.get(path))
    assert json.loads(json.dumps(desk.get("/openapi.json")))["openapi"].startswith("3.1")


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("ascending", [False, True])
def test_rows_sorted_and_paged_as_a_naive_list_is(desk, sort, ascending):
    atlas = Atlas(desk.library.atlases[0].path)
    table = atlas.table(SAE)
    columns = {"score": table.score, "density": table.density, "max": table.max, "evidence": table.evidence, "index": range(tiny.D_SAE)}
    short = [label and reworded(label) for label in table.label]
    kinds = [kind_of(None, rule, label) for rule, label in zip(table.rule, table.label, strict=True)]
    columns |= {"layer": [0] * tiny.D_SAE, "label": [label.casefold() if label else None for label in short]}
    columns["named"] = [None if kind in (None, "unclear") else kind == "topic" for kind in kinds]
    found, cursor = [], "0"
    while cursor is not None:
        page = desk.get(f"/features?sort={sort}&ascending={str(ascending).lower()}&limit=13&cursor={cursor}")
        found += page["rows"]
        cursor = page["cursor"]
    assert sorted(row["index"] for row in found) == list(range(tiny.D_SAE))
    values = [columns[sort][row["index"]] for row in found]
    known = [value for value in values if value is not None]
    assert values == known + [None] * (len(values) - len(known))  # what has no value comes last either way
    assert known == sorted(known, reverse=not ascending)


def named_atlas(folder):
    """The planted atlas with names of every standing; the features that bear them."""
    library = Library([planted.write(folder / "atlas.sqlite")])
    atlas = library.atlases[0]
    rules = [i for i, score in enumerate(atlas.table(SAE).score) if score is not None]
    names = {
        "often": Name("floods", "topic", right=11, tried=12),
        "seldom": Name("anything wet", "topic", right=2, tried=12, score=0.99, low=0.95, n=90),
        "scored": Name("harbour towns", "topic", score=0.8, low=0.6, n=10),
        "untried": Name("storms at sea", "event"),
        "refuted": Name("nothing of it", "topic", score=0.5, low=0.4, n=10),
        "word": Name("the word 'sea'", "word"),
    }
    at = dict(zip(names, rules, strict=False))
    atlas._names[SAE] = {at[key]: name for key, name in names.items()}
    return library, at


def test_a_readers_name_stands_first_those_that_fit_most_often_before_others(tmp_path):
    library, at = named_atlas(tmp_path)
    rows = library.rows(Wanted(), 0, 500).rows
    order = [row.index for row in rows]
    assert order[0] == at["often"]
    assert set(order[:4]) == {at[key] for key in ("often", "seldom", "scored", "untried")}
    assert order[4] == at["word"]
    by_index = {row.index: row for row in rows}
    assert by_index[at["scored"]].score == pytest.approx(0.8)
    refuted = by_index[at["refuted"]]
    assert not refuted.by_reader
    assert refuted.label == reworded(library.atlases[0].table(SAE).label[at["refuted"]])


def test_a_name_is_rated_alike_in_the_table_in_the_search_and_on_its_page(tmp_path):
    library, at = named_atlas(tmp_path)
    library.notes.put(library.entry(SAE), at["word"], label="mine")
    rows = {row.index: row.rating for row in library.rows(Wanted(), 0, 500).rows}
    for index, rating in rows.items():
        feature = library.feature(f"{SAE}/{index}", 0)
        hits = library.search(title_of(feature) or "", (), ["label"], 100).hits
        assert [rated(hit) for hit in hits if hit.name == feature.name] in ([rating], []), index
        if rating.word != "yours" and not rating.of_rule and (names := names_of(feature)):
            assert names[0].rating == rating
    words = {key: (rows[i].word, rows[i].figure) for key, i in at.items()}
    assert words["often"] == ("usually fits", "true of 11 of 12")
    assert words["seldom"] == ("seldom fits", "true of 2 of 12")
    assert words["scored"] == ("sometimes fits", "0.80 on 10 places")
    assert words["word"] == ("yours", "not tested")
    assert rows[at["untried"]].of_rule
    for least in SCALE:
        kept = {row.index for row in library.rows(Wanted(rating=least), 0, 500).rows}
        assert kept == {i for i, rating in enumerate(library._columns.rating) if rating >= SCALE.index(least)}
    best = library.rows(Wanted(sort="score"), 0, 500).rows
    levels = [library._columns.rating[row.index] for row in best]
    assert levels == sorted(levels, reverse=True)


def test_fresh_text_shows_what_each_of_its_texts_shows_when_it_is_read_alone(desk):
    index = list(tiny.concepts).index("sport")
    told = desk.get(f"/features/{SAE}/{index}/fresh")
    texts = [text for text, _ in shipped_texts()]
    traces = [data | {"values": dense(data)} for data in activations(desk, texts, features=[f"{SAE}/{index}"])]
    assert told["texts"] == len(texts)
    assert told["tokens"] == sum(len(one["tokens"]) for one in traces)
    assert told["firings"] == sum(value > 0 for one in traces for value in one["values"])
    assert told["fired"] == sum(max(one["values"], default=0) > 0 for one in traces)
    by_text = {"".join(one["tokens"]): one["values"] for one in traces}
    for stretch in told["stretches"]:
        for passage in stretch["passages"]:
            values = by_text["".join(passage["tokens"])]
            assert passage["values"] == pytest.approx(values, rel=0.02, abs=0.02)
            assert passage["values"][passage["peak"]] == max(passage["values"])
            assert stretch["low"] <= max(values) * 1.02
            assert max(values) <= stretch["high"] * 1.02
    assert sum(len(one["passages"]) for one in told["stretches"]) > 0
    assert sum(one["share"] for one in told["stretches"]) == pytest.approx(1)
    for miss in told["misses"]:
        assert max(by_text["".join(miss["tokens"])]) == 0
    silent = desk.get(f"/features/{SAE}/{tiny.D_SAE - 1}/fresh")
    assert (silent["fired"], silent["firings"], [one["share"] for one in silent["stretches"]]) == (0, 0, [None] * 5)
    status, problem, _ = desk.ask("GET", f"{API}/features/{SAE}/{tiny.D_SAE}/fresh")
    assert (status, problem["status"]) == (404, 404)


def test_fresh_text_is_read_on_where_a_reader_left(tmp_path):
    microscope = tiny_microscope(None)
    feature = Library([planted.write(tmp_path / "b.sqlite")]).feature(f"{SAE}/1", 0)
    done: list[int] = []
    with microscope.stopping(lambda: bool(done), lambda _, told: done.append(told["done"])), pytest.raises(Cancelled):
        list(microscope.shipped(feature))
    assert done == [CHUNK]
    with microscope.stopping(lambda: False, lambda _, told: done.append(told["done"])):
        list(microscope.shipped(feature))
    assert done[:2] == [CHUNK, 2 * CHUNK]
    (again,) = microscope.shipped(feature)
    assert again[0] == "found"
    assert again[1].texts == len(shipped_texts())


def test_filters_as_a_naive_filter(desk):
    rows = desk.get("/features?limit=500")["rows"]
    for query, keep in (
        ("rating=sometimes%20fits", lambda row: row["rating"]["word"] in SCALE[2:]),
        ("min_score=0.8", lambda row: row["score"] is not None and row["score"] >= 0.8),
        ("max_density=0.03", lambda row: row["density"] <= 0.03),
        ("min_density=0.03", lambda row: row["density"] >= 0.03),
        ("q=SPORT", lambda row: "sport" in (row["label"] or "")),
        ("kind=word", lambda row: row["kind"] == "word"),
        ("sae=0&q=i", lambda row: "i" in (row["label"] or "")),
    ):
        page = desk.get(f"/features?limit=500&{query}")
        assert {row["index"] for row in page["rows"]} == {row["index"] for row in rows if keep(row)}, query
        assert page["total"] == len(page["rows"])


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/features?sort=colour", 404, "score"),
        ("/features?limit=501", 400, "500"),
        ("/features?limit=0", 400, "500"),
        ("/features?cursor=x", 400, "cursor"),
        ("/features?sae=99", 404, SAE),
        ("/features?which=loved", 404, "starred"),
        ("/features?min_score=high", 400, "min_score"),
        (f"/features/{SAE}/64", 404, "64"),
        (f"/features/{SAE}/0?around=129", 400, "128"),
        ("/features/other/resid_post.0/64/1", 404, SAE),
        ("/features/tiny/nowhere/64/1", 400, "site"),
        ("/search?q=%21", 400, "word"),
        ("/run?path=/etc", 404, "run"),
        ("/nothing", 404, "nothing"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(desk, path, status, said):
    found, told, headers = desk.ask("GET", API + path)
    assert (found, told["status"]) == (status, status)
    assert said in told["detail"]
    assert headers["content-type"] == "application/problem+json"


def test_a_text_is_read_as_the_reader_reads_it(desk):
    texts = ["The bank raised its loan", "Striker wins the match"]
    events = desk.stream("/analyze", {"texts": texts, "top": 3})
    assert [name for name, _ in events] == ["meta", "text", "text", "done"]
    names = list(tiny.concepts)
    for (_, told), concept in zip(events[1:3], ("finance", "sport"), strict=True):
        best = told["result"]["features"][0]
        assert best["feature"] == f"{SAE}/{names.index(concept)}"
        assert "".join(told["result"]["tokens"]).strip() == texts[told["index"]]
        at = [position for position, token in enumerate(told["result"]["tokens"]) if token.strip().lower() in tiny.concepts[concept]]
        assert sorted(map(int, best["activations"])) == at
    assert events[-1][1]["limits"]


def test_words_are_called_on_the_page_what_a_report_calls_them(tmp_path):
    def of_word(name, pos, kind="word"):
        return Hit(f"{SAE}/{pos}", SAE, pos, name, 0.95, "word", 128, 1.0, 0.5, 3.0, "x", pos, {pos: 1.0}, kind=kind, group="words")

    hits = [of_word("the word 'water'", 0), of_word("words beginning with fl", 1, "form"), of_word("walking", 2)]
    text = TextResult("rain floods walks", ["rain", " floods", " walks"], [], None, [], None, words=hits)
    ((_, told),) = named([("text", {"result": text})], named_atlas(tmp_path)[0])
    assert [row["behind"] for row in told["result"]["words"]] == ["like 'water'", None, "walking"]


def activations(desk, texts, **asked):
    return [data for name, data in desk.stream("/activations", {"texts": texts, **asked}) if name == "activations"]


def dense(told):
    """Of one feature, its value on each token."""
    ends = itertools.pairwise(told["indptr"])
    return [told["value"][low] if low < high else 0.0 for low, high in ends]


def test_one_feature_on_every_token(desk):
    index = list(tiny.concepts).index("finance")
    (told,) = activations(desk, ["the bank and the loan of a storm"], features=[f"{SAE}/{index}"])
    assert set(told["feature"]) == {index}
    fired = [token.strip() for token, value in zip(told["tokens"], dense(told), strict=True) if value > 0]
    assert fired == ["bank", "loan"]
    assert np.allclose(told["value"], planted.STRENGTH, atol=1)


def test_every_activation_is_what_the_sae_says(desk):
    texts = ["the bank and the storm", "the judge of the goal\n" * 200]
    found = activations(desk, texts)
    assert [one["index"] for one in found] == [0, *[1] * (len(found) - 1)]
    assert len(found) > 2
    for told, piece in zip(found, [texts[0], *parted(texts[1])], strict=True):
        assert piece.startswith("".join(told["tokens"]))
    model, sae = tiny.model(), tiny.sae()
    for told in found[:2]:
        ids = torch.tensor(model.tokenizer.encode(["".join(told["tokens"])]))
        codes = sae.encode(model.capture(ids, [sae.facts.site])[sae.facts.site][0][~model.is_special(ids)[0]].float())
        assert (told["indptr"], told["feature"]) == (codes.indptr.tolist(), codes.feature.tolist())
        assert told["value"] == pytest.approx(codes.value.tolist(), abs=1e-3)
    assert desk.stream("/activations", {"texts": ["a"], "features": [f"{SAE}/9999"]})[0][1]["detail"].startswith("unknown feature")


def test_one_sae_in_whole(desk):
    told = desk.get(f"/saes/{SAE}")
    assert told["sae"] == next(row for row in desk.get("/saes") if row["name"] == SAE)
    rows = desk.get(f"/features?sae={SAE}&limit=500")["rows"]
    assert told["kinds"] == Counter(row["kind"] for row in rows if row["kind"])
    words = [row["rating"]["word"] for row in rows]
    assert told["ratings"] == {word: sum(own in SCALE[at:] for own in words) for at, word in enumerate(SCALE) if at}
    assert told["facts"] == {}  # a planted SAE is not an installed one
    assert desk.ask("GET", f"{API}/saes/no/resid_post.0/where")[0] == 404


def test_features_and_lists_as_files(desk):
    name = f"{SAE}/{list(tiny.concepts).index('sport')}"
    told = desk.get(f"/export/feature/{name}")
    assert told["name"] == name
    status, page, headers = desk.ask("GET", f"{API}/export/feature/{name}?as=html")
    assert status == 200
    assert "sport" in page
    assert headers["content-disposition"].startswith("attachment")
    for index, label in ((0, "=1+1"), (1, "<b>|*bold*")):
        desk.ask("PUT", f"{API}/notes/{SAE}/{index}", {"label": label})
        desk.ask("PUT", f"{API}/lists/some/{SAE}/{index}", {})
    assert [row["own_label"] for row in desk.get("/export/list/some")] == ["=1+1", "<b>|*bold*"]
    rows = list(csv.DictReader(io.StringIO(desk.ask("GET", f"{API}/export/list/some?as=csv")[1])))
    assert [(row["feature"], row["your name"]) for row in rows] == [(f"{SAE}/0", "'=1+1"), (f"{SAE}/1", "<b>|*bold*")]
    table = desk.ask("GET", f"{API}/export/list/some?as=md")[1].splitlines()
    assert len(table) == 4
    assert "\\<b\\>\\|\\*bold\\*" in table[3]
    assert desk.get("/export/list/none-such") == []
    for path, status in ((f"feature/{name}?as=csv", 400), ("list/some?as=html", 400), ("feature/x?as=json", 400), ("thing/x", 400)):
        assert desk.ask("GET", f"{API}/export/{path}")[0] == status, path
    for index in (0, 1):
        desk.ask("PUT", f"{API}/notes/{SAE}/{index}", {"label": ""})
        desk.ask("DELETE", f"{API}/lists/some/{SAE}/{index}", {})


def test_what_writes_is_loaded_once_and_short_work_is_done_meanwhile(monkeypatch):
    class Half:
        loaded, blocks = False, ()

        @property
        def hf(self):
            self.loaded = True

    gate, told = threading.Event(), []
    monkeypatch.setattr("hooke.serve.microscope.import_module", lambda _: gate.wait(5))
    microscope = Microscope(Half(), [], [])
    with microscope.stopping(lambda: False, lambda *event: (told.append(event), gate.set())):
        events = list(microscope.whole())
        assert list(microscope.whole()) == []
    assert [name for name, _ in told + events] == ["loading"] * len(told + events)
    shares = [value["share"] for _, value in told + events]
    assert shares == sorted(shares)
    assert (len(told) > 0, len(events), shares[-1] < 1) == (True, 1, True)


def test_what_writes_can_be_had_ready_before_it_is_asked_for(desk):
    assert [name for name, _ in desk.stream("/prepare", {})] == ["done"]  # the planted model has all of it


def test_a_feature_turned_up_writes_its_own_words_beside_controls(desk):
    index = list(tiny.concepts).index("sport")
    asked = {"features": [f"{SAE}/{index}"], "prompt": "the mayor says that the", "doses": [4.0], "tokens": 12, "temperature": 0.5}
    events = desk.stream("/steer", asked)
    assert [name for name, _ in events] == ["state", "meta", *["written"] * 12, "state", "done"]
    assert [place["altered"] for place in events[1][1]["prompt"]] == [False, *[True] * 5]
    told, done = events[1][1], events[-1][1]
    assert (told["doses"], told["features"][0]["name"]) == ([4.0], asked["features"][0])
    assert [(arm["kind"], arm["dose"]) for arm in done["arms"]] == [("clean", 0), ("steered", 4), ("random", 4), ("prompted", 0)]
    # What was shown on the way is the beginning of what came out.
    for arm, whole in zip(events[-3][1]["arms"], done["arms"], strict=False):
        assert whole["text"] == arm["text"]
    share = {arm["kind"]: np.mean([token.strip().lower() in tiny.concepts["sport"] for token in arm["tokens"]]) for arm in done["arms"]}
    assert share["steered"] > 0.7 > 0.3 > share["random"]
    assert "altered" in done["note"]
    assert done["controls"][0] != f"{SAE}/{index}"
    assert done["titles"].keys() == set(done["controls"])
    (dose,) = dict(desk.stream("/steer", asked | {"doses": [], "tokens": 2, "asked": False}))["meta"]["doses"]
    assert 0 < dose <= 1


def test_while_a_dose_is_looked_for_the_plain_text_is_there(desk):
    asked = {"features": [f"{SAE}/1"], "prompt": "the mayor says that the", "kl": 0.5, "tokens": 6, "temperature": 0.5, "asked": False}
    events = desk.stream("/steer", asked)
    names = [name for name, _ in events]
    tries = names.count("tried")
    assert names == ["state", *["written"] * 6, *["tried"] * tries, "meta", *["written"] * 6, "done"]
    assert [told["step"] for name, told in events if name == "written"] == ["alone"] * 6 + ["turned"] * 6
    done = events[-1][1]
    assert events[6][1]["arms"] == [{"kind": "clean", "dose": 0.0, "text": done["arms"][0]["text"]}]
    (dose,) = dict(events)["meta"]["doses"]
    nearest = min((told for name, told in events if name == "tried"), key=lambda told: abs(told["dose"] - dose))
    assert nearest["moved"] == pytest.approx(0.5, rel=0.05)


def test_features_are_proposed_by_what_they_do(desk):
    events = desk.stream("/propose", {"words": "goal, match"})
    assert [name for name, _ in events if name != "progress"] == ["known", "found", "done"]
    progress = [told for name, told in events if name == "progress"]
    assert [one["done"] for one in progress] == sorted(one["done"] for one in progress)
    assert progress[-1]["done"] == progress[-1]["of"]
    assert dict(events)["known"]["features"] == []  # this atlas has no measured effects
    best = dict(events)["found"]["features"][0]
    assert (best["name"], best["holds"]) == (f"{SAE}/1", True)
    assert "sport" in best["title"]
    assert best["after"] > best["before"]
    assert [name for name, _ in desk.stream("/propose", {"words": "goal", "measure": False})] == ["known", "done"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"words": " ,"}, 400, "1 to 20 words"),
        ({"words": "zzzz"}, 400, "no single token"),
        ({"words": "goal", "sae": "no/such.1/8"}, 404, "SAE"),
    ],
)
def test_what_cannot_be_proposed_is_said(desk, body, status, said):
    name, told = desk.stream("/propose", body)[-1]
    assert (name, told["status"]) == ("error", status)
    assert said in told["detail"]


def test_a_text_goes_through_every_layer(desk):
    from hooke.lens import read_lens

    text = "The bank and the storm"
    events = desk.stream("/lens", {"text": text, "words": 2})
    assert [name for name, _ in events] == ["meta", "features", "layer", "layer", "done"]
    meta, features, *layers = (told for _, told in events[:-1])
    assert (meta["layers"], meta["saes"], "".join(meta["tokens"])) == (2, [SAE], text)
    assert [one and one["feature"] for one in features["top"]][1] == f"{SAE}/{list(tiny.concepts).index('finance')}"
    assert "finance" in features["titles"][f"{SAE}/{list(tiny.concepts).index('finance')}"]
    read = read_lens(tiny.model(), text, top=2)
    assert [layer["words"] for layer in layers[::-1]] == [layer.words for layer in read.layers]
    assert events[-1][1]["limits"]
    assert [name for name, _ in desk.stream("/lens", {"text": text, "features": False})] == ["meta", "layer", "layer", "done"]
    assert desk.ask("POST", f"{API}/lens", {"text": " "})[0] == 400
    assert desk.ask("POST", f"{API}/lens", {"text": "a" * 4001})[0] == 400
    assert desk.stream("/lens", {"text": "the bank " * 100})[-1][1]["status"] == 413
    assert desk.ask("POST", f"{API}/lens", {"text": text, "beside": " "})[0] == 400
    events = desk.stream("/lens", {"text": text, "beside": "The judge and the storm"})
    assert [name for name, _ in events] == ["meta", "features_differ", "layers_differ", "layers_differ", "done"]
    assert events[0][1]["tokens"][1] == [" bank", " judge"]
    assert events[1][1]["most"][1]["feature"] in events[1][1]["titles"]
    assert events[2][1]["apart"][0] == 0 < events[2][1]["apart"][1]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"prompt": " "}, 400, "no text to go on from"),
        ({"tokens": 513}, 400, "512"),
        ({"doses": [1.0] * 7}, 400, "6"),
        ({"seed": -1}, 400, "seed"),
        ({"prompt": "a" * 200_001}, 400, "characters"),
        ({"features": "x"}, 400, "features"),
    ],
)
def test_steering_that_cannot_be_is_refused_at_once(desk, change, status, said):
    body = {"features": [f"{SAE}/0"], "prompt": "the bank", "tokens": 2} | change
    found, told, _ = desk.ask("POST", f"{API}/steer", body)
    assert (found, said in told["detail"]) == (status, True)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"features": []}, 400, "1 to 8"),
        ({"features": [f"{SAE}/99"]}, 404, "99"),
        ({"features": [f"{SAE}/{tiny.D_SAE - 1}"]}, 400, "never fired"),
        ({"doses": [17.0]}, 400, "16"),
        ({"kl": 1e9}, 413, "no dose"),
        ({"tokens": 0}, 400, "tokens"),
        ({"prompt": "the bank " * 100}, 413, "128"),
    ],
)
def test_what_turns_out_on_the_way_is_an_event(desk, change, status, said):
    name, told = desk.stream("/steer", {"features": [f"{SAE}/0"], "prompt": "the bank", "doses": [1.0], "tokens": 2} | change)[-1]
    assert (name, told["status"]) == ("error", status)
    assert said in told["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"texts": []}, 400),
        ({"texts": ["a"] * 2001}, 400),
        ({"texts": ["a" * 200_001]}, 400),
        ({"texts": ["a"], "top": 101}, 400),
        ({"texts": "a"}, 400),
        ({}, 400),
        ([], 400),
        ({"texts": ["a"], "saes": ["x"] * 17}, 400),
    ],
)
def test_too_much_or_the_wrong_thing(desk, body, status):
    assert desk.ask("POST", f"{API}/analyze", body)[0] == status


def test_a_long_text_comes_in_parts_that_put_together_are_the_text(desk):
    line = "the bank and the storm  of the judge"
    text = "\n".join([line] * 400)
    events = [told for name, told in desk.stream("/analyze", {"texts": ["the goal", text], "top": 3}) if name == "text"]
    assert [(told["index"], told["part"], told["parts"]) for told in events] == [
        (0, 0, 1),
        *((1, i, len(events) - 1) for i in range(len(events) - 1)),
    ]
    parts = [told["result"] for told in events[1:]]
    assert len(parts) > 2
    assert "".join(part["text"] for part in parts) == text
    assert all(len(part["text"]) <= PART and not part["truncated"] for part in parts)
    assert all(part["text"].endswith("\n") for part in parts[:-1])
    assert {hit["index"] for hit in parts[1]["features"]} & {list(tiny.concepts).index("finance")}


@given(st.text(alphabet="ab \nbank", max_size=6000))
@settings(max_examples=20, deadline=None)
def test_parts_are_the_text(text):
    parts = parted(text)
    assert "".join(parts) == text
    assert all(0 < len(part) <= PART for part in parts) or parts == [text]
    assert all(
        part.endswith(("\n", " ")) or following.startswith(" ") or len(part) == PART for part, following in itertools.pairwise(parts)
    )


def test_two_tabs_do_not_overwrite_each_other(desk):
    path = f"{API}/notes/{SAE}/11"
    seen = desk.ask("GET", path)[1]["etag"]
    assert desk.get(f"/features/{SAE}/11")["etag"] == seen
    status, first, _ = desk.ask("PUT", path, {"note": "of the first tab"}, If_Match=f'"{seen}"')
    assert status == 200
    status, told, _ = desk.ask("PUT", path, {"note": "of the second"}, If_Match=f'"{seen}"')
    assert (status, told["type"]) == (412, "urn:hooke:problem:changed")
    assert desk.ask("GET", path)[1] == first
    assert desk.ask("PUT", path, {"note": ""}, If_Match=first["etag"])[0] == 200


def test_a_text_too_long_for_an_address_is_kept(desk):
    text = "A long text. \u202e" * 60
    status, kept, _ = desk.ask("POST", f"{API}/saved", {"text": text})
    assert status == 200
    assert desk.get(f"/saved/{kept['id']}")["text"] == text
    assert desk.ask("POST", f"{API}/saved", {"text": text})[1] == kept
    assert desk.ask("GET", f"{API}/saved/0123")[0] == 404
    assert desk.ask("POST", f"{API}/saved", {"text": "a" * 200_001})[0] == 400
    document = desk.get("/notes")
    assert [row["id"] for row in document["saved"]] == [kept["id"]]
    spoilt = document | {"saved": [{"text": 3, "changed": "now"}]}
    assert desk.ask("POST", f"{API}/notes", spoilt)[0] == 422


def test_finding_by_meaning_is_said_to_be_missing_or_waits_for_the_names(desk, monkeypatch):
    status, told, _ = desk.ask("GET", f"{API}/search?q=money&in=meaning")
    assert (status, "hooke[semantic]" in told["detail"]) == (404, True)
    monkeypatch.setattr("hooke.serve.meaning.has_encoder", lambda: True)
    monkeypatch.setattr("hooke.atlas.meaning.MiniLM", LettersEncoder)
    deadline = time.monotonic() + 20
    while (answer := desk.ask("GET", f"{API}/search?q=sport&in=meaning&limit=3"))[0] == 429:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    hits = answer[1]["hits"]
    assert hits[0]["name"] == f"{SAE}/{list(tiny.concepts).index('sport')}"
    assert [hit["found_in"] for hit in hits] == [["meaning"]] * len(hits)


class LettersEncoder(MiniLM):
    """Texts as counts of their letters."""

    def __init__(self):
        pass

    def encode(self, texts):
        counts = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32).reshape(-1, 26)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def test_a_mistake_inside_a_stream_is_an_event(desk):
    ((name, told),) = desk.stream("/analyze", {"texts": ["a"], "saes": ["tiny/resid_post.1/9"]})
    assert name == "error"
    assert told["status"] == 404
    assert SAE in told["detail"]


def test_tokens_put_together_are_the_text(desk):
    _, told, _ = desk.ask("POST", f"{API}/tokenize", {"texts": ["the bank", "goal  é\u202e"]})
    assert ["".join(tokens) for tokens in told["tokens"]] == ["the bank", "goal  é\u202e"]


def test_300_hostile_texts_are_read_as_they_are_or_refused_in_a_sentence(desk):
    """Half a surrogate pair is no text and refused before anything is read; all else comes back as it was sent."""
    texts = [json.loads(json.dumps(text)) for text in hostile.ALL if text.strip()]  # two halves on the wire are a pair
    whole = [text for text in texts if not re.search("[\ud800-\udfff]", text)]
    events = desk.stream("/analyze", {"texts": [text[:500] for text in whole], "top": 2})
    read = [told["result"]["text"] for name, told in events if name == "text"]
    assert read == [text[:500] for text in whole]
    assert events[-1][0] == "done"
    halves = [text for text in texts if text not in whole]
    assert len(halves) > 20
    for text in halves:
        for path, asked in (
            ("/analyze", {"texts": ["a", text]}),
            ("/steer", {"features": [f"{SAE}/0"], "prompt": text}),
            ("/lens", {"text": text}),
        ):
            status, told, _ = desk.ask("POST", API + path, asked)
            assert (status, "surrogate" in told["detail"]) == (400, True), path


def test_notes_stars_and_lists_are_kept(desk):
    path = f"{API}/notes/{SAE}/5"
    assert desk.ask("PUT", path, {"star": True, "label": "mine", "note": "<b>seen</b>"})[1]["written"] == {
        "star": True,
        "label": "mine",
        "note": "<b>seen</b>",
    }
    assert desk.ask("PUT", path, {"note": ""})[1]["written"]["label"] == "mine"
    assert [row["index"] for row in desk.get("/features?which=starred")["rows"]] == [5]
    assert desk.ask("PUT", f"{API}/lists/to%20show/{SAE}/5", {})[1]["lists"] == ["to show"]
    assert desk.ask("PUT", f"{API}/lists/to%20show/{SAE}/7", {})[0] == 200
    assert [row["index"] for row in desk.get("/features?which=list:to%20show&sort=index&ascending=true")["rows"]] == [5, 7]
    assert desk.get("/lists") == {"starred": 1, "noted": 1, "lists": [{"name": "to show", "features": 2}]}
    read = dict(desk.stream("/analyze", {"texts": ["the judge"]}))["text"]["result"]["features"]
    assert [hit["own_label"] for hit in read if hit["index"] == 5] == ["mine"]
    document = desk.get("/notes")
    assert [row["list"] for row in document["lists"]] == ["to show", "to show"]
    for index in (5, 7):
        desk.ask("DELETE", f"{API}/lists/to%20show/{SAE}/{index}", {})
    desk.ask("PUT", path, {"star": False, "label": "", "note": ""})
    assert desk.get("/lists") == {"starred": 0, "noted": 0, "lists": []}
    assert desk.ask("POST", f"{API}/notes", document)[1] == {"taken": 1}
    assert desk.get("/lists")["lists"] == [{"name": "to show", "features": 2}]
    assert desk.ask("POST", f"{API}/notes", {"format": "other"})[0] == 422
    assert desk.ask("PUT", path, {"note": "x" * 20_001})[0] == 400
    assert desk.ask("PUT", f"{API}/lists/{'x' * 81}/{SAE}/5", {})[0] == 400


def test_looking_changes_no_file(desk):
    before = {path: path.read_bytes() for path in desk.library.atlases[0].path.parent.iterdir() if path.is_file()}
    for path in ("/about", "/saes", "/features", f"/features/{SAE}/3", "/search?q=sport", "/notes", "/lists", "/runs"):
        desk.get(path)
    assert {path: path.read_bytes() for path in desk.library.atlases[0].path.parent.iterdir() if path.is_file()} == before


def test_without_a_model_the_atlas_is_there(tmp_path):
    with make_desk(tmp_path, [planted.write(tmp_path / "atlas.sqlite")]) as one:
        assert one.get("/about")["model"]["state"] == "none"
        assert one.get("/features")["total"] == tiny.D_SAE
        status, told, _ = one.ask("POST", f"{API}/analyze", {"texts": ["a"]})
        assert status == 404
        assert "--model" in told["detail"]


STEERED = {"features": [f"{SAE}/1"], "prompt": "the mayor says", "doses": [1, 2], "tokens": 500}


@pytest.mark.parametrize(("path", "asked"), [("/analyze", {"texts": ["the bank of the judge in the rain"] * 2000}), ("/steer", STEERED)])
def test_who_leaves_stops_the_model(tmp_path, monkeypatch, path, asked):
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda _: None)
    with make_desk(tmp_path, [planted.write(tmp_path / "atlas.sqlite")], tiny_microscope) as one:
        body = json.dumps(asked).encode()
        head = f"POST {API}{path} HTTP/1.1\r\nHost: 127.0.0.1:{one.session.port}\r\nAuthorization: Bearer {one.session.token}\r\n"
        with socket.create_connection(("127.0.0.1", one.session.port)) as client:
            client.sendall(head.encode() + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            client.recv(4096)  # it began
        began = time.perf_counter()
        assert one.stream("/analyze", {"texts": ["the bank"]})[-1][0] == "done"
        assert time.perf_counter() - began < 2  # all of it takes several times as long


def test_reading_needs_only_the_part_of_the_model_that_computes_activations(monkeypatch):
    model = tiny.model()
    microscope = Microscope(model, [tiny.sae()], [SAE])
    whole = model.hf
    monkeypatch.setattr(type(model), "hf", property(lambda _: pytest.fail("the whole model was asked for")), raising=True)
    monkeypatch.setattr(type(model), "_running", property(lambda _: whole))
    looked: list[bool] = []
    with microscope.stopping(lambda: bool(looked.append(True))):
        assert [name for name, _ in microscope.activations(["the bank"], [], [f"{SAE}/0"])] == ["meta", "activations", "done"]
    before = len(looked)
    assert before
    list(microscope.activations(["the bank"], [], [f"{SAE}/0"]))
    assert len(looked) == before  # nothing looks once the job is done


def test_a_model_that_cannot_be_loaded_is_said(tmp_path):
    from hooke.errors import Missing

    def load(_):
        raise Missing("no such model.")

    with make_desk(tmp_path, [], load) as one:
        assert one.get("/about")["model"] | {"saes": [], "default": []} == one.get("/about")["model"]
        assert one.get("/about")["model"]["detail"] == "no such model."
        assert one.ask("POST", f"{API}/analyze", {"texts": ["a"]})[0] == 404


def test_runs_are_read_from_their_folders(tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"model": "tiny", "batch": 10, "saes": {SAE: {"d_sae": 64, "steps": 100}}}))
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": s, "tokens": 10 * s, "saes": {SAE: {"fvu": 1 / s, "l0": 3}}}) + "\n" for s in range(1, 51))
    )
    (run / "events.jsonl").write_text(
        json.dumps({"time": 1.0, "kind": "started", "step": 0, "text": "<script>", "tokens_per_s": 50}) + "\n"
    )
    spoilt = tmp_path / "runs" / "two"
    spoilt.mkdir()
    (spoilt / "manifest.json").write_text("{}")
    with make_desk(tmp_path, [], runs=[tmp_path / "runs"]) as one:
        rows = {row["path"].rpartition("/")[2]: row for row in one.get("/runs")["runs"]}
        first = rows["one"]
        assert (first["kind"], first["state"], first["done"], first["planned"], first["rate"], first["left_s"]) == (
            "train",
            "running",
            500,
            1000,
            50,
            10,
        )
        assert rows["two"]["kind"] == "unreadable"
        detail = one.get(f"/run?path={run}")
        assert detail["curves"][0]["fvu"][-1] == pytest.approx(1 / 50)
        assert detail["events"][0]["text"] == "<script>"
        assert one.ask("GET", f"{API}/run?path={spoilt}")[0] == 404


def test_an_atlas_that_is_being_built_is_a_run(tmp_path):
    cache = ActivationCache(tmp_path / "runs" / "news.sqlite.work", {"model": "tiny", "tokens": 1000}, {SAE: 64}, ["news"])
    cache.folder.mkdir(parents=True)
    codes = Codes.from_dense(torch.eye(64)[:50])
    cache.add(Chunk(np.arange(50), np.array([[0, 0, 0, 50]]), {SAE: codes}, {SAE: np.zeros(3)}, 0, 0))
    (row,) = read_runs([tmp_path / "runs"])
    assert (row.kind, row.state, row.model, row.done, row.planned) == ("atlas", "running", "tiny", 50, 1000)
    assert row.detail.startswith("reading, 1 SAE;")
    cache.finish()
    assert "all is read" in read_runs([tmp_path / "runs"])[0].detail
    os.utime(cache.folder / "spool.json", (1, 1))
    os.utime(next(cache.folder.glob("chunk-*")), (1, 1))
    assert read_runs([tmp_path / "runs"])[0].state == "silent"
