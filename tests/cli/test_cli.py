"""The command as people run it: exit codes, streams, formats, and nothing half-written."""

import contextlib
import csv
import functools
import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import planted
import pytest
from commands import Command
from cyclopts import App
from pyarrow import parquet

from hooke import cli, tiny

TOP = {"schema_version", "model", "saes", "texts", "topics"}
TEXT = {"text", "tokens", "features", "topic", "topics", "explained"}
FEATURE = {"feature", "sae", "index", "label", "label_score", "activation", "relative", "token", "pos"}
NAME = tiny.sae().name


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the planted model in ``tiny`` and a pack of its SAE, with an atlas, in ``pack``."""
    root = tmp_path_factory.mktemp("cli")
    (root / "pack").mkdir()
    (root / "tiny").mkdir()
    tiny.save(root / "tiny")
    sae = replace(tiny.sae(), facts=replace(tiny.sae().facts, metrics={"l0": 3.5, "fvu": 0.01}))
    sae.save(root / "pack" / "resid_post.0.safetensors")
    planted.write(root / "pack" / "atlas.sqlite", [sae])
    replace(sae, facts=replace(sae.facts, name="tiny/resid_post.9/64")).save(root / "layer9.safetensors")
    return root


@pytest.fixture
def hooke(folder, monkeypatch, command) -> Command:
    """Run a command in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": folder / "pack"})
    return command


def analyze(hooke: Command, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    return hooke("analyze", *arguments, "--model", "tiny", stdin=stdin)


def test_every_summary_is_its_commands_docstring() -> None:
    for name, summary in cli._COMMANDS.items():
        command = getattr(importlib.import_module(f"hooke.cli.{name}"), name)
        about = command.help if isinstance(command, App) else inspect.getdoc(command)  # a group of commands, or one
        assert (about or "").splitlines()[0] == summary


def test_help(hooke):
    code, out, err = hooke("--help")
    assert (code, err) == (0, "")
    assert "analyze" in out
    assert "saes" in out
    code, out, _ = hooke("analyze", "--help")
    for option in ("--model", "--sae", "--top", "--pool", "--min-label-score", "--batch-tokens", "--field", "--column", "--json", "--html"):
        assert option in out
    assert code == 0
    assert "--empty-" not in out
    assert "--no-" not in out


def test_version(hooke):
    from importlib.metadata import version

    assert hooke("--version")[:2] == (0, version("hooke") + "\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope"], "--nope"),
        (["nope"], "nope"),
        (["analyze", "text", "--tpo", "3"], "Did you mean '--top'"),
        (["analyze", "--jsno", "text"], "Did you mean '--json"),
        (["analyze", "text", "--top", "three"], "three"),
        (["analyze", "text", "--top"], "--top"),
        (["analyze", "text", "--pool", "median"], "median"),
        (["analyze"], "no text was given"),
        (["analyze", "-", "-"], "more than once"),
        (["analyze", "text", "--json", "--jsonl"], "give one of them"),
        (["analyze", "text", "--html", "nowhere/page.html"], "there is no folder nowhere"),
        (["analyze", "text", "--html", "pack"], "it is a folder"),
        (["analyze", "text", "--top", "0", "--model", "tiny"], "top"),
        (["analyze", "text", "--min-label-score", "2", "--model", "tiny"], "--min-label-score 2 is out of range"),
    ],
)
def test_usage_errors_are_2_on_standard_error(hooke, arguments, said):
    code, out, err = hooke(*arguments)
    assert (code, out) == (2, "")
    assert said in re.sub(r"[\s│]+", " ", err)


def test_missing_things_are_4(hooke):
    code, out, err = hooke("analyze", "headlines.txt")
    assert (code, out) == (4, "")
    assert "there is no file 'headlines.txt'" in err
    code, _, err = analyze(hooke, "text", "--sae", "tiny/resid_post.0/46")
    assert code == 4
    assert f"unknown SAE 'tiny/resid_post.0/46'. Did you mean '{NAME}'" in err
    code, _, err = hooke("analyze", "text", "--model", "gemma-3-270n", "--sae", NAME)
    assert code == 4
    assert "Did you mean 'gemma-3-270m'" in err
    assert hooke("analyze", "text", "--model", "tiny", "--sae", "none.safetensors")[0] == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no text"), (b"\n \n", "no text"), (b"ab\0c\n", "binary"), (b"caf\xe9\n", "not UTF-8"), (b"\xff\xfeb\0\n\0", "UTF-16")],
)
@pytest.mark.parametrize("through", ["file", "-"])
def test_bad_input_is_3(hooke, tmp_path, content, said, through):
    (tmp_path / "in.txt").write_bytes(content)
    code, out, err = analyze(hooke, str(tmp_path / "in.txt") if through == "file" else "-", stdin=content)
    assert (code, out) == (3, "")
    assert said in err


def test_an_argument_that_is_not_utf8_is_3(hooke):
    code, out, err = analyze(hooke, "caf\udce9")
    assert (code, out) == (3, "")
    assert "not valid UTF-8" in err


def test_a_damaged_sae_is_3(hooke, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 100)
    code, _, err = analyze(hooke, "text", "--sae", str(tmp_path / "x.safetensors"))
    assert code == 3
    assert "x.safetensors is no SAE in a form that Hooke knows" in err


def test_an_sae_of_another_width_model_or_layer(hooke, folder, tmp_path):
    import torch

    sae = tiny.sae()
    replace(sae, W_enc=torch.zeros(48, 64)).save(tmp_path / "wide.safetensors")
    code, _, err = analyze(hooke, "text", "--sae", str(tmp_path / "wide.safetensors"))
    assert code == 3
    assert "reads width 48" in err
    replace(sae, facts=replace(sae.facts, model="big")).save(tmp_path / "other.safetensors")
    code, _, err = analyze(hooke, "text", "--sae", str(tmp_path / "other.safetensors"))
    assert code == 0, "the measured fit decides, the name only warns"
    assert "trained on big, not on tiny" in " ".join(err.split())
    code, _, err = analyze(hooke, "text", "--sae", "layer9.safetensors")
    assert code in (2, 4)
    assert "resid_post.9" in err


def assert_document(found: dict) -> None:
    assert found.keys() >= TOP
    for text in found["texts"]:
        assert_text(text)
    for topic in found["topics"]:
        assert topic.keys() >= {"topic", "texts", "features"}
        for carrier in topic["features"]:
            assert carrier.keys() >= {"feature", "label", "label_score", "label_method", "label_evidence", "texts"}


def assert_text(found: dict) -> None:
    assert found.keys() >= TEXT
    for hit in found["features"]:
        assert hit.keys() >= FEATURE
        assert hit["feature"] == f"{hit['sae']}/{hit['index']}"
        assert found["tokens"][hit["pos"]] == hit["token"]


def test_json_is_one_document(hooke):
    code, out, _ = analyze(hooke, "bank profit", "the old choir", "--json")
    found = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert_document(found)
    assert (found["schema_version"], found["model"], found["saes"][0]["name"]) == (1, "tiny", NAME)
    assert [(text["text"], text["topic"]) for text in found["texts"]] == [("bank profit", "finance"), ("the old choir", "music")]
    assert [topic["topic"] for topic in found["topics"]] == ["finance", "music"]


def test_jsonl_is_one_object_a_text(hooke):
    code, out, _ = analyze(hooke, "-", "--jsonl", stdin="bank\n\nÜber storm ‮\nchoir\n".encode())
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["text"] for line in lines] == ["bank", "Über storm ‮", "choir"]
    for line in lines:
        assert_text(line)


def test_a_table_for_people(hooke):
    code, out, err = analyze(hooke, "bank profit", "-2 degrees and snow")
    assert code == 0
    for word in ("bank profit", "finance", "weather", NAME, "0.95", "n 50", "Topics of 2 texts", "guess by rule"):
        assert word in out
    assert "\x1b" not in out + err, "no colours where nobody looks"


def test_options_reach_the_reader(hooke):
    text = "bank goal rain doctors election"
    labels = [
        [hit["label"] for hit in json.loads(analyze(hooke, text, "--json", *options)[1])["texts"][0]["features"]]
        for options in (["--top", "2"], ["--top", "9"], ["--top", "9", "--min-label-score", "0.9"])
    ]
    assert [len(found) for found in labels] == [2, 5, 2]
    assert set(labels[2]) == {"finance", "sport"}
    two = json.loads(analyze(hooke, text, "--json", "--sae", NAME, "--sae", "pack/resid_post.0.safetensors", "--pool", "sum")[1])
    assert len(two["saes"]) == 2


def test_files_with_fields_and_columns(hooke, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"title": "bank"}\n')
    (tmp_path / "a.csv").write_text('id,title\n1,"choir, opera"\n')
    for name, option, wanted in (("a.jsonl", "--field", "bank"), ("a.csv", "--column", "choir, opera")):
        code, out, _ = analyze(hooke, str(tmp_path / name), option, "title", "--json")
        assert (code, json.loads(out)["texts"][0]["text"]) == (0, wanted)
    code, _, err = analyze(hooke, str(tmp_path / "a.jsonl"), "--field", "titel")
    assert code == 4
    assert "Did you mean 'title'" in err


def test_html_is_written_and_self_contained(hooke, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("old")
    code, out, err = analyze(hooke, "bank <script>alert(1)</script>", "--html", str(page))
    html = page.read_text()
    assert code == 0
    assert str(page) in err
    assert "finance" in out
    assert html.lower().startswith("<!doctype html>")
    assert "<script" not in html
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//)|url\((?!["']?data:)|@import""", html)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_run_leaves_the_old_page(hooke, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hooke.report.analysis.page", interrupted)
    code, _, err = analyze(hooke, "bank", "--html", str(page))
    assert (code, err.splitlines()[-1]) == (130, "hooke: stopped.")
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_saes(hooke, monkeypatch):
    code, out, _ = hooke("saes", "--json")
    assert code == 0
    wanted = {"name": NAME, "model": "tiny", "site": "resid_post.0", "d_in": 32, "d_sae": 64, "l0": 3.5, "installed": True}
    (row,) = json.loads(out)["saes"]
    assert row.items() >= wanted.items()
    assert json.loads(hooke("saes", "--json", "--model", "other")[1]) == {"saes": []}
    assert NAME in hooke("saes")[1]
    monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
    code, out, _ = hooke("saes")
    assert code == 0
    assert "pip install" in out


def test_out_of_memory_is_6(hooke, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("hooke.analysis.Reader.load", full)
    code, _, err = analyze(hooke, "bank")
    assert code == 6
    assert "--batch-tokens" in err


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own at work on `arguments`."""
    command = [sys.executable, "-c", "from hooke.cli import main; main()", "analyze", *arguments]
    command += ["--model", "tiny", "--sae", "pack/resid_post.0.safetensors"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Tests that were started in the background of a script would hand on that Ctrl-C is to be ignored.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=heard, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("form", [["--jsonl"], pytest.param([], marks=pytest.mark.exhaustive)])
def test_a_reader_who_has_enough_is_no_error(folder, tmp_path, form):
    """As in ``hooke analyze many.txt | head -1``."""
    (tmp_path / "many.txt").write_text("bank profit\n" * (100_000 if form else 800))
    with started(folder, str(tmp_path / "many.txt"), *form) as process:
        assert b"bank profit" in process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        told = [line for line in errors.splitlines() if not line.startswith(b"No atlas knows")]
        assert (process.wait(60), told) == (0, [])


def test_interrupted_is_130_and_nothing_is_half_written(folder, tmp_path):
    with started(folder, "-", "--html", str(tmp_path / "report.html")) as process:
        process.stdin.write(b"bank profit\n" * 3000)  # and more may come: it cannot finish
        process.stdin.flush()
        time.sleep(5)
        for _ in range(20):  # a library that is being imported may swallow the first
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
                break
        assert process.poll() == 130
        errors = process.stderr.read().decode()
    assert errors.splitlines()[-1] == "hooke: stopped."
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_your_own_columns_travel_into_every_output(hooke, tmp_path):
    (tmp_path / "in.csv").write_text('id,headline,desk\n17,"bank, profit",Business\n18,the old choir,\n')
    outs = [option for form in ("html", "csv", "parquet") for option in (f"--{form}", str(tmp_path / f"out.{form}"))]
    code, out, err = analyze(hooke, str(tmp_path / "in.csv"), "--column", "headline", "--jsonl", *outs)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    assert [line["fields"] for line in lines] == [{"id": "17", "desk": "Business"}, {"id": "18", "desk": ""}]
    assert [line for line in err.splitlines() if line.startswith("Wrote")] == [f"Wrote {outs[i]}" for i in (1, 3, 5)]
    html = (tmp_path / "out.html").read_text()
    assert "id 17 · desk Business" in html
    assert "bank, profit" in re.sub("<[^>]*>", "", html)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert {(row["id"], row["desk"], row["text"]) for row in rows} == {("17", "Business", "bank, profit"), ("18", "", "the old choir")}
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == len(rows)
    code, out, _ = analyze(hooke, str(tmp_path / "in.csv"), "--column", "headline")
    assert "id 17 · desk Business" in out


def test_a_file_that_is_not_there_is_no_text(hooke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "headlines.txt").write_text("rain\n")
    for argument in ("headlines.tx", "healines.txt", "texts/none", "./none", "none.parquet", "none.json", "none.md", "none.txt.gz"):
        code, out, err = analyze(hooke, argument)
        assert (code, out) in ((4, ""), (2, "")), argument
        assert Path(argument).name in err
    assert "Did you mean 'headlines.txt'?" in analyze(hooke, "healines.txt")[2]


CORPUS = (
    "bank profit and shares",
    "an old loan and a bank",
    "bank inflation and bonds",
    "the striker and the coach",
    "a goal and a striker",
)


def test_topics_of_some_texts(hooke: Command) -> None:
    code, out, _ = hooke("topics", *CORPUS, "--topics", "2", "--model", "tiny", "--json")
    assert code == 0
    found = json.loads(out)
    assert list(found) == ["schema_version", "topics", "coherence", "diversity", "stability", "baselines"]
    assert sorted(sorted(topic["texts"]) for topic in found["topics"]) == [[0, 1, 2], [3, 4]]
    code, out, _ = hooke("topics", *CORPUS, "--topics", "2", "--model", "tiny")
    assert code == 0
    assert "the striker and the coach" in out
    assert "these topics" in out


@pytest.mark.parametrize(("asked", "said"), [("1", "too few"), ("40", "cannot be made of 5 texts")])
def test_too_few_or_too_many_topics_is_one_sentence(hooke: Command, asked: str, said: str) -> None:
    code, out, err = hooke("topics", *CORPUS, "--topics", asked, "--model", "tiny")
    assert (code, out) == (2, "")
    assert said in err
