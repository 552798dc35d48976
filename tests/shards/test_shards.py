"""Shards come back as they were written; whatever is missing, cut short, flipped or from elsewhere is told before it is used."""

import errno
import hashlib
import json
import os
import random
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors import safe_open

from hooke import files
from hooke.errors import BadConfig, BadFile, Busy, HookeError, LimitReached, Missing, ShapeMismatch, UnknownName
from hooke.names import Site
from hooke.shards import ShardFacts, Shards
from hooke.shards.manifest import MANIFEST, Manifest, columns_of, token_bytes
from hooke.shards.place import place_at
from hooke.shards.writer import writing

SITES = {"resid_post.3": 5, "mlp_out.3": 3}  # odd widths: nothing is aligned by chance


@dataclass
class Filled:
    """What a buffer tells a writer besides its rows."""

    tokens: dict[str, int]
    left_out: dict[str, int] = field(default_factory=lambda: {"special": 2, "sink": 1})
    place: tuple[int, int] = (0, 0)


FACTS = ShardFacts(
    model="tiny",
    dtype="float32",
    sites=SITES,
    corpora=[{"name": name, "weight": 1.0, "source": f"{name}.jsonl", "field": None, "bytes": 10} for name in ("news", "prose")],
    tokens=50,
    shard_tokens=20,
    context=8,
    packed=False,
    bos=2,
    drop_sinks=True,
    held_out=False,
    one_in=50,
    epochs=1,
    seed=0,
    batch_tokens=64,
)


def columns(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    order = torch.Generator().manual_seed(seed)
    acts = {f"acts.{site}": torch.randn(n, width, generator=order).bfloat16() for site, width in SITES.items()}
    numbers = {name: torch.randint(0, 1000, (n,), generator=order, dtype=torch.int32) for name in ("ids", "doc", "pos")}
    return acts | numbers | {"corpus": torch.randint(0, 2, (n,), generator=order, dtype=torch.uint8)}


def fill(where: Path | str, count: int = 3) -> list[dict[str, torch.Tensor]]:
    """Write `count` of the shards that `FACTS` asks for."""
    out = [columns(n, seed) for seed, n in enumerate([20, 20, 10][:count])]
    with writing(where, FACTS) as writer:
        for index, rows in enumerate(out):
            first = len(writer.manifest.shards)
            if index == first:
                counts = torch.bincount(rows["corpus"], minlength=2).tolist()
                writer.write(rows, Filled(dict(zip(("news", "prose"), counts, strict=True)), place=(index + 1, 4)), last=index == 2)
    return out


@pytest.fixture(params=["folder", "address"])
def where(request, tmp_path) -> Path | str:
    return tmp_path / "acts" if request.param == "folder" else f"memory://{tmp_path.name}/acts"


@pytest.fixture
def folder(tmp_path) -> Path:
    fill(tmp_path / "acts")
    return tmp_path / "acts"


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_written_is_read(where):
    written = fill(where)
    shards = Shards.open(where)
    assert (len(shards), shards.tokens, shards.complete, shards.facts) == (3, 50, True, FACTS)
    assert shards.sites == {Site(3, "resid_post"): 5, Site(3, "mlp_out"): 3}
    for index, expected in enumerate(written):
        assert equal(shards.read(index), expected)
        assert equal(shards.read(index), expected)
    everything = {name: torch.cat([part[name] for part in written]) for name in written[0]}
    assert shards.corpora == dict(zip(("news", "prose"), torch.bincount(everything["corpus"]).tolist(), strict=True))
    assert shards.left_out == {"special": 6, "sink": 3}
    for site, value in shards.mean_square.items():
        assert value == pytest.approx(float(everything[f"acts.{site}"].double().square().mean()), rel=1e-6)


def test_the_library_reads_them_and_the_manifest_says_their_digests(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    for entry in manifest["shards"]:
        raw = (folder / entry["file"]).read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (entry["bytes"], entry["sha256"])
        with safe_open(folder / entry["file"], "pt") as file:
            assert set(file.keys()) == columns_of(FACTS).keys()
    assert token_bytes(FACTS) == (5 + 3) * 2 + 3 * 4 + 1


def test_the_same_rows_give_the_same_bytes_wherever_they_are(tmp_path):
    fill(tmp_path / "a")
    fill(tmp_path / "b", 1)
    fill(tmp_path / "b", 2)
    fill(tmp_path / "b")
    fill("memory://same/c")
    system = fsspec.filesystem("memory")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() == system.cat_file(f"/same/c/{path.name}")


def test_reading_the_facts_reads_no_shard(folder):
    for path in folder.glob("shard-*"):
        path.unlink()
    shards = Shards.open(folder)
    assert shards.tokens == 50
    with pytest.raises(BadFile, match=r"shard-00001\.safetensors is missing; the manifest names it"):
        shards.read(1)


def read(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Everything there."""
    shards = Shards.open(folder)
    return [shards.read(index) for index in range(len(shards))]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_flipped_bit_is_found(folder, tmp_path):
    order, intact = random.Random(0), contents(folder)
    for _ in range(300):
        name = order.choice(sorted(intact))
        raw = bytearray(intact[name])
        raw[order.randrange(len(raw))] ^= 1 << order.randrange(8)
        (folder / name).write_bytes(raw)
        with pytest.raises(BadFile, match=name):
            read(folder)
        (folder / name).write_bytes(intact[name])
    read(folder)


@pytest.mark.parametrize("name", [MANIFEST, "shard-00002.safetensors"])
def test_every_cut_is_found(folder, name):
    raw = (folder / name).read_bytes()
    for size in (0, 1, 7, 8, len(raw) // 2, len(raw) - 1):
        (folder / name).write_bytes(raw[:size])
        with pytest.raises(BadFile, match=name):
            Shards.open(folder).read(2)


def test_a_shard_in_anothers_place_is_found(folder):
    shutil.copy(folder / "shard-00000.safetensors", folder / "shard-00001.safetensors")
    with pytest.raises(BadFile, match=r"shard-00001\.safetensors is damaged: its SHA-256"):
        Shards.open(folder).read(1)


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest as somebody would who means harm: with a digest that fits."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    del content["sha256"]
    content["sha256"] = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(content, indent=1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(schema=2), "has manifest schema 2; this version reads 1"),
        (lambda m: m["facts"].update(sites={"resid_post.3": 10**12}), "with a width of 1000000000000"),
        (lambda m: m["facts"].update(sites={"nowhere.3": 5}), "unknown site kind 'nowhere'"),
        (lambda m: m["facts"].update(tokens="many"), "tokens is a str"),
        (lambda m: m["facts"].update(extra=1), "unexpected keyword argument 'extra'"),
        (lambda m: m["shards"][0].update(file="../../etc/passwd"), "shard 0 is called '../../etc/passwd'"),
        (lambda m: m["shards"][1].update(tokens=-1), "shard 1: its counts cannot be"),
        (lambda m: m["shards"][1]["mean_square"].update({"resid_post.3": float("nan")}), "shard 1: its mean squares cannot be"),
        (lambda m: m.update(shards=3), "'int' object is not iterable"),
        (lambda m: m.update(part=-1), "goes on before the beginning"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(folder, change, said):
    reseal(folder, change)
    with pytest.raises(BadFile, match=said):
        Shards.open(folder)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"nonsense", b"[" * 100_000, b'{"schema": 1}', b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(tmp_path, raw):
    (tmp_path / MANIFEST).write_bytes(raw)
    with pytest.raises(BadFile, match=MANIFEST):
        Shards.open(tmp_path)


def rewrite(folder: Path, rows: dict[str, torch.Tensor]) -> None:
    """Put other rows in the place of the first shard, with a manifest that fits."""
    files.write_safetensors(folder / "shard-00000.safetensors", rows, {})
    raw = (folder / "shard-00000.safetensors").read_bytes()
    reseal(folder, lambda m: m["shards"][0].update(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows["acts.mlp_out.3"].__setitem__((7, 1), torch.inf), r"acts\.mlp_out\.3 holds values that are not finite"),
        (lambda rows: rows["corpus"].__setitem__(3, 9), "of corpus number 9; there are 2"),
        (lambda rows: rows.pop("doc"), "does not hold what the manifest says"),
        (lambda rows: rows.update(ids=rows["ids"].long()), "does not hold what the manifest says"),
        (lambda rows: rows.update(corpus=rows["corpus"][:-1]), "does not hold what the manifest says"),
    ],
)
def test_values_that_cannot_be_are_refused_whatever_the_digest(folder, change, said):
    rows = columns(20)
    change(rows)
    rewrite(folder, rows)
    with pytest.raises(BadFile, match=rf"shard-00000\.safetensors.*{said}"):
        Shards.open(folder).read(0)


def test_nothing_there_is_said(where):
    with pytest.raises(Missing, match=r"no activation shards at .*acts: there is no manifest\.json\. `hooke harvest` writes them"):
        Shards.open(where)


def test_shards_of_another_model_site_or_width_are_refused(folder):
    shards = Shards.open(folder)
    shards.check(model="tiny", sites=[Site(3, "resid_post")], width=5)
    with pytest.raises(BadConfig, match="hold activations of 'tiny', not of 'gemma-3-270m'"):
        shards.check(model="gemma-3-270m")
    with pytest.raises(ShapeMismatch, match=r"are 5 wide at resid_post\.3; asked for is a width of 640"):
        shards.check(sites=[Site(3, "resid_post")], width=640)
    with pytest.raises(UnknownName, match=r"'resid_post\.4'\. Did you mean 'resid_post\.3'"):
        shards.check(sites=[Site(4, "resid_post")])


def test_a_folder_is_one_model_however_its_path_is_written(folder, tmp_path, monkeypatch):
    shards, place = Shards.open(folder), tmp_path / "tiny"
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    monkeypatch.chdir(place)
    for typed in (".", "./", "../tiny", "../tiny/.", str(place), f"{tmp_path}/link", place):
        shards.check(model=typed)
    with pytest.raises(BadConfig, match=r"not of '\.\.'"):
        shards.check(model="..")


def test_going_on_with_other_settings_is_refused_and_each_is_named(where):
    fill(where, 1)
    other = replace(FACTS, seed=7, context=16)
    with pytest.raises(BadConfig, match=r"context: 8 there, 16 now; seed: 0 there, 7 now\. Give the same settings"), writing(where, other):
        pass


def test_going_on_after_a_shard_that_is_gone_is_refused(where):
    fill(where, 2)
    place_at(where).write("shard-00001.safetensors", [memoryview(b"short")])
    with pytest.raises(BadFile, match=r"shard-00001\.safetensors is missing or cut short"), writing(where, FACTS):
        pass


def test_two_writers_of_one_folder_are_kept_apart(folder):
    with writing(folder, FACTS), pytest.raises(Busy, match=r"another process is writing to .*acts") as caught, writing(folder, FACTS):
        pass
    assert caught.value.exit_code == 75
    with writing(folder, FACTS):
        pass


def test_what_a_killed_writer_left_half_written_is_removed(folder):
    (folder / ".shard-00003.safetensors.abc.part").write_bytes(b"half")
    with writing(folder, FACTS):
        assert not list(folder.glob(".*"))


def test_what_has_no_room_is_refused_before_it_begins(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("hooke.shards.place.shutil.disk_usage", lambda path: usage(0, 0, 100 << 20))
    said = r"10,000,000 tokens need 0\.29 GB at .*acts, which has 0\.10 GB free"
    with pytest.raises(LimitReached, match=said), writing(tmp_path / "acts", replace(FACTS, tokens=10_000_000)):
        pass


class Full:
    """`os` on a disk that is full from a certain write on."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return self.fsync if name == "fsync" else getattr(os, name)

    def fsync(self, handle: int) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("room", range(12))
def test_a_disk_that_fills_up_loses_nothing_that_was_written(tmp_path, room):
    fill(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", Full(room))
        with pytest.raises(LimitReached, match=r"no room.*The [012] shards before are safe; the same command goes on from there"):
            fill(tmp_path / "acts")
    if (tmp_path / "acts" / MANIFEST).exists():
        read(tmp_path / "acts")
    fill(tmp_path / "acts")
    assert contents(tmp_path / "acts") == contents(tmp_path / "whole")


def test_an_address_that_nothing_answers_to_is_said():
    with pytest.raises(UnknownName, match=r"unknown kind of address 'nowhere://'\. Known: .*s3://"):
        Shards.open("nowhere://x")


def test_a_store_that_fails_is_said(monkeypatch):
    system = fsspec.filesystem("memory")
    fill("memory://failing/acts")
    monkeypatch.setattr(type(system), "cat_file", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("the store is down")))
    with pytest.raises(HookeError, match=r"cannot read memory://failing/acts/manifest\.json: RuntimeError: the store is down"):
        Shards.open("memory://failing/acts")


def test_a_manifest_written_and_read_is_the_same():
    manifest = Manifest(FACTS, part=3, rows=1)
    assert Manifest.parse(manifest.text(), "x") == manifest
