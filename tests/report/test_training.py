"""The page of a run: what it shows of a run under way, finished, damaged or empty, and what it never lets through."""

import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.errors import BadFile, Missing
from hooke.report.charts import Line, Scale, chart, thinned
from hooke.report.styles import Styles
from hooke.report.training import page
from hooke.train import run_log as history_module
from hooke.train.run_log import History

EMPTY = {"meta", "input"}
PAYLOADS = [
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "</style><img src=//x.example/a.png>",
    "\x1b[31m\u202egnp",
    "a\nb {0} %s",
]


class Page(HTMLParser):
    """Elements and text of a page; every element must be closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []
        tags = {tag for tag, _ in self.elements}
        assert not tags & {"script", "img", "link", "iframe", "object", "base", "form"}
        for tag, attributes in self.elements:
            assert not any(key.startswith("on") or key in ("style", "src", "srcdoc", "xlink:href") for key in attributes), (tag, attributes)
            assert (attributes.get("href") or "#").startswith("#")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def charts(self) -> list[str]:
        return [attributes["aria-label"] or "" for tag, attributes in self.elements if tag == "svg" and attributes.get("class") == "chart"]


def write_run(folder: Path, names: list[str], rows: int = 30, **more: Any) -> Path:
    """A run of `rows` rows of a hundred, with everything the folder may hold."""
    saes = {
        name: {
            "architecture": "relu" if "relu" in name else "batchtopk",
            "d_sae": 1000,
            "l0": 20 + 30 * (i % 2),
            "steps": 10_000,
            "lr": 0.001,
        }
        for i, name in enumerate(names)
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"schema": 1, "model": "gemma-3-270m", "batch": 4096, "saes": saes} | more))
    told = [
        {
            "step": n * 100,
            "tokens": n * 409_600,
            "saes": {name: {"fvu": 0.2 + 0.5 / n, "l0": 50.0, "dead": 7, "dense": 12, "loss": 0.3, "lr": 0.001} for name in names},
        }
        for n in range(1, rows + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    events = [
        {"time": 1_790_000_000, "kind": "started", "step": 0, "text": "from nothing"},
        {"time": 1_790_000_060, "kind": "speed", "step": 100, "tokens_per_s": 40_960.0},
        {"time": 1_790_000_100, "kind": "warning", "step": 200, "text": "something looks wrong"},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def names(n: int, sites: int = 1) -> list[str]:
    return [f"m/resid_post.{i % sites}/{'relu' if i // sites % 2 else 'topk'}-{i // sites}" for i in range(n)]


def test_a_run_under_way(tmp_path: Path) -> None:
    text = page(write_run(tmp_path, names(1)))
    assert text == page(tmp_path)  # no clock
    shown = Page(text)
    assert [label.split(" by")[0] for label in shown.charts()] == [
        "Error",
        "L0",
        "Dead",
        "Dense",
        "Loss",
        "Learning rate",
        "Tokens per second",
    ]
    assert shown.charts()[1] == "L0 by million tokens, 1 SAE. Now 50. Target 20."
    assert "12.3 of 41 million (30 %)" in shown.text
    assert "12 min" in shown.text  # (41.0 − 12.3) million at 40,960 a second
    assert "something looks wrong" in shown.text
    assert "2026-09-21 14:15 UTC" in shown.text
    assert "was cut off without a word" in shown.text
    assert "0.7\u202f%" in shown.text  # 7 of 1000 dead


def test_a_finished_run_shows_held_out_figures_and_which_are_bettered(tmp_path: Path) -> None:
    held = dict(
        zip(names(3), ({"fvu": 0.2, "l0": 50.0, "dead": 0.01}, {"fvu": 0.3, "l0": 60.0, "dead": 0}, {"fvu": 0.4, "l0": 20.0}), strict=True)
    )
    write_run(tmp_path, names(3), held_out=held)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"time": 1790000200, "kind": "finished", "step": 3000}\n')
    shown = Page(page(tmp_path))
    assert "The run is finished." in shown.text
    front = next(label for label in shown.charts() if label.startswith("Error against L0"))
    assert "resid_post.0/relu-1: L0 60, error 0.3, bettered" in front
    assert front.count("bettered") == 1
    assert "Never fired there" in shown.text


@pytest.mark.parametrize(("n", "sites", "charts"), [(8, 2, 6 + 1), (9, 3, 3 * 5 + 1 + 1), (12, 1, 2 * 5 + 1 + 1)])
def test_few_share_charts_and_many_are_grouped(tmp_path: Path, n: int, sites: int, charts: int) -> None:
    shown = Page(page(write_run(tmp_path, names(n, sites))))
    assert len(shown.charts()) == charts
    heads = [attributes for tag, attributes in shown.elements if tag == "th" and attributes.get("scope") == "row"]
    assert len(heads) >= n


def test_every_sae_of_a_small_run_looks_different() -> None:
    saes = {name: {} for name in names(8)}
    styles = Styles.of(saes)
    assert len({styles.look(name) for name in saes}) == 8
    assert [styles.mark(name) for name in saes] == list("ABCDEFGH")
    assert styles.short("m/resid_post.0/topk-0") == "resid_post.0/topk-0"


def test_groups_go_by_layer() -> None:
    saes = {f"m/{kind}.{layer}/x": {"architecture": "topk"} for kind in ("resid_post", "mlp_out") for layer in (10, 9, 2, 11, 0)}
    assert [title.split(",")[0] for title, _ in Styles.of(saes).groups] == [f"layer {n}" for n in (0, 0, 2, 2, 9, 9, 10, 10, 11, 11)]


def test_nothing_yet(tmp_path: Path) -> None:
    write_run(tmp_path, names(2), rows=0)
    assert "No metrics yet." in Page(page(tmp_path)).text
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "events.jsonl").unlink()
    assert "The run has not started." in Page(page(tmp_path)).text
    (tmp_path / "run.json").write_text("{}")
    Page(page(tmp_path))


def test_a_half_written_row_is_left_out_and_a_damaged_one_counted(tmp_path: Path) -> None:
    write_run(tmp_path, names(1), rows=5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(
            'not json\n[1]\n{"step": 600, "tokens": 2457600, "saes": {"m/resid_post.0/topk-0": {"fvu": NaN, "l0": ""}}}\n{"step": 700'
        )
    history = History.read(tmp_path)
    assert history.step.tolist() == [100, 200, 300, 400, 500, 600]
    assert history.damaged == 2
    assert math.isinf(history.column(names(1)[0], "fvu")[-1])
    assert math.isnan(history.column(names(1)[0], "l0")[-1])
    shown = Page(page(tmp_path))
    assert "2 damaged rows of metrics left out" in shown.text
    assert "not finite" in shown.text


def test_a_folder_that_holds_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no run at .*: it has no run\.json\. Name the folder that `hooke train` wrote\."):
        page(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(BadFile, match=r"run\.json does not hold a run's settings"):
        page(tmp_path)


def test_a_long_run_is_thinned_and_keeps_its_spike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, names(1), rows=0)
    row = '{{"step": {0}, "tokens": {0}000, "saes": {{"m/resid_post.0/topk-0": {{"fvu": {1}}}}}}}\n'
    (tmp_path / "metrics.jsonl").write_text("".join(row.format(n, 9.0 if n == 7777 else 0.2) for n in range(1, 20_001)))
    text = page(tmp_path)
    assert len(text) < 100_000
    assert History.read(tmp_path).column("m/resid_post.0/topk-0", "fvu").max() == 9.0
    monkeypatch.setattr(history_module, "_MAX_PARSED", 100_000)
    history = History.read(tmp_path)
    assert history.every > 10
    assert len(history.step) == pytest.approx(20_000 / history.every, abs=20)
    assert history.step[-1] == 20_000
    assert f"every {history.every}th row is shown" in page(tmp_path)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_comes_from_outside_stays_text(tmp_path: Path, payload: str) -> None:
    write_run(tmp_path, names(1))
    clean = Page(page(tmp_path))
    sae = {"architecture": payload, "d_sae": 10, "l0": payload, "steps": 100, "lr": 0.1}
    metrics = {"fvu": 0.5, "l0": 1.0, "dead": 1, "dense": 1, "loss": 1.0, "lr": 0.1}
    (tmp_path / "run.json").write_text(json.dumps({"schema": payload, "model": payload, payload: [payload], "saes": {payload: sae}}))
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "tokens": 5, "saes": {payload: metrics, payload * 2: metrics}}) + "\n")
    event = {"time": 0, "kind": payload, "text": payload, "step": payload}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps(event | {"kind": "warning"}) + "\n")
    shown = Page(page(tmp_path))
    assert {tag for tag, _ in shown.elements} <= {tag for tag, _ in clean.elements} | {"circle", "details", "summary"}
    assert not re.search("[\x1b\u202e]", shown.text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["saes", "fvu", "l0", "time", "kind", "a"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(run=st.dictionaries(st.sampled_from(["saes", "held_out", "batch", "tokens", "model"]), JSON), row=JSON, event=JSON)
def test_no_folder_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, run: dict[str, Any], row: Any, event: Any) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "tokens": 2, "saes": row}) + "\n" + json.dumps(row))
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps({"time": 1, "kind": event}) + "\n")
    Page(page(folder))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=400), st.integers(8, 50))
def test_thinning_keeps_ends_and_extremes(values: list[float], points: int) -> None:
    y = np.array(values)
    told = y[~np.isnan(y)]
    x, kept = thinned(np.arange(len(y), dtype=float), y, points)
    assert len(kept) <= max(points, 4)
    if len(told):
        assert (kept[0], kept[-1], kept.min(), kept.max()) == (told[0], told[-1], told.min(), told.max())
        assert (np.diff(x) > 0).all()


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), st.booleans())
def test_axes_hold_their_values_and_a_few_round_ticks(values: list[float], log: bool) -> None:
    scale = Scale.over(values, log=log)
    assert scale.low <= min(values) <= max(values) <= scale.high
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 12
    assert ticks == sorted(ticks)
    places = scale.place(np.array(values))
    assert ((places >= 0) & (places <= 1)).all()
    assert [values[i] for i in np.argsort(places, kind="stable")] == pytest.approx(sorted(values), rel=1e-6)


def test_a_gap_breaks_the_curve_and_a_value_that_is_not_finite_is_crossed() -> None:
    x, y = np.arange(6.0), np.array([1.0, 2.0, math.inf, 2.0, 3.0, 3.0])
    drawn = chart([Line("a", x, y)], Scale.over(x), Scale.over(y), title="t")
    path = re.findall(r'<path d="(M[^"]*L[^"]*)"></path>', drawn)
    assert [part.count("L") for part in path[0].split("M")[1:]] == [1, 2]
    assert drawn.count('class="broken"') == 1


def test_end_marks_do_not_touch() -> None:
    x = np.array([0.0, 1.0])
    lines = [Line(str(i), x, np.array([1.0, 0.001 * i]), mark=chr(65 + i)) for i in range(8)]
    drawn = chart(lines, Scale(0, 1), Scale(0, 1), title="t")
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="mark', drawn))
    assert all(b - a >= 11.9 for a, b in itertools.pairwise(heights))
