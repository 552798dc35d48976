"""`hooke monitor`, as people run it, on the planted model."""

import json
from pathlib import Path

import planted
import pytest
from commands import Command
from piles import pile

from hooke import tiny


@pytest.fixture
def hooke(command, tmp_path, monkeypatch) -> Command:
    """Run a command where the planted model and labelled texts lie."""
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "model")
    path = planted.write(tmp_path / "atlas.sqlite", [tiny.sae()])
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda sae: path)
    monkeypatch.setattr("hooke.sae.Sae.from_pretrained", lambda *_, **__: tiny.sae())
    rows = [
        {"text": text, "kind": kind} for kind, share in (("sport", 1.0), ("rest", 0.0)) for text in pile("sport", 90, share, int(share))
    ]
    Path("news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return command


FROM = ("--model", "model", "--sae", "model/sae.safetensors")
MAKE = ("monitor", "make", "news.jsonl", "--by", "kind", "--kind", "sport", "--out", "m.json", *FROM)


def test_a_monitor_is_made_and_run(hooke):
    code, out, _ = hooke(*MAKE, "--false-alarms", "0.1", "--features", "2")
    assert code == 0
    for said in ("features", "probe", "plain words", "caught", "never a reason to decide"):
        assert said in out
    lines = [{"id": 7, "text": "the old goal"}, {"id": 8, "text": "next year after week"}]
    Path("fresh.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = hooke("monitor", "run", "m.json", "fresh.jsonl")
    first, other = map(json.loads, out.splitlines())
    assert (code, first["id"], first["alarm"]["features"], other["alarm"]["features"]) == (0, 7, True, False)
    assert "sport" in first["because"][0]
    assert "2 texts" in err


def test_what_came_before_a_broken_line_is_answered(hooke):
    assert hooke(*MAKE, "--false-alarms", "0.1", "--features", "2")[0] == 0
    lines = [json.dumps({"id": n, "text": "the old goal"}) for n in range(3)]
    stream = "\n".join([*lines, '{"text": "cut o', *lines]).encode()
    code, out, err = hooke("monitor", "run", "m.json", "-", "--field", "text", stdin=stream)
    assert code == 3
    assert [json.loads(line)["id"] for line in out.splitlines()] == [0, 1, 2]
    assert "3 texts" in err
    assert "line 4 of standard input is not JSON" in err
    code, out, _ = hooke("monitor", "run", "m.json", "-", "--field", "text", "--at-once", "1", stdin="\n".join(lines).encode())
    assert (code, len(out.splitlines())) == (0, 3)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("make", "news.jsonl", "--by", "kind", "--kind", "spot", "--out", "m.json"), 4, "Did you mean 'sport'?"),
        (("make", "news.jsonl", "--by", "kind", "--kind", "sport", "--out", "no/m.json"), 2, "there is no folder"),
        (("run", "m.json", "a text", "--at-onc", "3"), 2, "Did you mean '--at-once'?"),
        (("run", "gone.json", "a text"), 4, "there is no monitor 'gone.json'"),
        (("run", "news.jsonl", "a text"), 3, "is no monitor"),
    ],
)
def test_what_cannot_be_is_said(hooke, options, code, said):
    found = hooke("monitor", *options)
    assert found[0] == code
    assert said in found[2]
