"""Groups of texts held against each other over the wire: what was planted is found, and what is asked wrongly is said."""

import json
import threading
import time

import pytest
from piles import pile
from pydantic import TypeAdapter

from hooke import tiny
from hooke.serve.comparison_schema import Compared
from hooke.serve.session import API

SPORT = f"tiny/resid_post.0/64/{list(tiny.concepts).index('sport')}"
PILES = [
    {"name": "back page", "texts": pile("sport", 40, 0.8, 1)},
    {"name": "front page", "texts": pile("sport", 40, 0.1, 2)},
]


@pytest.fixture(scope="module")
def events(desk):
    return desk.stream("/compare", {"piles": PILES})


def test_what_could_be_seen_comes_first_and_the_planted_feature_is_found(events):
    names = [name for name, _ in events]
    assert (names[0], names[-1]) == ("able", "done")
    assert set(names[1:-1]) == {"progress"}
    assert "What this sample can show" in events[0][1]["able"]
    found = TypeAdapter(Compared).validate_python(events[-1][1])
    assert [(side.name, side.other) for side in found.sides] == [("back page", "front page"), ("front page", "back page")]
    best = next(one for one in found.sides[0].findings if one.kind == "feature")
    assert (best.feature, best.groups) == (SPORT, {"back page": pytest.approx(0.8), "front page": pytest.approx(0.1)})
    assert found.command == "hooke diff 'back page.txt' 'front page.txt' --html differences.html"


def test_a_result_is_kept_with_its_texts_and_as_files(desk, events):
    found = events[-1][1]
    assert desk.get(f"/compare/{found['id']}") == found
    one = found["sides"][0]["findings"][0]["excerpts"][0]
    assert one["token"].strip() in desk.get(f"/compare/{found['id']}/texts/{one['text']}")["text"]
    assert desk.get(f"/compare/{found['id']}/as/json") == {"schema_version": found["schema_version"], **found["result"]}
    status, html, headers = desk.ask("GET", f"{API}/compare/{found['id']}/as/html")
    assert (status, headers["content-disposition"]) == (200, "attachment")
    assert "<script" not in html
    assert desk.ask("GET", f"{API}/compare/{found['id']}/as/csv")[1].startswith("kind,feature,")
    assert desk.ask("GET", f"{API}/compare/0123")[0] == 404
    assert desk.ask("GET", f"{API}/compare/{found['id']}/texts/80")[0] == 404


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_file_with_a_field_gives_the_same_as_piles(desk, events, form):
    rows = [(own["name"], text) for own in PILES for text in own["texts"]]
    if form == "jsonl":
        content = "\n".join(json.dumps({"id": n, "page": name, "title": text}) for n, (name, text) in enumerate(rows))
    else:
        content = "id;page;title\n" + "\n".join(f"{n};{name};{text}" for n, (name, text) in enumerate(rows))
    seen = desk.ask("POST", f"{API}/compare/table", {"content": content})[1]
    assert (seen["records"], seen["text"], seen["by"], seen["names"]) == (80, "title", "page", ["id", "page", "title"])
    assert {one["name"]: (one["different"], one["number"]) for one in seen["fields"]} == {"id": (80, True), "page": (2, False)}
    told = desk.stream("/compare", {"content": content, "text": "title", "by": "page", "groups": ["back page", "front page"]})[-1][1]
    assert told["result"]["findings"] == events[-1][1]["result"]["findings"]
    assert "--by page" in told["command"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "two piles"),
        ({"piles": PILES[:1]}, "two names"),
        ({"piles": [PILES[0], PILES[0]]}, "all different"),
        ({"piles": [PILES[0], {"name": "b", "texts": [" "]}]}, "'b' has no text"),
        ({"piles": [PILES[0], {"name": "b", "texts": ["one", "two"]}]}, "at least 10"),
        ({"piles": [{"name": str(n), "texts": ["x"]} for n in range(13)]}, "at most 12"),
        ({"piles": [PILES[0], {"name": "b", "texts": ["x"] * 5001}]}, "at most 5,000"),
        ({"content": "text,desk\na,b", "by": ""}, "name the field"),
        ({"content": "text,desk\na,b", "by": "outlet"}, "desk"),
        ({"content": '{"text": "\\ud800", "desk": "b"}', "by": "desk"}, "surrogate"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_read(desk, body, said):
    status, told, _ = desk.ask("POST", f"{API}/compare", body)
    assert (status // 100, said in told["detail"]) == (4, True), told


@pytest.mark.parametrize(("content", "said"), [("", "one column"), ("text\na", "pile"), ("{nope", "no JSON object"), ("[1]", "column")])
def test_a_file_without_fields_is_said(desk, content, said):
    status, told, _ = desk.ask("POST", f"{API}/compare/table", {"content": content})
    assert (status, said in told["detail"]) == (422, True), told


def test_the_example_can_be_compared(desk):
    piles = desk.get("/compare/example")["piles"]
    assert [(own["name"], len(own["texts"])) for own in piles] == [("economy", 48), ("politics", 48)]


def test_short_work_is_done_while_a_comparison_goes_on(desk, monkeypatch):
    began, left = threading.Event(), []
    worker, submit = desk.worker, desk.worker.submit

    def slow(microscope):
        began.set()
        yield "able", {}
        while not worker._waiting:
            time.sleep(0.005)
        microscope._meanwhile("progress", {"said": "half"})
        left.append(len(worker._waiting))
        yield "done", {}

    monkeypatch.setattr(worker, "submit", lambda work, *, long=False: submit(slow if long else work, long=long))
    comparison = threading.Thread(target=desk.stream, args=("/compare", {"piles": PILES}))
    comparison.start()
    assert began.wait(5)
    assert desk.stream("/analyze", {"texts": ["the bank"]})[-1][0] == "done"
    comparison.join(10)
    assert left == [0]
