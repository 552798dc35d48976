"""A model whose layers lie on several devices (here one of them on the disk) is read as it would be elsewhere, and nothing else."""

import pytest
import torch

from hooke import tiny
from hooke.errors import BadConfig, Missing
from hooke.model import Model, loading

PLACES = {"model.embed_tokens": "cpu", "lm_head": "cpu", "model.layers.0": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}


@pytest.fixture
def spread(tmp_path, monkeypatch) -> Model:
    pytest.importorskip("accelerate")
    (tmp_path / "tiny").mkdir()
    tiny.save(tmp_path / "tiny")
    layout = {"device_map": PLACES | {"model.layers.1": "disk"}, "offload_folder": str(tmp_path / "off")}
    monkeypatch.setattr(loading, "_LAYOUT", layout)
    return Model.load(tmp_path / "tiny", dtype="float32", spread=True)


def test_it_is_read_as_it_would_be_elsewhere(spread):
    whole = Model.load(spread.ref, dtype="float32")
    assert {parameter.device.type for parameter in spread.hf.parameters()} == {"cpu", "meta"}
    for texts in (["storm and rain", "the bank"], ["profit"]):
        for sites in (["resid_post.0"], ["resid_post.1", "mlp_out.1", "resid_post.0"]):
            mine, theirs = (model.capture(texts, sites) for model in (spread, whole))
            assert all(torch.equal(mine[site], theirs[site]) for site in sites)


def test_what_it_cannot_do_is_said(spread, monkeypatch):
    with pytest.raises(BadConfig, match=r"is spread over devices, where it can be read .* and not be asked what it predicts"):
        spread.logits(["storm"])
    with pytest.raises(BadConfig, match=r"and not be changed\. Load it whole"), spread.edit("resid_post.0", lambda acts: acts):
        pass
    with pytest.raises(BadConfig, match="only `hooke harvest` reads with a model that is spread"):
        Model.load(spread.ref, device="auto")
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Missing, match="needs accelerate"):
        Model.load(spread.ref, spread=True)


def test_the_command(spread, command, tmp_path):
    (tmp_path / "news.jsonl").write_text('{"text": "storm and rain"}\n' * 200)
    asked = ("harvest", "--model", str(spread.ref), "--site", "resid_post.1", "--corpus", str(tmp_path / "news.jsonl"), "--tokens", "50")
    for name, device in (("there", "auto"), ("here", "cpu")):
        code, _, err = command(*asked, "--dtype", "float32", "--device", device, "--out", str(tmp_path / name))
        assert code == 0, err
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert here == there
    code, _, err = command(*asked, "--device", "auto", "--engine", "ray", "--out", str(tmp_path / "third"))
    assert (code, "gives each worker one" in err) == (2, True)
