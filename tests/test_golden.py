"""Our own formats: small files written once and kept, what a reader of them must give, and what it must refuse.

The bytes in `golden` are never made anew: a file that was written yesterday is read tomorrow. Where a format changes, its new files come
beside the old ones, and `docs/formats.md` says what a reader must do.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import handmade
import pytest
import torch
import zstandard
from safetensors.torch import load_file, save_file

from hooke.atlas import Atlas
from hooke.errors import BadFile, ShapeMismatch
from hooke.files import safetensors_header
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.facts import HEADER_KEY, SaeFacts
from hooke.shards import ShardFacts, Shards
from hooke.shards.writer import writing

GOLDEN = Path(__file__).with_name("golden")
SAE = Sae(
    W_enc=torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, -127.0]]),
    b_enc=torch.tensor([0.5, -1.0, 0.0]),
    W_dec=torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.5, 0.25]]),
    b_dec=torch.tensor([0.125, -8.0]),
    threshold=torch.tensor([0.0, 0.75, 3.0]),
    facts=SaeFacts("tiny/resid_post.1/3", "tiny", context=8, metrics={"fvu": 0.25, "l0": 1.5}, training={"groups": {"about": [0, 1]}}),
)
SHARDS = ShardFacts(
    model="tiny",
    dtype="float32",
    sites={"resid_post.1": 2, "mlp_out.0": 1},
    corpora=[{"name": "news", "weight": 1.0, "source": "news.jsonl", "field": None, "bytes": 10}],
    tokens=3,
    shard_tokens=2,
    context=4,
    packed=False,
    bos=2,
    drop_sinks=True,
    held_out=False,
    one_in=50,
    epochs=1,
    seed=0,
    batch_tokens=64,
)
ROWS = {
    "acts.resid_post.1": torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, -0.25]]).bfloat16(),
    "acts.mlp_out.0": torch.tensor([[4.0], [-8.0], [16.0]]).bfloat16(),
    "ids": torch.tensor([5, 6, 7], dtype=torch.int32),
    "doc": torch.tensor([0, 0, 9], dtype=torch.int32),
    "pos": torch.tensor([1, 2, 3], dtype=torch.int32),
    "corpus": torch.zeros(3, dtype=torch.uint8),
}


class Filled:
    """What a writer of shards is told beside the rows."""

    def __init__(self, rows: int) -> None:
        self.tokens, self.left_out, self.place = {"news": rows}, {"special": 1, "sink": 0}, (1, 2)


def write_shards(where: Path) -> None:
    with writing(where, SHARDS) as writer:
        for rows in (slice(0, 2), slice(2, 3)):
            part = {name: value[rows] for name, value in ROWS.items()}
            writer.write(part, Filled(len(part["ids"])), last=rows.stop == 3)


def atlas(schema: int, folder: Path) -> Path:
    """The golden atlas of a schema, unpacked."""
    packed = (GOLDEN / f"atlas-{schema}.sqlite.zst").read_bytes()
    (folder / "atlas.sqlite").write_bytes(zstandard.ZstdDecompressor().decompress(packed, 1 << 20))
    return folder / "atlas.sqlite"


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_native_sae_is_read_and_written_as_it_ever_was(weights, tmp_path):
    golden = GOLDEN / f"sae-{weights}.safetensors"
    sae = Sae.load(golden)
    assert sae.facts == SAE.facts
    for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"):
        theirs, ours = getattr(sae, name), getattr(SAE, name)
        # Every value is one that 16 bits hold; of 8 bits one step is a 127th of the feature's largest.
        step = ours.abs().amax({"W_enc": 0, "W_dec": 1}[name], keepdim=True) / 127 if weights == "int8" and ours.ndim == 2 else 0
        assert ((theirs - ours).abs() <= step / 2).all()
    SAE.save(tmp_path / "again", weights=weights)
    assert (tmp_path / "again").read_bytes() == golden.read_bytes()


def test_shards_are_read_and_written_as_they_ever_were(tmp_path):
    shards = Shards.open(GOLDEN / "shards")
    assert shards.sites == {Site.parse("resid_post.1"): 2, Site.parse("mlp_out.0"): 1}
    parts = [shards.read(index) for index in range(len(shards))]
    for name, value in ROWS.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), value)
    write_shards(tmp_path / "again")
    for file in sorted((GOLDEN / "shards").iterdir()):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("schema", [2, 3])
def test_an_atlas_is_read_as_it_ever_was(schema, tmp_path):
    old, new = Atlas(atlas(schema, tmp_path)), Atlas(handmade.write(tmp_path / "new"))
    assert old.facts == new.facts
    assert list(old.saes) == [handmade.FIRST, handmade.SECOND]
    for name in [*(f"{handmade.FIRST}/{i}" for i in range(8)), f"{handmade.SECOND}/3"]:
        assert repr(asdict(old.feature(name))) == repr(asdict(new.feature(name)))
    assert [hit.name for hit in old.search("rockets")] == [hit.name for hit in new.search("rockets")] != []


def tensors(change: Callable[[dict, dict], object]) -> Callable[[Path], None]:
    """The golden SAE with its tensors or its header's facts changed."""

    def spoil(path: Path) -> None:
        values, facts = load_file(path), json.loads(safetensors_header(path)[1][HEADER_KEY])
        change(values, facts)
        save_file(values, path, {HEADER_KEY: json.dumps(facts)})

    return spoil


def raw(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Some bytes put in the place of others, once."""

    def spoil(path: Path) -> None:
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new, 1))

    return spoil


def sql(statement: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()

    return spoil


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_reader_of_saes_must_accept_what_the_first_files_lack(tmp_path):
    path = Path(shutil.copy(GOLDEN / "sae-int8.safetensors", tmp_path))
    tensors(lambda t, f: [t.pop("W_enc.column"), t.pop("W_dec.column"), *map(f.pop, ("metrics", "training", "normalize"))])(path)
    assert Sae.load(path).facts.metrics == {}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(tensors(lambda t, _: t.pop("threshold")), id="a tensor is missing"),
        pytest.param(tensors(lambda t, _: t.update(W_gate=torch.ones(1))), id="a tensor that nobody knows"),
        pytest.param(tensors(lambda t, _: t.update(b_enc=torch.ones(4))), id="shapes that do not fit each other"),
        pytest.param(tensors(lambda t, _: t["b_dec"].fill_(torch.nan)), id="a value that is not finite"),
        pytest.param(tensors(lambda _, f: f.update(schema=2)), id="another schema"),
        pytest.param(tensors(lambda _, f: f.update(activation="softmax")), id="an activation that is none"),
        pytest.param(tensors(lambda _, f: f.pop("name")), id="no name"),
        pytest.param(tensors(lambda _, f: f.update(more=1)), id="a fact that nobody knows"),
        pytest.param(tensors(lambda _, f: f.update(context="8")), id="a fact of another kind"),
        pytest.param(cut, id="a byte short"),
    ],
)
def test_what_a_reader_of_saes_must_refuse(spoil, tmp_path):
    path = Path(shutil.copy(GOLDEN / "sae-float32.safetensors", tmp_path))
    spoil(path)
    with pytest.raises((BadFile, ShapeMismatch), match=path.name):
        Sae.load(path)


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        pytest.param("manifest.json", raw(b'"tokens": 3', b'"tokens": 4'), id="a number in the manifest"),
        pytest.param("manifest.json", raw(b'"schema": 1', b'"schema": 9'), id="another schema"),
        pytest.param("manifest.json", raw(b"{\n", b"{ \n"), id="a manifest written in another way"),
        pytest.param("manifest.json", cut, id="a manifest cut short"),
        pytest.param("shard-00000.safetensors", cut, id="a shard cut short"),
        pytest.param("shard-00001.safetensors", Path.unlink, id="a shard that is gone"),
        pytest.param("shard-00000.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"), id="a byte in a shard"),
    ],
)
def test_what_a_reader_of_shards_must_refuse(file, spoil, tmp_path):
    folder = shutil.copytree(GOLDEN / "shards", tmp_path / "shards")
    spoil(folder / file)

    def read() -> None:
        shards = Shards.open(folder)
        for index in range(len(shards)):
            shards.read(index)

    with pytest.raises(BadFile, match=file):
        read()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(sql("PRAGMA user_version = 1"), id="a schema before ours"),
        pytest.param(sql("PRAGMA user_version = 99"), id="a schema after ours"),
        pytest.param(sql("CREATE TRIGGER more AFTER DELETE ON fact BEGIN DELETE FROM sae; END"), id="a trigger"),
        pytest.param(sql("CREATE TABLE more (x)"), id="a table that nobody knows"),
        pytest.param(sql("DROP TABLE piece"), id="a table that is missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:4096]), id="cut short"),
        pytest.param(lambda path: path.write_bytes(b"not a database" * 100), id="no database"),
    ],
)
def test_what_a_reader_of_atlases_must_refuse(spoil, tmp_path):
    path = atlas(3, tmp_path)
    spoil(path)
    with pytest.raises(BadFile, match=path.name):
        Atlas(path)
