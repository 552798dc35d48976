"""`hooke attribute`, as people run it, on the planted model."""

import json

import planted
import pytest

from hooke import tiny

NAME = tiny.sae().name
TEXT = "the striker and the coach"


def test_features_that_push_a_word_are_shown_with_what_was_checked(hooke, tmp_path):
    asked = ("attribute", TEXT, "--token", " goal", "--sae", NAME, "--model", str(tmp_path / "model"))
    code, out, _ = hooke(*asked, "--method", "gradient")
    assert code == 0
    first = out.splitlines()[1].split()
    assert first[1:3] == ["1", "sport"]
    for said in ("“ goal” has probability", "completeness", "Correlation with taking each of the 17 largest out", "does not explain"):
        assert said in " ".join(out.split("\n"))
    code, out, _ = hooke(*asked, "--against", " opera", "--method", "integrated", "--top", "2", "--json")
    found = json.loads(out)
    assert (code, found["schema_version"], found["token"], found["against"]) == (0, 1, " goal", " opera")
    assert found["features"][0]["title"] == "sport"
    assert found["total"] == pytest.approx(sum(one["value"] for one in found["contributions"]))
    assert len(found["features"]) == 2


def test_without_a_token_the_likeliest_is_asked_about(hooke, tmp_path):
    code, out, _ = hooke("attribute", TEXT, "--sae", NAME, "--model", str(tmp_path / "model"))
    assert code == 0
    assert "has probability" in out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((" ",), 3, "is empty"),
        (("headlines.txt",), 4, "there is no file 'headlines.txt'"),
        ((TEXT, "--token", "goal match"), 2, "no single token"),
        ((TEXT, "--baseline", "x"), 2, "token by token"),
        ((TEXT, "--sae", "tiny/resid_post.1/64"), 4, "unknown SAE"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(hooke, tmp_path, options, code, said):
    options = options if "--sae" in options else (*options, "--sae", NAME)
    found = hooke("attribute", *options, "--model", str(tmp_path / "model"))
    assert found[0] == code
    assert said in found[2]


def test_analyze_shows_what_pushes_the_next_word(command, tmp_path, monkeypatch):
    tiny.save(tmp_path)
    atlas = planted.write(tmp_path / "atlas.sqlite")
    asked = (
        "analyze",
        "the striker and the coach",
        "--model",
        str(tmp_path),
        "--sae",
        str(tmp_path / "sae.safetensors"),
        "--atlas",
        str(atlas),
    )
    code, out, _ = command(*asked, "--pushed", "--json", "--top", "3")
    (found,) = json.loads(out)["pushed"]
    assert code == 0
    assert len(found["features"]) == 3
    assert 0 < found["probability"] < 1
    assert "pushed" not in json.loads(command(*asked, "--json")[1])
    assert "What pushes the next word" in command(*asked, "--pushed")[1]
    code, _, err = command(*asked, "--pushed", "--jsonl")
    assert code == 2
    assert "--pushed goes with a table or --json" in err
