"""Installed packs are found through their entry points, read as data, and a name that none has is told with the nearest."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import zstandard

from hooke.errors import BadFile, UnknownName
from hooke.sae import Sae, SaeFacts, digest
from hooke.sae.packs import (
    GROUP,
    InstalledSae,
    atlas_file,
    atlas_files,
    default_atlas,
    default_sae,
    installed_saes,
    pack_folders,
    register_atlas,
)


def save_sae(path: Path, name: str, model: str, **metrics: float) -> None:
    Sae(torch.ones(3, 5), torch.zeros(5), torch.ones(5, 3), torch.zeros(3), torch.zeros(5), SaeFacts(name, model, metrics=metrics)).save(
        path
    )


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packs, whose code gives itself away if it is run, an entry point to nothing, and one to a module that is no package."""
    for package in ("hooke_pack_one", "hooke_pack_two"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the pack was run')\n")
    (tmp_path / "hooke_pack_module.py").write_text("raise RuntimeError('the pack was run')\n")
    save_sae(tmp_path / "hooke_pack_one" / "b.safetensors", "m/resid_post.12/4k", "m", l0=50.0)
    save_sae(tmp_path / "hooke_pack_one" / "a.safetensors", "m/resid_post.5/4k", "m")
    save_sae(tmp_path / "hooke_pack_two" / "x.safetensors", "a/mlp_out.0/1k", "a")
    (tmp_path / "hooke_pack_one" / "atlas.sqlite").write_bytes(b"")
    (tmp_path / "hooke_pack_one" / "card.md").write_text("# A card")
    values = {"one": "hooke_pack_one", "two": "hooke_pack_two", "gone": "hooke_pack_gone", "module": "hooke_pack_module"}

    def entry_points(*, group: str) -> Sequence[importlib.metadata.EntryPoint]:
        assert group == GROUP
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in values.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_packs_are_found_without_running_them(packs: Path) -> None:
    assert pack_folders() == {"one": packs / "hooke_pack_one", "two": packs / "hooke_pack_two"}


def test_saes_are_listed_by_model_and_site(packs: Path) -> None:
    same = {"d_in": 3, "d_sae": 5, "groups": {}, "installed": True}
    assert [row.to_json() for row in installed_saes()] == [
        {"name": "a/mlp_out.0/1k", "model": "a", "site": "mlp_out.0", "l0": None} | same,
        {"name": "m/resid_post.5/4k", "model": "m", "site": "resid_post.5", "l0": None} | same,
        {"name": "m/resid_post.12/4k", "model": "m", "site": "resid_post.12", "l0": 50.0} | same,
    ]


def test_an_sae_is_found_and_loaded_by_its_name(packs: Path) -> None:
    assert Sae.from_pretrained("m/resid_post.12/4k").facts.metrics == {"l0": 50.0}


def test_a_name_that_none_has_is_told_with_the_nearest(packs: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        Sae.from_pretrained("m/resid_post.12/8k")
    assert str(caught.value).startswith("unknown SAE 'm/resid_post.12/8k'. Did you mean 'm/resid_post.12/4k'? Known: a/mlp_out.0/1k, ")
    assert str(caught.value).endswith("org/repo/path on a model hub.")


def test_without_packs_there_is_nothing_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [])
    assert pack_folders() == {}
    assert installed_saes() == []
    with pytest.raises(UnknownName, match=r"m/resid_post\.12/4k"):
        Sae.from_pretrained("m/resid_post.12/4k")


def test_the_atlas_lies_beside_the_sae(packs: Path) -> None:
    assert atlas_file("m/resid_post.5/4k") == packs / "hooke_pack_one" / "atlas.sqlite"
    assert atlas_file("a/mlp_out.0/1k") is None
    assert atlas_file("no/mlp_out.0/such") is None


def test_a_compressed_atlas_is_unpacked_once(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKE_HOME", str(packs / "home"))
    content = b"SQLite format 3" + bytes(range(256)) * 9000
    packed = packs / "hooke_pack_two" / "atlas.sqlite.zst"
    packed.write_bytes(zstandard.compress(content))
    found = atlas_file("a/mlp_out.0/1k")
    assert found is not None
    assert found.is_relative_to(packs / "home")
    assert found.read_bytes() == content
    before = found.stat().st_mtime_ns
    assert atlas_file("a/mlp_out.0/1k") == found
    assert atlas_files()[-1] == found
    assert found.stat().st_mtime_ns == before
    for harmed in (content[:-1], b"", b"T" + content[1:]):
        found.write_bytes(harmed)
        assert atlas_file("a/mlp_out.0/1k") == found
        assert found.read_bytes() == content, "what is cut or changed in the cache is made again"
    packed.write_bytes(zstandard.compress(content[::-1]))
    other = atlas_file("a/mlp_out.0/1k")
    assert other != found
    assert other is not None
    assert other.read_bytes() == content[::-1]


def test_a_compressed_atlas_that_is_damaged_or_a_bomb_is_refused(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKE_HOME", str(packs / "home"))
    packed = packs / "hooke_pack_two" / "atlas.sqlite.zst"
    packed.write_bytes(b"no zstd")
    with pytest.raises(BadFile, match=r"atlas\.sqlite\.zst is damaged"):
        atlas_file("a/mlp_out.0/1k")
    packed.write_bytes(zstandard.ZstdCompressor().compress(bytes(257 << 20)))
    with pytest.raises(BadFile, match="unpacks to more than"):
        atlas_file("a/mlp_out.0/1k")
    assert not list((packs / "home").rglob("*.sqlite*"))


def test_a_damaged_pack_is_named(packs: Path) -> None:
    damaged = packs / "hooke_pack_two" / "x.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(BadFile, match=str(damaged)):
        installed_saes()


def test_a_point_into_a_package_does_not_run_the_package(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("inner", "hooke_pack_one.inner", GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [point])
    assert pack_folders() == {}


def test_an_atlas_made_here_comes_before_the_packs(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKE_HOME", str(packs / "home"))
    sae = Sae.from_pretrained("m/resid_post.5/4k")
    shipped, own = packs / "hooke_pack_one" / "atlas.sqlite", packs / "own.sqlite"
    register_atlas(own, {sae.name: digest(sae), "m/resid_post.12/4k": "of other weights"})
    assert atlas_file(sae) == shipped, "what is gone is passed over"
    own.write_bytes(b"")
    assert atlas_file(sae) == atlas_file(sae.name) == own
    assert atlas_file(Sae.from_pretrained("m/resid_post.12/4k")) == shipped
    assert atlas_files() == [own, shipped]
    register_atlas(own, {sae.name: digest(sae)})  # made again, without the other
    assert atlas_file("m/resid_post.12/4k") == shipped


def test_an_index_that_cannot_be_read_says_which(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKE_HOME", str(packs / "home"))
    assert default_atlas("m/resid_post.5/4k") == packs / "home" / "atlases" / "m.sqlite"
    (packs / "home" / "atlases").mkdir(parents=True)
    (packs / "home" / "atlases" / "index.json").write_text('{"a": 1}')
    with pytest.raises(BadFile, match=r"index.json, the list of atlases made here, cannot be read .* Delete it"):
        atlas_file("m/resid_post.5/4k")


def test_the_default_sae_is_the_layer_that_reads_news_best(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a/resid_post.5/4k", "a/resid_post.12/4k", "b/resid_post.3/4k")
    rows = [InstalledSae(SaeFacts(name, name[0]), Path("none"), 32, 64) for name in names]
    monkeypatch.setattr("hooke.sae.packs.installed_saes", lambda: rows)
    assert default_sae("a") == "a/resid_post.12/4k"
    assert default_sae("b") == "b/resid_post.3/4k"
    assert default_sae("org/b") == default_sae("folder/of/b/") == "b/resid_post.3/4k"
    with pytest.raises(UnknownName, match=r"SAE for the model 'c'.*Known: a, b.*install a pack"):
        default_sae("c")
