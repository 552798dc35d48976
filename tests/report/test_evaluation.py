"""The page holds what was found, runs nothing, loads nothing, and takes text from outside as text."""

import io
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from evals import reading
from rich.console import Console

from hooke import tiny
from hooke.evals import EvalConfig, evaluate
from hooke.report.evaluation import page
from hooke.report.evaluation_charts import Point, histogram, scatter
from hooke.report.evaluation_terminal import print_tables
from hooke.text.corpus import Window


@pytest.fixture(scope="module")
def result():
    model = tiny.model()
    text = [Window("<img src=x>", w.doc, w.ids) for w in reading.windows(model, 60)]
    config = EvalConfig(tokens=300, calibration_tokens=50, suites=("core", "geometry", "uniformity"))
    found = evaluate(model, [tiny.sae(), reading.identity("resid_post.1")], text, config).result
    found["corpus"] = [{"name": "<img src=x>", "path": "x", "weight": 1.0, "tokens": found["tokens"]}]
    return found


def test_the_page(result):
    html = page(result)
    assert "<script" not in html
    assert "<img" not in html
    assert not re.search(r"(href|src)=.?(https?:|//)", html)
    assert "&lt;img src=x&gt;" in html
    for heading in ("Sparse and faithful", "Beside the baselines", "How often features fire", "By source", "By position", "All figures"):
        assert heading in html
    assert html.count('<svg viewBox="0 0 480 300"') == 4  # two Pareto plots, two histograms
    for svg in re.findall(r"<svg viewBox.*?</svg>", html):
        ET.fromstring(svg)
    value = result["saes"][0]["core"]["fvu"]["value"]
    assert f"{value:.4f}" in html


def test_suites_that_were_not_run_are_left_out(result):
    rows = [{"sae": row["sae"], "geometry": row["geometry"]} for row in result["saes"]]
    html = page({"model": "tiny", "saes": rows})
    assert "Beside the baselines" not in html
    assert "decoder max cosine" in html


def test_a_control_is_said_to_be_one(result):
    rows = [{**row, "control": "frozen decoder"} for row in result["saes"]]
    assert "control: frozen decoder" in page({**result, "saes": rows})
    assert "control:" not in page(result)


def test_labelled_suites_are_shown(result):
    figure = {"value": 0.875, "low": 0.8, "high": 0.9}
    probing = {"labels": "category", "documents": 10, "rows": [{"method": "sae", "pool": "mean", "k": None, "accuracy": figure}]}
    html = page({"model": "tiny", "saes": [{"sae": "tiny/resid_post.0/64", "probing": probing, "tpp": {"skipped": "for a reason"}}]})
    assert "sae, mean" in html
    assert "a diagnostic, no score" in html
    assert "0.875" in html


def test_points_lie_where_they_should():
    points = [Point(10.0, 0.1, "a", 0.09, 0.12), Point(100.0, 0.01, "b", baseline=True), Point(0.0, 0.5, "nowhere")]
    svg = ET.fromstring(scatter(points, "x", "y"))
    circles = svg.findall("circle")
    (first, second) = [(float(c.get("cx")), float(c.get("cy"))) for c in circles]
    assert first[0] < second[0]
    assert first[1] < second[1]  # upwards is towards 0
    assert [c.get("class") for c in circles] == ["sae", "baseline"]


def test_names_do_not_lie_on_each_other():
    svg = ET.fromstring(scatter([Point(10 + i / 100, 0.1 + i / 1e4, f"name {i}") for i in range(6)], "x", "y"))
    heights = sorted(float(t.get("y")) for t in svg.findall("text") if t.get("class") == "name")
    assert all(b - a >= 11.9 for a, b in pairwise(heights))


def test_columns_are_as_high_as_their_counts():
    svg = ET.fromstring(histogram([0, 0, 4, 2], -4.0, 0.0, "density"))
    heights = [float(rect.get("height")) for rect in svg.findall("rect")]
    assert heights[0] == pytest.approx(2 * heights[1], rel=0.01)
    assert "No feature fired" in histogram([0, 0], -4.0, 0.0, "density")
    assert "Nothing to show" in scatter([], "x", "y")


def test_groups_are_told_on_the_page_and_in_the_terminal(result):
    told = {"smoothness": {"value": 0.5312, "low": 0.52, "high": 0.54}, "l0_mean": {"value": 12.04, "low": 11.9, "high": 12.1}}
    told |= {"dead_share": {"value": 0.25, "low": None, "high": None}}
    grouped = result | {"saes": [result["saes"][0] | {"groups": {"about": told}}, *result["saes"][1:]]}
    assert "group about" in page(grouped)
    assert "0.5312" in page(grouped)
    console = Console(file=io.StringIO(), width=120)
    print_tables(grouped, console)
    assert "group about: L0 12.0 ±0.1, smoothness 0.53 ±0.01, dead 0.250" in console.file.getvalue()
