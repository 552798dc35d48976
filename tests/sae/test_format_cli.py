"""`hooke inspect` and `hooke convert`, as a person or a script meets them."""

import json
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
from published import gemma_scope, gemma_scope_2, gemma_scope_2_many, qresearch

from hooke.cli.convert import convert
from hooke.cli.inspect import inspect
from hooke.errors import BadConfig
from hooke.sae.formats import open_sae


def test_inspect_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = gemma_scope_2(tmp_path, "transcoder_all", affine=True)
    inspect(str(made.path))
    said = capsys.readouterr().out
    for part in ("gemma-scope-2", "skip transcoder", "google/gemma-3-270m", "mlp_in.5 -> mlp_out.5", "6 x 20"):
        assert part in said
    inspect(str(made.path), json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["dialect"], found["d_sae"], found["writes"]) == ("gemma-scope-2", 20, ["mlp_out.5"])
    gemma_scope(tmp_path)
    inspect(str(tmp_path))
    assert "models--google--gemma-scope-2b-pt-res" in capsys.readouterr().out.replace("\n", "")


def test_convert_writes_what_opens_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = gemma_scope(tmp_path)
    convert(str(made.path), tmp_path / "out", to="saelens")
    assert capsys.readouterr().err.startswith(f"Wrote {tmp_path / 'out'} (gemma-scope-2b-pt-res/resid_post.3/")
    back, sae = open_sae(tmp_path / "out"), open_sae(made.path)
    assert (back.W_enc.equal(sae.W_enc), back.threshold.equal(sae.threshold), back.facts.model) == (True, True, sae.facts.model)
    convert(str(tmp_path / "out"), tmp_path / "own.safetensors")
    assert open_sae(tmp_path / "own.safetensors").W_dec.equal(sae.W_dec)
    with pytest.raises(BadConfig, match="write to another place"):
        convert(str(made.path), tmp_path, to="saelens")


SET = "layer_7_13_17_22_width_65k_l0_medium"
ONE = "gemma-scope-2b-pt-res/layer_20/width_16k"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.Hub]:
    """A hub with an SAE that the catalogue knows, a set of many layers that it knows, and a pickle."""
    with fake_hub.serving() as serving:
        fake_hub.connect(serving, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
        monkeypatch.chdir(tmp_path)
        one, many, pickled = (
            gemma_scope(tmp_path / "one"),
            gemma_scope_2_many(tmp_path / "many", "crosscoder"),
            qresearch(tmp_path / "pickled"),
        )
        serving.add("google/gemma-scope-2b-pt-res", {"layer_20/width_16k/average_l0_71/params.npz": (one.path / "params.npz").read_bytes()})
        serving.add("google/gemma-scope-2-1b-it", {f"crosscoder/{SET}/{file.name}": file.read_bytes() for file in many.path.iterdir()})
        serving.add("qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19", {pickled.path.name: pickled.path.read_bytes()})
        yield serving


@pytest.mark.parametrize(
    "ref",
    [
        f"{ONE}/canonical",
        "gemma-2-2b/20-gemmascope-res-16k",
        "gemma-scope-2b-pt-res/resid_post.20/16k-l0-71",
        f"google/{ONE}/average_l0_71",
        f"hf://google/{ONE}/average_l0_71",
    ],
)
def test_both_take_every_name(ref: str, hub: fake_hub.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(ref, json=True)
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["dialect"], found["name"]) == ("gemma-scope", "gemma-scope-2b-pt-res/resid_post.20/16k-l0-71")
    assert found["reads"] == ["resid_post.20"]
    assert "Fetching layer_20/width_16k/average_l0_71/params.npz" in err
    convert(ref, tmp_path / "out", to="saelens")
    assert json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]["hook_name"] == "blocks.20.hook_resid_post"
    convert(ref, tmp_path / "own.safetensors")
    assert open_sae(tmp_path / "own.safetensors").facts.metrics == {"l0": 71}


def test_a_share_of_a_set_is_fetched_alone(hub: fake_hub.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = hub.repos["google/gemma-scope-2-1b-it"].files
    third = files.pop(f"crosscoder/{SET}/params_layer_2.safetensors")  # nobody asks for it yet
    for ref in (f"gemma-scope-2-1b-it-crosscoder/{SET}", f"google/gemma-scope-2-1b-it/crosscoder/{SET}"):
        inspect(ref, member="params_layer_1", json=True)
        found = json.loads(capsys.readouterr().out)
        assert (found["reads"], found["writes"]) == (["resid_post.13"], [f"resid_post.{layer}" for layer in (7, 13, 17, 22)])
        assert found["name"] == "gemma-scope-2-1b-it-crosscoder/resid_post.13/65k-l0-medium.params_layer_1"
    fetched = [line.rpartition("/")[2] for line in hub.seen if line.startswith("GET /cdn")]
    assert fetched == ["params_layer_1.safetensors"]
    convert(f"gemma-scope-2-1b-it-crosscoder/{SET}#params_layer_1", tmp_path / "share.safetensors")
    share = open_sae(tmp_path / "share.safetensors")
    assert (str(share.site), share.facts.model, share.facts.metrics) == ("resid_post.13", "gemma-3-1b-it", {})
    files[f"crosscoder/{SET}/params_layer_2.safetensors"] = third
    inspect(f"gemma-scope-2-1b-it-crosscoder/{SET}", revision="main", json=True)
    whole = json.loads(capsys.readouterr().out)
    assert (whole["kind"], whole["d_in"], len(whole["members"])) == ("crosscoder", 24, 4)


def test_a_pickle_is_converted_when_its_file_is_named(hub: fake_hub.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19/DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    with pytest.raises(BadConfig, match=f"name its file: {name}"):
        inspect("deepseek-r1-distill-llama-8b-qresearch/blocks.19.hook_resid_post")
    convert(name, tmp_path / "own.safetensors")
    assert str(open_sae(tmp_path / "own.safetensors").site) == "resid_post.19"
