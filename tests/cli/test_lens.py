"""`hooke lens`, as people run it, on the planted model."""

import json

import pytest

from hooke import tiny

NAME = tiny.sae().name


def test_a_text_goes_through_every_layer(hooke, tmp_path):
    asked = ("lens", "the bank and the <b>storm", "--model", str(tmp_path / "model"))
    code, out, _ = hooke(*asked, "--sae", "0")
    assert code == 0
    for said in ("layer 0", "layer 1", "settled at", "finance ", "weather "):
        assert said in out
    code, out, err = hooke(*asked, "--sae", "0", "--json", "--words", "2", "--html", "page.html")
    found = json.loads(out)
    assert (code, found["schema_version"], [layer["layer"] for layer in found["layers"]]) == (0, 1, [0, 1])
    assert {len(layer[key]) for layer in found["layers"] for key in ("words", "kl", "rank")} == {len(found["tokens"])}
    assert {len(words) for words in found["layers"][0]["words"]} == {2}
    assert [one["sae"] for one in found["saes"]] == [NAME]
    assert found["titles"].keys() >= {f"{NAME}/0", f"{NAME}/2"}
    written = (tmp_path / "page.html").read_text()
    assert "<script" not in written
    assert "<b>" not in written
    assert err.endswith("Wrote page.html\n")
    code, out, _ = hooke(*asked, "--no-features", "--json")
    assert (code, json.loads(out)["saes"]) == (0, [])
    asked = (*asked, "--beside", "the judge and the <b>storm", "--sae", "0")
    code, out, _ = hooke(*asked)
    assert code == 0
    assert "bank | judge" in out
    code, out, _ = hooke(*asked, "--json")
    found = json.loads(out)
    assert (code, len(found["layers"]), found["left_out"]) == (0, 2, 0)
    assert all(len(layer["apart"]) == len(found["tokens"]) for layer in found["layers"])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("x", "--html", "no/where.html"), 2, "there is no folder"),
        (("x", "--sae", "9"), 4, "9"),
        (("x", "--beside", "y", "--html", "page.html"), 2, "one text"),
        (("x", "--words", "21"), 2, "20"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(hooke, options, code, said):
    found = hooke("lens", *options)
    assert found[0] == code
    assert said in found[2]
