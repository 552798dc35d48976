"""`hooke diff`, as people run it, on the planted model."""

import json
from pathlib import Path

import planted
import pytest
from commands import Command

from hooke import tiny


@pytest.fixture
def hooke(command, tmp_path, monkeypatch) -> Command:
    """Run a command where the planted model lies, with two piles of texts."""
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "model")
    planted.write(tmp_path / "atlas.sqlite", [tiny.sae()])
    firsts, seconds = ["old", "new", "last", "next", "first", "two", "three"], ["day", "week", "year", "after", "before", "under", "into"]
    words = [f"{a} {b}" for a in firsts for b in seconds]
    rows = [{"text": f"the {word} goal", "desk": "sport", "n": n} for n, word in enumerate(words)]
    rows += [{"text": f"the {word} bank", "desk": "money", "n": n} for n, word in enumerate(words)]
    Path("news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("a.txt").write_text("".join(f"{row['text']}\n" for row in rows[:49]))
    Path("b.txt").write_text("".join(f"{row['text']}\n" for row in rows[49:]))
    return command


WITH = ("--model", "model", "--sae", "model/sae.safetensors", "--atlas", "atlas.sqlite")


def test_a_table_a_page_and_rows(hooke, tmp_path):
    code, out, err = hooke("diff", "news.jsonl", "--by", "desk", *WITH, "--html", "page.html", "--csv", "rows.csv")
    assert code == 0
    assert out.index("What this sample can show") < out.index("More often in")
    for said in ("sport", "finance", "held", "Telling the groups apart", "says nothing of the people"):
        assert said in out
    assert "four times in five" in " ".join(err.split())  # told before the texts are read
    assert "<script" not in (tmp_path / "page.html").read_text()
    assert (tmp_path / "rows.csv").read_text().startswith("kind,feature,name,")


def test_two_files_are_two_groups(hooke):
    code, out, _ = hooke("diff", "a.txt", "b.txt", *WITH, "--json")
    found = json.loads(out)
    assert code == 0
    assert [group["name"] for group in found["groups"]] == ["a", "b"]
    assert {finding["feature"] for finding in found["findings"]} >= {"tiny/resid_post.0/64/0", "tiny/resid_post.0/64/1", "goal", "bank"}


def test_records_come_from_standard_input(hooke):
    stream = Path("news.jsonl").read_bytes()
    code, out, _ = hooke("diff", "-", "--by", "desk", *WITH, "--json", stdin=stream)
    named = json.loads(hooke("diff", "news.jsonl", "--by", "desk", *WITH, "--json")[1])
    assert code == 0
    assert {**json.loads(out), "made": None} == {**named, "made": None}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("news.jsonl",), 2, "name a field of groups with --by"),
        (("a.txt", "a.txt"), 2, "two of the files are the same"),
        (("news.jsonl", "--by", "desc"), 4, "Did you mean 'desk'?"),
        (("news.jsonl", "--by", "n"), 2, "49 different values"),
        (("news.jsonl", "--by", "desk", "--trend", "n"), 2, "give one of them"),
        (("news.jsonl", "--by", "desk", "--html", "no/where.html"), 2, "there is no folder"),
        (("a.txt", "--by", "desk"), 3, "have no field 'desk'"),
        (tuple(f"{n}.txt" for n in range(500)), 2, "500 files were given, and at most 12 groups"),
        (("gone.jsonl", "--by", "desk"), 4, "there is no file"),
        (("news.jsonl", "--bye", "desk"), 2, "unknown option '--bye'. Did you mean '--by'?"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(hooke, options, code, said):
    found = hooke("diff", *options)
    assert found[0] == code
    assert said in found[2]
