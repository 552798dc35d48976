"""`hooke inspect` and `hooke convert`, as a person or a script meets them."""

import json
from pathlib import Path

import pytest
from published import gemma_scope, gemma_scope_2

from hooke.cli.convert import convert
from hooke.cli.inspect import inspect
from hooke.errors import BadConfig
from hooke.sae.formats import open_sae


def test_inspect_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = gemma_scope_2(tmp_path, "transcoder_all", affine=True)
    inspect(made.path)
    said = capsys.readouterr().out
    for part in ("gemma-scope-2", "skip transcoder", "google/gemma-3-270m", "mlp_in.5 -> mlp_out.5", "6 x 20"):
        assert part in said
    inspect(made.path, json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["dialect"], found["d_sae"], found["writes"]) == ("gemma-scope-2", 20, ["mlp_out.5"])
    gemma_scope(tmp_path)
    inspect(tmp_path)
    assert "models--google--gemma-scope-2b-pt-res" in capsys.readouterr().out.replace("\n", "")


def test_convert_writes_what_opens_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = gemma_scope(tmp_path)
    convert(made.path, tmp_path / "out", to="saelens")
    assert capsys.readouterr().err.startswith(f"Wrote {tmp_path / 'out'} (gemma-scope-2b-pt-res/resid_post.3/")
    back, sae = open_sae(tmp_path / "out"), open_sae(made.path)
    assert (back.W_enc.equal(sae.W_enc), back.threshold.equal(sae.threshold), back.facts.model) == (True, True, sae.facts.model)
    convert(tmp_path / "out", tmp_path / "own.safetensors")
    assert open_sae(tmp_path / "own.safetensors").W_dec.equal(sae.W_dec)
    with pytest.raises(BadConfig, match="write to another place"):
        convert(made.path, tmp_path, to="saelens")
