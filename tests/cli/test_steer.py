"""`hooke steer`, as people run it, on the planted model."""

import dataclasses
import json

import handmade
import pytest
import torch
from commands import Command

from hooke import tiny
from hooke.cli.named import model_for
from hooke.errors import ShapeMismatch


@pytest.fixture
def hooke(command, tmp_path, monkeypatch) -> Command:
    """Run a command where a pack with the planted SAE is installed and the planted model is a folder beside it."""
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "model")
    handmade.write(tmp_path / "pack" / "atlas.sqlite")
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": tmp_path / "pack"})
    monkeypatch.setattr("hooke.sae.Sae.from_pretrained", lambda name: _sae(name))
    monkeypatch.setattr("hooke.atlas.Atlas.check", lambda atlas, sae: None)  # its weights are not the ones the atlas was made of
    return command


def _sae(name: str):
    """The first features of the planted SAE, as many as the handmade atlas has."""
    sae, n = tiny.sae(), 8
    few = {"W_enc": sae.W_enc[:, :n], "b_enc": sae.b_enc[:n], "W_dec": sae.W_dec[:n], "threshold": sae.threshold[:n]}
    return dataclasses.replace(sae, **few, facts=dataclasses.replace(sae.facts, name=name, reads=["resid_post.0"]))


def test_texts_stand_side_by_side_and_say_that_they_were_altered(hooke, tmp_path):
    asked = ("steer", f"{handmade.FIRST}/1", "--prompt", "the mayor", "--tokens", "4", "--model", str(tmp_path / "model"))
    code, out, _ = hooke(*asked)
    assert code == 0
    for said in ("control: ", "The model by itself", "With the feature turned, dose ", "Control", "altered: not what the model says"):
        assert said in " ".join(out.split())
    code, out, err = hooke(*asked, "--doses", "0.5..2", "--json", "--html", "page.html")
    found = json.loads(out)
    assert (code, found["schema_version"], [arm["dose"] for arm in found["arms"][:7]]) == (0, 1, [0, 0.5, 0.5, 1, 1, 2, 2])
    assert "altered" in found["note"]
    assert len(found["controls"]) == 1
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "By dose" in page
    assert err.endswith("Wrote page.html\n")


def test_an_sae_of_another_model_is_told_and_one_that_cannot_fit_refused(tmp_path):
    tiny.save(tmp_path / "other")
    own, told = tiny.sae(), list[str]()
    model_for([own], str(tmp_path / "other"), told.append)
    assert any(said.startswith("Warning: ") and "trained on tiny, not on other" in said for said in told)
    wide = dataclasses.replace(own, W_dec=torch.zeros(own.d_sae, 40), b_dec=torch.zeros(40))
    with pytest.raises(ShapeMismatch, match="writes width 40 at"):
        model_for([wide], str(tmp_path / "other"), told.append)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--prompt", "x"), 2, "no feature to turn"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--doses", "8..1"), 2, "cannot read '8..1' as doses"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--doses", "1..8:1"), 2, "or 0.25..8:21 for"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--doses", "1..64"), 2, "at most 21 doses up to 16 times"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--doses", "1..8:22"), 2, "at most 21 doses up to 16 times"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--dose", "1", "--kl", "1"), 2, "--dose and --kl each say how far"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--kl", "0"), 2, "would change nothing"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--dose", "nan"), 2, "must be from -16 to 16"),
        ((f"{handmade.FIRST}/1", "--prompt", " "), 2, "no text to go on from"),
        ((f"{handmade.FIRST}/1", "--prompt", "x", "--html", "no/where.html"), 2, "there is no folder"),
        ((f"{handmade.FIRST}/99", "--prompt", "x"), 4, "unknown feature"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(hooke, options, code, said):
    found = hooke("steer", *options)
    assert found[0] == code
    assert said in found[2]
