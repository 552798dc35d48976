"""`hooke ablate`, as people run it, on the planted model."""

import json
import re

import pytest

from hooke import tiny
from hooke.ablate import Ablation, Pair
from hooke.cli.ablate import features_first
from hooke.report.ablation import page

NAME = tiny.sae().name


def test_texts_and_files_are_read_without_features(hooke, tmp_path):
    (tmp_path / "texts.txt").write_text("striker coach team goal\nthe <b>storm</b> of the night\n")
    asked = ("ablate", f"{NAME}/1", f"{NAME}/2", "texts.txt", "the match", "--model", str(tmp_path / "model"))
    code, out, _ = hooke(*asked)
    assert code == 0
    for said in (
        "without tiny/resid_post.0/64/1  sport",
        "without both",
        "taken away at random",
        "active on no token",
        "silenced",
    ):
        assert said in " ".join(out.split("\n")).replace("\n", " ")
    code, out, err = hooke(*asked, "--pairs", "--json", "--html", "page.html")
    found = json.loads(out)
    assert [row["text"] for row in found["texts"]] == ["striker coach team goal", "the <b>storm</b> of the night", "the match"]
    first = found["texts"][0]
    assert {len(arm[key]) for arm in first["silenced"] for key in ("loss", "kl", "acts", "loss_control")} == {len(first["tokens"])}
    assert [pair["features"] for pair in first["pairs"]] == [[f"{NAME}/1", f"{NAME}/2"]]
    written = (tmp_path / "page.html").read_text()
    assert "without both" in written
    assert "striker coach team goal" in re.sub(r"<[^>]*>", "", written)
    assert "<script" not in written
    assert "<b>" not in written
    assert err.endswith("Wrote page.html\n")


def test_features_stand_first_and_files_are_no_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "7").write_text("x")
    assert features_first(("12/3", "m/resid_post.12/4k/5", "texts/7", "12/4")) == (["12/3", "m/resid_post.12/4k/5"], ["texts/7", "12/4"])
    assert features_first(("12/3",)) == (["12/3"], [])
    assert features_first(("a text",)) == ([], ["a text"])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("a text",), 2, "no feature to silence"),
        ((f"{NAME}/1",), 2, "no text was given"),
        ((f"{NAME}/1", "x", "--html", "no/where.html"), 2, "there is no folder"),
        ((f"{NAME}/99", "x"), 4, "unknown feature"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(hooke, options, code, said):
    found = hooke("ablate", *options)
    assert found[0] == code
    assert said in found[2]


def test_pairs_are_told_where_both_cost_clearly_more_or_less_than_the_sum():
    pairs = [
        Pair(("s/1", "s/2"), (0.5, 0.4), 1.4, 0.5),
        Pair(("s/1", "s/3"), (0.5, 0.4), 0.95, 0.05),
        Pair(("s/2", "s/3"), (0.5, 0.4), 0.5, -0.4),
    ]
    told = "".join(page([Ablation("x", "tiny", [], [], [], pairs)], {}).split("two at a time")[1])
    assert told.index("stand in for each other") < told.index("work on the same")
    assert "1 other pair:" in told
