"""`hooke atlas effects`, as people run it, on the planted model: measured, shown, stopped and gone on with."""

import dataclasses
import json

import handmade
import planted
import pytest

from hooke import tiny
from hooke.errors import DigestMismatch
from hooke.sae.packs import made_here

NAME = tiny.sae().name
FEW = ("--contexts", "8", "--controls", "19", "--dose", "1")


def test_effects_are_measured_and_shown(hooke, tmp_path):
    code, out, _ = hooke("feature", f"{NAME}/1", "--json")
    assert (code, json.loads(out)["effect"], json.loads(out)["kind"]) == (0, None, None)
    assert "not measured" in hooke("feature", f"{NAME}/1")[1]
    code, out, _ = hooke("atlas", "effects", NAME, *FEW, "--model", str(tmp_path / "model"), "--json")
    made = json.loads(out)
    assert (code, made["complete"], made["measured"]) == (0, True, planted.N_ALIVE)
    assert [str(path) for path in made_here()] == [made["path"]]  # the pack's own file stays
    found = json.loads(hooke("feature", f"{NAME}/1", "--json", "--html", "one.html")[1])
    assert found["kind"] == "both"
    assert {moved["text"].strip().lower() for moved in found["effect"]["doses"][0]["raised"]} <= set(tiny.concepts["sport"])
    shown = " ".join(hooke("feature", f"{NAME}/1")[1].split())
    assert shown.index("What it does") < shown.index("reads and writes")
    for said in ("a random step as long", "one in twenty", "likelier “"):
        assert said in shown
    assert "a random step as long" in (tmp_path / "one.html").read_text()
    again = json.loads(hooke("atlas", "effects", NAME, *FEW, "--model", str(tmp_path / "model"), "--json")[1])
    assert {**again, "seconds": 0} == {**made, "seconds": 0}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((NAME, "--dose", "nan"), 2, "out of range"),
        ((NAME, "--dose", "1e9"), 2, "out of range"),
        ((NAME, "--dose", "0"), 2, "doses are different numbers"),
        (("tiny/resid_post.1/64",), 4, "unknown SAE"),
        ((NAME, "--out", "."), 2, "it is a folder"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(hooke, options, code, said):
    found = hooke("atlas", "effects", *options)
    assert found[0] == code
    assert said in found[2]


def test_another_sae_than_the_atlas_knows_is_refused(hooke, tmp_path):
    handmade.write(tmp_path / "other.sqlite")
    facts = dataclasses.replace(tiny.sae().facts, name=handmade.FIRST)
    dataclasses.replace(tiny.sae(), facts=facts).save(tmp_path / "pack" / "other.safetensors")
    code, _, said = hooke("atlas", "effects", handmade.FIRST, "--atlas", "other.sqlite", *FEW, "--model", str(tmp_path / "model"))
    assert code == DigestMismatch.exit_code
    assert "describes another" in said


def test_steer_proposes_features_for_words_and_turns_the_best(hooke, tmp_path):
    asked = ("steer", "--for", "goal, match", "--sae", NAME, "--model", str(tmp_path / "model"))
    code, out, _ = hooke(*asked)
    assert code == 0
    assert out.splitlines()[2].split()[:2] == ["1", "sport"]
    best = json.loads(hooke(*asked, "--json")[1])["proposals"][0]
    assert (best["feature"], best["title"], best["p"]) == (f"{NAME}/1", "sport", 0.05)
    code, out, _ = hooke(*asked, "--prompt", "the mayor", "--tokens", "4", "--json")
    found = json.loads(out)
    assert (code, found["features"]) == (0, [f"{NAME}/1"])
    assert {arm["dose"] for arm in found["arms"][1:3]} == {1.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--for", "goal", f"{NAME}/1", "--prompt", "x"), "one of the two"),
        (("--for", "zzzz", "--sae", NAME), "no single token"),
        (("--for", ",", "--sae", NAME), "for 1 to 20 words"),
        ((f"{NAME}/1",), "no text to go on from"),
        ((), "no feature to turn"),
    ],
)
def test_what_cannot_be_proposed_is_said(hooke, tmp_path, options, said):
    code, _, err = hooke("steer", *options, "--model", str(tmp_path / "model"))
    assert code == 2
    assert said in err
