"""Exports: every feature in JSON Lines and Parquet, and the layouts that Neuronpedia and SAEDashboard read."""

import gzip
import json

import handmade
import pytest
from handmade import FIRST, SECOND

from hooke.atlas import NO_MEANING, TOO_RARE, Atlas, Name
from hooke.atlas.export import export
from hooke.atlas.feature import Written
from hooke.atlas.naming import read_names, write_names
from hooke.atlas.notes import Notes
from hooke.errors import BadConfig, UnknownName


@pytest.fixture
def atlas(tmp_path) -> Atlas:
    notes = Notes(tmp_path / "notes.sqlite")
    atlas = Atlas(handmade.write(tmp_path / "atlas"), notes)
    notes.put(atlas.saes[FIRST], 1, note="secret", label="launches", star=True)
    return atlas


def rows(path) -> list[dict]:
    raw = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()]


def test_json_lines(atlas, tmp_path):
    found = rows(export(atlas, "jsonl", tmp_path / "out.jsonl"))
    assert [row["name"] for row in found] == [f"{name}/{i}" for name, n in ((FIRST, 8), (SECOND, 4)) for i in range(n)]
    own = atlas.feature(f"{FIRST}/1")
    assert own.written != Written()
    shared = own.to_json() | {"own_label": "launches"}
    del shared["written"]
    assert found[1] == shared
    assert (found[1]["title"], found[1]["label"]["text"], found[2]["own_label"]) == ("launches", "rockets and space", None)
    assert "secret" not in (tmp_path / "out.jsonl").read_text()


def test_parquet(atlas, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(export(atlas, "parquet", tmp_path / "out.parquet", saes=[FIRST])).to_pylist()
    assert [row["index"] for row in table] == list(range(8))
    row = table[1]
    assert (row["label"], row["score"], row["score_low"], row["positives"], row["control"]) == ("rockets and space", 0.625, 0.5, 40, 0.5)
    assert (row["title"], row["own_label"]) == ("launches", "launches")
    assert (table[2]["title"], table[2]["own_label"]) == (table[2]["label"], None)
    assert row["examples"][0]["values"][1] == 12.5
    assert row["promoted"][0] == {"text": " rocket", "weight": 1.5}
    assert sum(row["histogram"]) == row["count"] == 60
    assert table[4]["label"] is None


def test_neuronpedia(atlas, tmp_path):
    out = export(atlas, "neuronpedia", tmp_path / "np")
    place = out / "v1" / "tiny" / "3-hooke-res-8"
    assert sorted(p.name for p in (out / "v1" / "tiny").iterdir()) == ["3-hooke-res-8", "7-hooke-res-4"]
    features, activations, explanations = (rows(place / kind / "batch-0.jsonl.gz") for kind in ("features", "activations", "explanations"))
    assert [row["index"] for row in features] == [str(i) for i in range(8)]
    one = features[1]
    assert (one["modelId"], one["layer"], one["maxActApprox"], one["frac_nonzero"]) == ("tiny", "3-hooke-res-8", 12.5, 0.125)
    assert (one["pos_str"], one["pos_values"], one["neg_str"], one["neg_values"]) == ([" rocket", " oil"], [1.5, 0.5], [" wind"], [-2.0])
    assert (one["topkCosSimIndices"], one["topkCosSimValues"]) == ([2, 3], [0.75, 0.5])
    assert (len(one["freq_hist_data_bar_heights"]), one["freq_hist_data_bar_values"][:2]) == (50, [0.0, 0.25])
    assert one["hookName"] == "blocks.3.hook_resid_post"
    own = [row for row in activations if row["index"] == "1"]
    assert [(row["binMin"], row["binMax"], row["binContains"]) for row in own] == [
        (-1, 12.5, -1),
        (-1, 12.5, -1),
        (10.0, 12.5, round(1 / 60, 5)),
        (2.5, 5.0, 0.0),
    ]
    assert all(len(row["tokens"]) == len(row["values"]) for row in activations)
    assert own[0]["maxValueTokenIndex"] == own[0]["qualifyingTokenIndex"] == 1
    assert "\0" not in "".join(token for row in activations for token in row["tokens"])
    said = [(row["index"], row["description"], row["typeName"], row["id"][-4:]) for row in explanations]
    assert said[:2] == [("1", "launches", "hooke_own", "-own"), ("1", "rockets and space", "hooke_rule", "-8-1")]
    assert len(explanations) == 3  # what was named, not "no consistent meaning found"
    assert {row["name"] for row in rows(out / "v1" / "config" / "explanation_type.jsonl")} == {"hooke_rule", "hooke_reading", "hooke_own"}
    assert "secret" not in json.dumps(explanations)
    assert {p.name for p in place.glob("*.jsonl")} == {"model.jsonl", "release.jsonl", "source.jsonl", "sourceset.jsonl"}
    (source,) = rows(place / "source.jsonl")
    assert (source["id"], source["modelId"], source["setName"], source["dataset"]) == ("3-hooke-res-8", "tiny", "hooke-res-8", "a, b")


def test_saedashboard(atlas, tmp_path):
    place = export(atlas, "saedashboard", tmp_path / "sd", saes=[FIRST]) / "3-hooke-res-8"
    assert sorted(p.name for p in place.iterdir()) == ["batch-0.json", "run_settings.json", "skipped_indexes.json"]
    batch = json.loads((place / "batch-0.json").read_text())
    assert {key: batch[key] for key in ("model_id", "layer", "sae_set")} == {"model_id": "tiny", "layer": 3, "sae_set": "hooke-res-8"}
    one = batch["features"][1]
    assert one["feature_index"] == 1
    assert one["activations"][0]["qualifying_token_index"] == 1
    assert one["activations"][0]["values"][:3] == [0.0, 12.5, 3.25]


def test_nothing_of_yours_is_overwritten(atlas, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    for to in ("neuronpedia", "saedashboard"):
        with pytest.raises(BadConfig, match=r"is there already\. Give a new folder"):
            export(atlas, to, tmp_path / "mine")
    with pytest.raises(BadConfig, match="it is a folder"):
        export(atlas, "jsonl", tmp_path / "mine")
    with pytest.raises(UnknownName, match="unknown format 'csv'"):
        export(atlas, "csv", tmp_path / "x")
    with pytest.raises(UnknownName, match="unknown SAE"):
        export(atlas, "jsonl", tmp_path / "x", saes=["tiny/resid_post.9/8"])


def test_names_as_delphi_keeps_explanations(atlas, tmp_path):
    write_names(tmp_path / "names.jsonl", atlas.saes[FIRST], {2: Name("storms at sea", "topic", score=0.9, low=0.8, high=0.95, n=10)})
    atlas._names[FIRST] = read_names(tmp_path / "names.jsonl", atlas.saes[FIRST])
    out = export(atlas, "delphi", tmp_path / "delphi", saes=[FIRST])
    (source,) = out.iterdir()
    said = {path.name: json.loads(path.read_text()) for path in (source / "explanations").iterdir()}
    assert said["layers.3_latent1.txt"] == "launches"  # your own label
    assert said["layers.3_latent2.txt"] == "storms at sea"
    assert NO_MEANING not in said.values()
    labels = atlas.table(FIRST).label
    assert {int(name.rpartition("latent")[2][:-4]) for name in said} == {
        2,
        *(i for i, label in enumerate(labels) if label not in (None, NO_MEANING, TOO_RARE)),
    }
