"""`hooke eval` as people run it: streams, formats, what is refused, and that a broken-off run goes on."""

import io
import itertools
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import clusters
import pytest
from commands import Command
from evals import reading
from rich.console import Console

from hooke import tiny
from hooke.errors import BadConfig, Missing
from hooke.evals import probing, spread
from hooke.report.evaluation_terminal import print_tables
from hooke.sae.recipe import SaeRecipe

_judged = spread._judge


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The planted model in ``tiny``, two SAEs of it, and labelled documents in ``news.jsonl``."""
    root = tmp_path_factory.mktemp("eval")
    (root / "tiny").mkdir()
    tiny.save(root / "tiny")
    tiny.sae().save(root / "planted.safetensors")
    reading.identity("resid_post.1").save(root / "identity.safetensors")
    foreign = replace(tiny.sae(), facts=replace(tiny.sae().facts, model="gemma-9"))
    foreign.save(root / "foreign.safetensors")
    replace(foreign, W_dec=foreign.W_dec.flip(0)).save(root / "stranger.safetensors")
    made = tiny.sae()
    encoder, decoder = 0.05 * made.W_enc, 20 * made.W_dec
    swapped = replace(made, W_enc=decoder.T.contiguous(), W_dec=encoder.T.contiguous(), threshold=0.05 * made.threshold)
    swapped.save(root / "swapped.safetensors")
    poor = replace(made, W_dec=made.W_dec.flip(0), facts=replace(made.facts, name="tiny/resid_post.0/poor", metrics={}))
    poor.save(root / "poor.safetensors")
    concepts = list(tiny.concepts.items())[:3]
    lines = []
    for i in range(150):
        name, words = concepts[i % 3]
        text = " ".join(words[(i + j) % len(words)] for j in range(4 + i % 5))
        lines.append(json.dumps({"text": text, "category": name}))
    (root / "news.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture
def hooke(folder, monkeypatch, command) -> Command:
    """Run `hooke eval` in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOOKE_HOME", str(folder / "home"))
    monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
    return partial(command, "eval")


COMMON = ("--model", "tiny", "--corpus", "news.jsonl", "--all-documents", "--tokens", "300", "--batch-tokens", "128")


def test_one_json_document(hooke, folder):
    code, out, err = hooke("planted.safetensors", "identity.safetensors", *COMMON, "--json", "--suite", "core,geometry,uniformity")
    assert code == 0, err
    found = json.loads(out)
    assert {"schema_version", "corpus", "tokens", "saes", "joint", "context", "seed", "suites"} <= found.keys()
    assert found["corpus"] == [{"name": "news", "path": "news.jsonl", "weight": 1.0, "tokens": found["tokens"]}]
    planted, identity = found["saes"]
    assert planted["sae"] == "tiny/resid_post.0/64"
    assert {"core", "density", "by_corpus", "by_position", "baselines", "geometry", "uniformity"} <= planted.keys()
    assert planted["core"]["fvu"].keys() == {"value", "low", "high"}
    assert identity["core"]["delta_loss"]["value"] == 0
    assert list((folder / "home").rglob("*.safetensors")) == []  # what a finished run no longer needs


def test_files_of_one_name_are_told_apart(hooke, folder):
    (folder / "again.safetensors").write_bytes((folder / "planted.safetensors").read_bytes())
    code, out, err = hooke("planted.safetensors", "again.safetensors", *COMMON, "--json", "--suite", "core")
    assert code == 0, err
    first, second = json.loads(out)["saes"]
    assert (first["sae"], second["sae"]) == ("tiny/resid_post.0/64", "tiny/resid_post.0/64-2")
    assert first["core"] == second["core"]
    assert "again.safetensors is called tiny/resid_post.0/64-2 here" in err
    code, _, err = hooke("planted.safetensors", "planted.safetensors", *COMMON)
    assert code != 0
    assert "was given twice" in err


def test_tables_files_and_page(hooke, folder, tmp_path):
    page, bench = tmp_path / "page.html", tmp_path / "bench"
    code, out, err = hooke("planted.safetensors", *COMMON, "--html", str(page), "--saebench", str(bench))
    assert code == 0, err
    assert "random dictionary" in out
    assert "clean loss" in out
    assert "…" not in out  # piped, so that a row is a line, however long
    assert page.read_text().startswith("<!doctype html>")
    assert [path.name for path in (bench / "core").iterdir()] == ["tiny_resid_post.0_64_eval_results.json"]
    assert f"Wrote {page}" in err


def test_a_run_that_was_broken_off_goes_on(hooke, folder, monkeypatch):
    monkeypatch.setattr("hooke.evals.run._SAVE_EVERY_S", -1.0)
    from hooke.evals import evaluator

    seen, see = [], evaluator.Evaluator.see

    def plug(self, *arguments):
        if len(seen) == 2:
            seen.append("broken")
            raise KeyboardInterrupt
        seen.append("batch")
        see(self, *arguments)

    monkeypatch.setattr(evaluator.Evaluator, "see", plug)
    code, out, _ = hooke("planted.safetensors", *COMMON, "--suite", "core", "--json")
    assert (code, out) == (130, "")
    assert len(list((folder / "home").rglob("*.safetensors"))) == 1
    monkeypatch.setattr(evaluator.Evaluator, "see", see)
    code, out, _ = hooke("planted.safetensors", *COMMON, "--suite", "core", "--json")
    again = hooke("planted.safetensors", *COMMON, "--suite", "core", "--json")[1]
    assert code == 0
    assert out == again


def test_a_poor_sae_is_judged_with_a_note(hooke):
    code, out, err = hooke("poor.safetensors", *COMMON, "--suite", "geometry", "--json")
    assert code == 0, err
    assert json.loads(out)["saes"][0]["sae"] == "tiny/resid_post.0/poor"
    assert "note: tiny/resid_post.0/poor explains 0%" in err


def test_probing_and_tpp_in_a_terminal_are_a_line_a_method():
    figure = {"value": 0.8123, "low": 0.78, "high": 0.84}
    facts = {"labels": "news[1].jsonl (topics)", "documents": 1200, "classes": {"a": 600, "b": 600}}
    ways = [("sae", "mean", "difference", k) for k in (1, 2, 5, 10, 20, 50)]
    ways += [("random_model_residual", "max", None, None), ("majority", None, None, None)]
    probing = [dict(zip(("method", "pool", "selection", "k"), way, strict=True)) | {"balanced_accuracy": figure} for way in ways]
    tpp = [{"method": "sae", "n": n, "tpp": figure, "on_target": figure, "off_target": figure} for n in (2, 5, 10, 20, 50, 100, 500)]
    row = {"sae": "tiny/resid_post.0/64", "probing": facts | {"rows": probing}, "tpp": facts | {"rows": tpp}}
    console = Console(file=io.StringIO(), width=80)
    print_tables({"saes": [row, {"sae": "tiny/mlp_out.0/64", "tpp": {"skipped": "it writes elsewhere"}}]}, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    cells = [line.split() for line in lines]
    assert ["sae", "mean", "difference", *["0.81"] * 6] in cells
    assert ["random", "model", "residual", "max", "0.81"] in cells
    assert ["majority", "0.81"] in cells
    assert ["sae", "off", "target", *["0.812"] * 7] in cells
    assert "probing: tiny/resid_post.0/64 on news[1].jsonl (topics), 1,200 documents of 2" in lines[1]
    assert any("reach 0.030 to each side" in " ".join(pair) for pair in itertools.pairwise(lines))
    assert "skipped, it writes elsewhere" in lines[-1]


def test_probing_alone(hooke, monkeypatch):
    monkeypatch.setattr(probing, "run", partial(probing.run, config=probing.ProbingConfig(ks=(1,), splits=1)))  # as it is, hundreds of fits
    code, out, err = hooke("planted.safetensors", *COMMON, "--suite", "probing", "--labels", "category", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["saes"]
    assert {one["method"] for one in row["probing"]["rows"]} >= {"sae", "majority", "tfidf"}
    assert "core" not in row


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "no SAE to judge"),
        (("planted.safetensors",), 2, "no text to judge on"),
        (("planted.safetensors", *COMMON, "--suite", "cor"), 4, "unknown suite 'cor'. Did you mean 'core'?"),
        (("planted.safetensors", *COMMON, "--suite", ","), 2, "--suite names no suite"),
        (("planted.safetensors", *COMMON, "--suite", "probing"), 2, "need labelled documents: give --labels FIELD"),
        (("planted.safetensors", *COMMON, "--labels", "category"), 2, "--labels is for the suites probing and tpp"),
        (("planted.safetensors", *COMMON, "--suite", "core", "--saebench", "x"), 2, "needs --suite core,geometry"),
        (("planted.safetensors", *COMMON, "--html", "nowhere/page.html"), 2, "there is no folder nowhere"),
        (
            ("planted.safetensors", "--model", "tiny", "--corpus", "news.jsonl", "--tokens", "90000"),
            2,
            "the corpus is shorter than asked for",
        ),
        (("swapped.safetensors", *COMMON), 3, "Its encoder and decoder are swapped: changed back it explains"),
        (("stranger.safetensors", *COMMON), 3, "tiny/resid_post.0/64 was trained on gemma-9, not on tiny"),
        (("planted.safetensors", "foreign.safetensors", "--corpus", "news.jsonl"), 2, "of different models (gemma-9, tiny)"),
    ],
)
def test_what_is_refused(hooke, arguments, code, said):
    found, out, err = hooke(*arguments)
    assert (found, out) == (code, "")
    assert said in " ".join(err.split())


def test_by_a_cluster_figures_are_the_same(hooke, folder, monkeypatch, tmp_path):
    """One SAE a task, and one for all at once; broken off in the middle, it judges the others only."""
    asked = ("planted.safetensors", "identity.safetensors", *COMMON, "--suite", "core,geometry,uniformity", "--json")
    here = hooke(*asked, "--saebench", str(tmp_path / "here"))
    own = clusters.stand_in(monkeypatch)
    monkeypatch.setattr(spread, "_judge", stopping)
    assert hooke(*asked, "--engine", "ray")[0] == 130
    assert own.done == ["tiny/resid_post.0/64"]
    monkeypatch.setattr(spread, "_judge", _judged)
    there = hooke(*asked, "--engine", "ray", "--saebench", str(tmp_path / "there"))
    assert (here[0], here[1]) == (there[0], there[1])
    assert own.done == ["tiny/resid_post.0/64", "tiny/resid_post.1/identity", "all SAEs at once"]
    files = [[json.loads(path.read_text()) for path in sorted((tmp_path / side).rglob("*.json"))] for side in ("here", "there")]
    assert [one["eval_result_metrics"] for one in files[0]] == [one["eval_result_metrics"] for one in files[1]]
    assert list((folder / "home").rglob("*.safetensors")) == []


def stopping(reading: spread._Reading, group: list[SaeRecipe]) -> object:
    if group[0].name != "tiny/resid_post.0/64":
        raise KeyboardInterrupt
    return _judged(reading, group)


def test_an_sae_that_a_worker_lacks_is_named(hooke, folder, monkeypatch, tmp_path):
    recipe = SaeRecipe.of(str(folder / "planted.safetensors"), tiny.sae())
    assert recipe.open().name == tiny.sae().name
    with pytest.raises(BadConfig, match="has other weights than where the command runs"):
        replace(recipe, digest="0").open()
    with pytest.raises(Missing, match="nowhere"):
        replace(recipe, ref=str(tmp_path / "nowhere.safetensors")).open()
